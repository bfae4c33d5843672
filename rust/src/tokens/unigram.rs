//! The Unigram model over a flat trie: the same ids as the library's own, which allocates a string for every prefix it
//! tries and takes a second to load 250,000 pieces.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

use super::trie::Trie;

/// No byte begins the way.
const NONE: u32 = u32::MAX;
/// How much worse than the worst piece an unknown character is (SentencePiece, `kUnkPenalty`).
const UNKNOWN_PENALTY: f64 = 10.0;

/// What tokenizer.json says of a Unigram model.
#[derive(Deserialize)]
struct Described<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    vocab: Vec<Piece<'a>>,
    unk_id: Option<usize>,
    #[serde(default)]
    byte_fallback: bool,
}

#[derive(Deserialize)]
struct Piece<'a>(#[serde(borrow)] Cow<'a, str>, f64);

/// The best way to a byte of the text.
#[derive(Clone, Copy, Debug)]
struct Best {
    score: f64,
    start: u32,
    id: u32,
}

const UNREACHED: Best = Best {
    score: 0.0,
    start: NONE,
    id: 0,
};

/// Memory that one word after another uses.
#[derive(Debug, Default)]
pub struct Scratch {
    best: Vec<Best>,
    path: Vec<(u32, u32, u32)>,
}

/// A Unigram model.
#[derive(Debug)]
pub struct Unigram {
    trie: Trie,
    scores: Vec<f64>,
    unknown_score: f64,
    unknown: Option<u32>,
    /// The ids of `<0x00>` to `<0xFF>` where unknown text is spelled in bytes.
    bytes: Option<Vec<Option<u32>>>,
}

impl Unigram {
    /// Reads the `model` of a tokenizer.json; `None` where it is another model or an odd one (equal or empty pieces).
    pub fn read(json: &str) -> Option<Self> {
        let described: Described<'_> = serde_json::from_str(json).ok()?;
        let pieces = &described.vocab;
        let fits = |id: usize| id < pieces.len();
        if described.kind != "Unigram" || described.unk_id.is_some_and(|id| !fits(id)) {
            return None;
        }
        let mut sorted: Vec<(&[u8], u32)> = (pieces.iter().zip(0u32..))
            .map(|(piece, id)| (piece.0.as_bytes(), id))
            .collect();
        sorted.sort_unstable();
        let odd = sorted.first().is_some_and(|piece| piece.0.is_empty())
            || sorted.windows(2).any(|pair| pair[0].0 == pair[1].0);
        if odd {
            return None;
        }
        let trie = Trie::new(&sorted);
        let spelled = |byte| trie.get(format!("<0x{byte:02X}>").as_bytes());
        let bytes = described
            .byte_fallback
            .then(|| (0..=255u8).map(spelled).collect());
        let scores: Vec<f64> = pieces.iter().map(|piece| piece.1).collect();
        let worst = scores.iter().copied().fold(f64::INFINITY, f64::min);
        Some(Self {
            trie,
            scores,
            unknown_score: worst - UNKNOWN_PENALTY,
            unknown: described.unk_id.map(|id| id as u32),
            bytes,
        })
    }

    /// Number of pieces.
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// The id of a piece.
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.trie.get(piece.as_bytes())
    }

    /// Every piece with its id.
    pub fn pieces(&self) -> HashMap<String, u32> {
        let mut found = HashMap::new();
        let mut open = vec![(0usize, Vec::new())];
        while let Some((node, text)) = open.pop() {
            for (label, child) in self.trie.children(node) {
                open.push((child, [&text[..], &[label]].concat()));
            }
            if let Some(id) = self.trie.id(node) {
                found.insert(String::from_utf8_lossy(&text).into_owned(), id);
            }
        }
        found
    }

    /// Appends the ids of the best pieces of `text`; `None` where a character is unknown and the model has no id for that.
    pub fn encode(&self, text: &str, scratch: &mut Scratch, out: &mut Vec<u32>) -> Option<()> {
        self.search(text, &mut scratch.best)?;
        self.trace(text.len() as u32, scratch);
        for &(id, from, to) in scratch.path.iter().rev() {
            if Some(id) == self.unknown {
                self.unknown(&text.as_bytes()[from as usize..to as usize], out);
            } else {
                out.push(id);
            }
        }
        Some(())
    }

    /// Viterbi, forwards. Of equally good ways the one that starts earliest stays, as in SentencePiece.
    fn search(&self, text: &str, best: &mut Vec<Best>) -> Option<()> {
        best.clear();
        best.resize(text.len() + 1, UNREACHED);
        for (start, letter) in text.char_indices() {
            let (before, width) = (best[start].score, letter.len_utf8());
            let (mut node, mut alone) = (0, false);
            for (at, label) in text.as_bytes()[start..].iter().enumerate() {
                let Some(child) = self.trie.child(node, *label) else {
                    break;
                };
                node = child;
                if let Some(id) = self.trie.id(node) {
                    let score = self.scores[id as usize] + before;
                    improve(&mut best[start + at + 1], score, start as u32, id);
                    alone |= at + 1 == width;
                }
            }
            if !alone {
                let score = self.unknown_score + before;
                let target = &mut best[start + width];
                if target.start == NONE || score > target.score {
                    *target = Best {
                        score,
                        start: start as u32,
                        id: self.unknown?,
                    };
                }
            }
        }
        Some(())
    }

    /// The best way, last piece first; unknown pieces side by side become one.
    fn trace(&self, length: u32, scratch: &mut Scratch) {
        scratch.path.clear();
        let mut end = length;
        while end > 0 {
            let Best { start, id, .. } = scratch.best[end as usize];
            match scratch.path.last_mut() {
                Some(last) if Some(id) == self.unknown && last.0 == id => last.1 = start,
                _ => scratch.path.push((id, start, end)),
            }
            end = start;
        }
    }

    /// Unknown text may still be a piece as a whole, or be spelled in bytes.
    fn unknown(&self, text: &[u8], out: &mut Vec<u32>) {
        let spelled = |bytes: &Vec<Option<u32>>| -> Option<Vec<u32>> {
            text.iter().map(|byte| bytes[usize::from(*byte)]).collect()
        };
        match (self.trie.get(text), self.bytes.as_ref().and_then(spelled)) {
            (Some(id), _) => out.push(id),
            (None, Some(ids)) => out.extend(ids),
            (None, None) => out.extend(self.unknown),
        }
    }
}

fn improve(target: &mut Best, score: f64, start: u32, id: u32) {
    if target.start == NONE || score > target.score {
        *target = Best { score, start, id };
    }
}
