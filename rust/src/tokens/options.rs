//! What of a record is tokenised, and how much of it.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::records::Fields;

/// Characters of a text that are looked at for each token that a row may have: most tokens have two to six, and what is
/// behind the bound cannot reach the row.
const CHARACTERS_A_TOKEN: usize = 128;
/// Tokens that short rows count as, so that a few words of any length fit.
const LEAST_TOKENS: usize = 32;

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

/// What is tokenised and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenOptions {
    /// Stands before the text, and before the title where the title comes first.
    pub prefix: String,
    /// How titles enter.
    pub title: TitleMode,
    /// Most tokens a row, special ones included; the rest is cut off on the right, longest segment first.
    pub max_length: usize,
    /// Whether one trailing ASCII question mark, and white space around it, is dropped from the text.
    pub strip_question_mark: bool,
}

impl TokenOptions {
    /// The text of a record that is tokenised, or both texts of a pair, cut to what a row can use; `None` where there is nothing
    /// but white space.
    pub fn texts<'s>(&self, fields: &'s Fields<'_>) -> Option<(String, Option<&'s str>)> {
        let text = if self.strip_question_mark {
            without_question_mark(&fields.text)
        } else {
            &fields.text
        };
        let blank = |text: &str| text.trim_start().is_empty();
        if blank(text) && (self.title == TitleMode::None || blank(&fields.title)) {
            return None;
        }
        let bound = CHARACTERS_A_TOKEN.saturating_mul(self.max_length.max(LEAST_TOKENS));
        let (prefix, title, text) = (&self.prefix, head(&fields.title, bound), head(text, bound));
        Some(match self.title {
            TitleMode::Pair if !title.is_empty() => (format!("{prefix}{title}"), Some(text)),
            TitleMode::Text if !title.is_empty() => (format!("{prefix}{title} {text}"), None),
            _ => (format!("{prefix}{text}"), None),
        })
    }
}

/// The first `bound` characters of a text, or fewer where white space in their second half is a better place to cut.
fn head(text: &str, bound: usize) -> &str {
    if text.len() <= bound {
        return text; // so many bytes have no more characters
    }
    let Some((end, _)) = text.char_indices().nth(bound) else {
        return text;
    };
    let space = text[..end].rfind(char::is_whitespace);
    &text[..space.filter(|at| *at >= end / 2).unwrap_or(end)]
}

/// Drops one trailing `?` and the white space around it; a text that ends otherwise stays as it is.
fn without_question_mark(text: &str) -> &str {
    text.trim_end()
        .strip_suffix('?')
        .map_or(text, str::trim_end)
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

    #[test]
    fn a_text_is_cut_at_a_space_or_at_the_bound() {
        assert_eq!(head("one two", 7), "one two");
        assert_eq!(head("one two three", 9), "one two");
        assert_eq!(head("a bcdefghi", 8), "a bcdefg");
        assert_eq!(head("誰誰誰 誰誰", 4), "誰誰誰");
        assert_eq!(head("誰誰誰誰", 4), "誰誰誰誰");
    }
}
