//! From a record to token ids, exactly as the fast tokenizers of Hugging Face do it from Python.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tokenizers::tokenizer::{Encoding, PostProcessor, truncate_encodings};
use tokenizers::{TruncationDirection, TruncationParams, TruncationStrategy};

use super::model::Pipeline;
use super::words::Words;
use crate::error::{Error, Result};
use crate::files;
use crate::records::Fields;

/// How a passage's title enters its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TitleMode {
    /// `title + " " + text` where there is a title, else the text alone.
    Text,
    /// The tokenizer's pair (title, text) where there is a title, else the text alone.
    Pair,
    /// The text alone.
    None,
}

impl TitleMode {
    /// Reads "text", "pair" or "none".
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "text" => Ok(Self::Text),
            "pair" => Ok(Self::Pair),
            "none" => Ok(Self::None),
            other => {
                let message =
                    format!("title: expected \"text\", \"pair\" or \"none\", got {other:?}");
                Err(Error::shape(message))
            }
        }
    }
}

/// Everything besides the texts and the tokenizer that decides the ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenOptions {
    /// Stands before the text (before the title where the title comes first).
    pub prefix: String,
    /// How the title enters.
    pub title: TitleMode,
    /// Most tokens a row, special ones included; the rest is cut off on the right, longest segment first.
    pub max_length: usize,
    /// Whether the tokenizer adds its special tokens.
    pub special: bool,
    /// Whether one trailing ASCII question mark, and white space around it, is dropped from the text.
    pub strip_question_mark: bool,
}

/// A tokenizer together with its options.
pub struct Encoder {
    tokenizer: Pipeline,
    options: TokenOptions,
    /// The way word by word, for tokenizers that allow it.
    words: Option<Words>,
    /// What the tokenizer puts before and behind a text that stands alone, where that is all it does.
    around: Option<(Vec<u32>, Vec<u32>)>,
}

impl Encoder {
    /// Loads `tokenizer.json`; its own padding and truncation are replaced. Returns also the file's BLAKE3.
    pub fn load(path: &Path, options: &TokenOptions) -> Result<(Self, String)> {
        let json = files::map(path)?;
        let (digest, tokenizer) = rayon::join(
            || blake3::hash(&json).to_hex().to_string(),
            || Pipeline::from_bytes(&json[..]),
        );
        let mut tokenizer = tokenizer.map_err(|error| {
            let message = format!("not a tokenizer that can be read: {error}");
            Error::format(
                path,
                None,
                message,
                "give the tokenizer.json of a fast tokenizer",
            )
        })?;
        check_length(&tokenizer, options)?;
        tokenizer.with_padding(None);
        // Version 0.23.2 shortens each half of a pair before it knows which is the longest: cutting is done here.
        tokenizer
            .with_truncation(None)
            .map_err(|error| Error::Internal {
                message: error.to_string(),
            })?;
        let encoder = Self {
            options: options.clone(),
            words: Words::of(&tokenizer),
            around: around(&tokenizer, options.special),
            tokenizer,
        };
        Ok((encoder, digest))
    }

    /// The ids of one record.
    pub fn ids(&self, fields: &Fields<'_>) -> Result<Vec<u32>> {
        let (first, second) = self.parts(fields);
        self.encode(&first, second).map_err(|error| {
            let message = format!("id {:?}: the tokenizer failed: {error}", fields.id);
            Error::input(message, "check that tokenizer.json is complete")
        })
    }

    pub(super) fn encode(&self, first: &str, second: Option<&str>) -> tokenizers::Result<Vec<u32>> {
        let room = self.room(second.is_some());
        if let (None, Some((before, behind))) = (second, &self.around) {
            let ids = self.bare(first, room)?;
            return Ok([before, &ids[..], behind].concat());
        }
        let all = |text: &str| self.bare(text, usize::MAX).map(|ids| encoding(&ids));
        let pair: Option<Encoding> = second.map(all).transpose()?;
        let (first, pair) = truncate_encodings(all(first)?, pair, &truncation(room))?;
        let whole = self
            .tokenizer
            .post_process(first, pair, self.options.special)?;
        Ok(whole.get_ids().to_vec())
    }

    /// The first `room` ids of a text, without special tokens.
    fn bare(&self, text: &str, room: usize) -> tokenizers::Result<Vec<u32>> {
        if let Some(words) = &self.words
            && let Some(ids) = words.encode(&self.tokenizer, text, room)?
        {
            return Ok(ids);
        }
        let whole = self.tokenizer.encode_fast(text, false)?;
        Ok(whole.get_ids().iter().copied().take(room).collect())
    }

    #[cfg(test)]
    pub(super) fn goes_by_word(&self) -> bool {
        self.words.is_some()
    }

    /// Tokens of text that a row may have.
    fn room(&self, pair: bool) -> usize {
        let special = added(&self.tokenizer, pair) * usize::from(self.options.special);
        self.options.max_length.saturating_sub(special)
    }

    /// The text that is encoded, or both texts of a pair.
    fn parts<'s>(&self, fields: &'s Fields<'_>) -> (String, Option<&'s str>) {
        let (prefix, title) = (&self.options.prefix, &fields.title);
        let text = if self.options.strip_question_mark {
            without_question_mark(&fields.text)
        } else {
            &fields.text
        };
        match self.options.title {
            TitleMode::Pair if !title.is_empty() => (format!("{prefix}{title}"), Some(text)),
            TitleMode::Text if !title.is_empty() => (format!("{prefix}{title} {text}"), None),
            _ => (format!("{prefix}{text}"), None),
        }
    }
}

/// Drops one trailing `?` and the white space around it; a text that ends otherwise stays as it is.
fn without_question_mark(text: &str) -> &str {
    text.trim_end()
        .strip_suffix('?')
        .map_or(text, str::trim_end)
}

fn truncation(max_length: usize) -> TruncationParams {
    TruncationParams {
        direction: TruncationDirection::Right,
        max_length,
        strategy: TruncationStrategy::LongestFirst,
        stride: 0,
    }
}

fn encoding(ids: &[u32]) -> Encoding {
    let bare = |id: &u32| (*id, String::new(), (0, 0), None, 0);
    ids.iter().map(bare).collect()
}

/// What is put around a text, learnt from texts of no, one and two tokens; `None` where it is not the same for all.
fn around(tokenizer: &Pipeline, special: bool) -> Option<(Vec<u32>, Vec<u32>)> {
    const FIRST: u32 = u32::MAX - 1;
    let process = |ids: &[u32]| {
        let whole = tokenizer.post_process(encoding(ids), None, special).ok()?;
        Some(whole.get_ids().to_vec())
    };
    let one = process(&[FIRST])?;
    let at = one.iter().position(|id| *id == FIRST)?;
    let (before, behind) = (&one[..at], &one[at + 1..]);
    let same = |ids: &[u32]| process(ids) == Some([before, ids, behind].concat());
    let always = same(&[]) && same(&[FIRST, u32::MAX]);
    always.then(|| (before.to_vec(), behind.to_vec()))
}

fn added(tokenizer: &Pipeline, pair: bool) -> usize {
    tokenizer
        .get_post_processor()
        .map_or(0, |processor| processor.added_tokens(pair))
}

fn check_length(tokenizer: &Pipeline, options: &TokenOptions) -> Result<()> {
    let pair = options.title == TitleMode::Pair;
    let added = if options.special {
        added(tokenizer, pair)
    } else {
        0
    };
    if options.max_length <= added {
        let message = format!(
            "max_length: {} leaves no room beside the tokenizer's {added} special tokens",
            options.max_length
        );
        return Err(Error::shape(message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_question_mark_goes() {
        assert_eq!(without_question_mark("who ? "), "who");
        assert_eq!(without_question_mark("who??"), "who?");
        assert_eq!(without_question_mark("who "), "who ");
        assert_eq!(without_question_mark("誰？"), "誰？");
    }
}
