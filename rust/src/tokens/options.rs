//! What of a record is tokenised, and how much of it.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
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
    /// The text of a record that is tokenised, or both texts of a pair.
    pub fn texts<'s>(&self, fields: &'s Fields<'_>) -> (String, Option<&'s str>) {
        let (prefix, title) = (&self.prefix, &fields.title);
        let text = if self.strip_question_mark {
            without_question_mark(&fields.text)
        } else {
            &fields.text
        };
        match self.title {
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
