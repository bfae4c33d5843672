//! Tokenising word by word, no word twice.

use std::borrow::Cow;
use std::sync::Mutex;

use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    Result,
};

use super::cache::{Cache, Fits, Table};
use super::model::Pipeline;
use super::plain::{Plain, normalized};
use super::rules::Rules;
use super::unigram::Scratch;

/// What a thread keeps from one text to the next.
#[derive(Default)]
struct Memory {
    cache: Cache,
    known: Table<Box<str>>,
    scratch: Scratch,
    ids: Vec<u32>,
    piece: String,
}

/// The word-by-word way of a tokenizer, with the memories of all threads.
pub struct Words {
    rules: Rules,
    plain: Plain,
    /// Texts of added tokens, looked for in the raw and in the normalized text.
    raw: Needles,
    normal: Needles,
    memories: Vec<Mutex<Memory>>,
}

impl Words {
    /// `None` where this tokenizer needs its texts whole.
    pub fn of(pipeline: &Pipeline) -> Option<Self> {
        let rules = Rules::of(pipeline)?;
        let (raw, normal) = needles(pipeline)?;
        let never = rules.metaspace.as_ref().map(|found| found.replacement);
        let plain = Plain::of(pipeline.get_normalizer(), rules.clusters, never);
        let memories = (0..=rayon::current_num_threads()).map(|_| Mutex::default());
        Some(Self {
            rules,
            plain,
            raw,
            normal,
            memories: memories.collect(),
        })
    }

    /// The first `room` ids of a text, without special tokens; `None` where the text must be taken whole.
    pub fn encode(&self, pipeline: &Pipeline, text: &str, room: usize) -> Result<Option<Vec<u32>>> {
        let last = self.memories.len() - 1;
        let thread = rayon::current_thread_index().unwrap_or(last).min(last);
        match self.memories[thread].try_lock() {
            Ok(mut memory) => self.walk(pipeline, text, room, &mut memory),
            Err(_) => self.walk(pipeline, text, room, &mut Memory::default()),
        }
    }

    fn walk(
        &self,
        pipeline: &Pipeline,
        text: &str,
        room: usize,
        memory: &mut Memory,
    ) -> Result<Option<Vec<u32>>> {
        let (mut ids, mut from) = (Vec::with_capacity(room.min(text.len() / 3 + 2)), 0);
        while from < text.len() {
            let to = next_cut(text.as_bytes(), from);
            let before = ids.len();
            let fits = self.word(pipeline, &text[from..to], memory, &mut ids)?;
            if !fits.clean || (from > 0 && !fits.before) || (to < text.len() && !fits.behind) {
                return Ok(None);
            }
            // The word behind the last that counts has been looked at: only now is the cut between them known to be right.
            if before >= room {
                break;
            }
            from = to;
        }
        ids.truncate(room);
        Ok(Some(ids))
    }

    /// Appends the ids of a word.
    fn word(
        &self,
        pipeline: &Pipeline,
        text: &str,
        memory: &mut Memory,
        out: &mut Vec<u32>,
    ) -> Result<Fits> {
        if let Some(word) = memory.cache.get(text) {
            out.extend_from_slice(memory.cache.ids(word));
            return Ok(word.fits);
        }
        memory.ids.clear();
        let fits = self.work_out(pipeline, text, memory)?;
        memory.cache.keep(text, &memory.ids, fits);
        out.extend_from_slice(&memory.ids);
        Ok(fits)
    }

    /// Leaves the ids of a word in the memory.
    fn work_out(&self, pipeline: &Pipeline, text: &str, memory: &mut Memory) -> Result<Fits> {
        let normal = match pipeline.get_normalizer() {
            Some(normalizer) => self.plain.normalize(normalizer, text, &mut memory.known)?,
            None => Cow::Borrowed(text),
        };
        if self.raw.any_in(text) || self.normal.any_in(&normal) {
            return Ok(Fits::default());
        }
        if self.one_piece(text, &normal, &mut memory.piece) {
            let Memory {
                scratch,
                ids,
                piece,
                ..
            } = memory;
            pipeline.get_model().encode(piece, scratch, ids)?;
        } else {
            split(pipeline, text, memory)?;
        }
        Ok(Fits {
            clean: true,
            before: normal.starts_with(' '),
            behind: self.rules.ends_word(text, &normal),
        })
    }

    /// Writes the word as the pre-tokenizer would, where that is one piece for certain.
    fn one_piece(&self, text: &str, normal: &str, piece: &mut String) -> bool {
        let Some(metaspace) = &self.rules.metaspace else {
            return false;
        };
        let word = normal.strip_prefix(' ');
        // A space that normalizing made or took away changes where the piece is said to begin.
        let same = word.is_some() == text.starts_with(' ');
        let splits = |c: char| c.is_whitespace() || c == metaspace.replacement;
        let bare = word.unwrap_or(normal);
        if !same || bare.is_empty() || bare.contains(splits) {
            return false;
        }
        piece.clear();
        if (word.is_some() && metaspace.behind_space) || (word.is_none() && metaspace.first) {
            piece.push(metaspace.replacement);
        }
        piece.push_str(bare);
        true
    }
}

/// A word as the library does it.
fn split(pipeline: &Pipeline, text: &str, memory: &mut Memory) -> Result<()> {
    let mut normal = NormalizedString::from(text);
    if let Some(normalizer) = pipeline.get_normalizer() {
        normalizer.normalize(&mut normal)?;
    }
    let mut pieces = PreTokenizedString::from(normal);
    if let Some(splitter) = pipeline.get_pre_tokenizer() {
        splitter.pre_tokenize(&mut pieces)?;
    }
    for (piece, _, _) in pieces.get_splits(OffsetReferential::Original, OffsetType::None) {
        (pipeline.get_model()).encode(piece, &mut memory.scratch, &mut memory.ids)?;
    }
    Ok(())
}

/// The next lone space with a word behind it, or the end.
fn next_cut(text: &[u8], from: usize) -> usize {
    let lone = |at: &usize| text[at - 1] != b' ' && text.get(at + 1).is_some_and(|b| *b != b' ');
    let spaces = memchr::memchr_iter(b' ', &text[from + 1..]).map(|at| from + 1 + at);
    spaces.into_iter().find(lone).unwrap_or(text.len())
}

/// Texts to look for, by their first byte.
struct Needles(Vec<Vec<Box<str>>>);

impl Needles {
    fn new(texts: Vec<String>) -> Self {
        let mut found = vec![Vec::new(); 256];
        for text in texts {
            found[usize::from(text.as_bytes()[0])].push(text.into_boxed_str());
        }
        Self(found)
    }

    fn any_in(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let begins = |(at, first): (usize, &u8)| {
            let needles = &self.0[usize::from(*first)];
            needles
                .iter()
                .any(|n| bytes[at..].starts_with(n.as_bytes()))
        };
        bytes.iter().enumerate().any(begins)
    }
}

/// The added tokens' texts, raw and normalized; `None` where one of them may reach across a cut.
fn needles(pipeline: &Pipeline) -> Option<(Needles, Needles)> {
    let (mut raw, mut normal) = (Vec::new(), Vec::new());
    for token in pipeline.get_added_tokens_decoder().values() {
        match pipeline.get_normalizer() {
            Some(normalizer) if token.normalized => {
                normal.push(normalized(normalizer, &token.content).ok()?);
            }
            _ => raw.push(token.content.clone()),
        }
    }
    let crosses = |text: &String| text.is_empty() || text.contains(' ');
    let none = !raw.iter().chain(&normal).any(crosses);
    none.then(|| (Needles::new(raw), Needles::new(normal)))
}
