//! From texts to token ids, exactly as the fast tokenizers of Hugging Face do it from Python.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use tokenizers::tokenizer::{Encoding, PostProcessor, truncate_encodings};
use tokenizers::{
    Model, OffsetReferential, OffsetType, PreTokenizer, Tokenizer, TruncationDirection,
    TruncationParams, TruncationStrategy,
};

use super::load::load;
use super::options::{TitleMode, TokenOptions};
use super::unigram::Unigram;
use crate::error::{Error, Result};
use crate::records::Fields;

/// Time for one text, a thousand times what a slow one takes: a tokenizer whose rules explode is given up.
const SLOWEST: Duration = Duration::from_secs(60);

/// A tokenizer together with its options.
pub struct Encoder<'o> {
    tokenizer: Tokenizer,
    /// Takes the place of the tokenizer's own model where that is a Unigram.
    unigram: Option<Unigram>,
    options: &'o TokenOptions,
}

impl<'o> Encoder<'o> {
    /// Reads the `json` of a tokenizer, which came from `path`; its own padding and truncation are left out.
    pub fn new(path: &Path, json: &[u8], options: &'o TokenOptions) -> Result<Self> {
        let (tokenizer, unigram) = load(json).map_err(|error| {
            let message = format!("not a tokenizer that can be read: {error}");
            let hint = "give the tokenizer.json of a fast tokenizer";
            Error::format(path, None, message, hint)
        })?;
        let encoder = Self {
            tokenizer,
            unigram,
            options,
        };
        let pair = options.title == TitleMode::Pair;
        if encoder.room(pair) == 0 {
            return Err(Error::shape(format!(
                "max_length: {} leaves no room beside the tokenizer's {} special tokens",
                options.max_length,
                encoder.special_tokens(pair)
            )));
        }
        Ok(encoder)
    }

    /// The ids of one record; none where it is blank.
    pub fn ids(&self, fields: &Fields<'_>) -> Result<Vec<u32>> {
        let Some((first, second)) = self.options.texts(fields) else {
            return Ok(Vec::new());
        };
        let (begun, id) = (Instant::now(), &fields.id);
        // The library's regular expressions panic where they go back too often.
        let ids = catch_unwind(AssertUnwindSafe(|| self.encode(&first, second)))
            .unwrap_or_else(|_| Err("its rules do not come to an end on this text".into()));
        let ids = ids.map_err(|error| {
            let message = format!("id {id:?}: the tokenizer failed: {error}");
            Error::input(message, "check that tokenizer.json is complete and sound")
        })?;
        if begun.elapsed() > SLOWEST {
            let message = format!("id {id:?}: the tokenizer took more than {SLOWEST:?} for it");
            return Err(Error::input(message, "use another tokenizer.json"));
        }
        Ok(ids)
    }

    /// The ids of a text, or of a pair of texts, special tokens included.
    pub(super) fn encode(&self, first: &str, second: Option<&str>) -> tokenizers::Result<Vec<u32>> {
        let room = self.room(second.is_some());
        // How a pair is cut depends on both whole lengths.
        let limit = if second.is_some() { usize::MAX } else { room };
        let first = self.encode_text(first, limit)?;
        let second = second.map(|text| self.encode_text(text, limit));
        let cut = TruncationParams {
            direction: TruncationDirection::Right,
            max_length: room,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        let (first, second) = truncate_encodings(first, second.transpose()?, &cut)?;
        let whole = self.tokenizer.post_process(first, second, true)?;
        Ok(whole.get_ids().to_vec())
    }

    /// The tokens of a text, without special tokens; what lies behind the first `limit` may be missing.
    fn encode_text(&self, text: &str, limit: usize) -> tokenizers::Result<Encoding> {
        let (tokenizer, mut ids) = (&self.tokenizer, Vec::new());
        let vocabulary = tokenizer.get_added_vocabulary();
        let mut pieces = vocabulary.extract_and_normalize(tokenizer.get_normalizer(), text);
        if let Some(splitter) = tokenizer.get_pre_tokenizer() {
            splitter.pre_tokenize(&mut pieces)?;
        }
        let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::None);
        for (piece, _, added) in pieces {
            if ids.len() >= limit {
                break;
            }
            match (added, &self.unigram) {
                (Some(tokens), _) => ids.extend(tokens.iter().map(|token| token.id)),
                (None, Some(unigram)) => unigram.encode(piece, &mut ids)?,
                (None, None) => {
                    let tokens = tokenizer.get_model().tokenize(piece)?;
                    ids.extend(tokens.iter().map(|token| token.id));
                }
            }
        }
        let bare = |id| (id, String::new(), (0, 0), None, 0);
        Ok(ids.into_iter().map(bare).collect())
    }

    /// Tokens of text that a row may have.
    fn room(&self, pair: bool) -> usize {
        let special = self.special_tokens(pair);
        self.options.max_length.saturating_sub(special)
    }

    fn special_tokens(&self, pair: bool) -> usize {
        let processor = self.tokenizer.get_post_processor();
        processor.map_or(0, |processor| processor.added_tokens(pair))
    }
}
