//! What a record holds, whatever the file's format, and the flaws that a record can have.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Names under which a passage's id is found in JSONL and in TSV headers, best first.
const PASSAGE_IDS: &[&str] = &["_id", "id", "docid", "doc_id", "passage_id", "pid"];
/// Names of a passage's text, best first.
const PASSAGE_TEXTS: &[&str] = &["text", "contents", "passage", "body"];
/// Names of a query's id, best first.
const QUERY_IDS: &[&str] = &[
    "_id",
    "id",
    "docid",
    "doc_id",
    "passage_id",
    "query_id",
    "query-id",
    "qid",
];
/// Names of a query's text, best first.
const QUERY_TEXTS: &[&str] = &["question", "query", "text"];
/// Names of a passage's title.
const TITLES: &[&str] = &["title"];
/// Names of the language, best first.
pub const LANGS: &[&str] = &["lang", "language"];
/// Names of the id of the passage that a query was made from.
const SOURCES: &[&str] = &["source"];

/// Whether the records are passages or queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Passages: id, title, text.
    Passages,
    /// Queries: id, text, language, source.
    Queries,
}

impl Kind {
    /// Names of the id field, best first.
    pub fn ids(self) -> &'static [&'static str] {
        match self {
            Self::Passages => PASSAGE_IDS,
            Self::Queries => QUERY_IDS,
        }
    }

    /// Names of the text field, best first.
    pub fn texts(self) -> &'static [&'static str] {
        match self {
            Self::Passages => PASSAGE_TEXTS,
            Self::Queries => QUERY_TEXTS,
        }
    }

    /// Names of the title; queries have none.
    pub fn titles(self) -> &'static [&'static str] {
        match self {
            Self::Passages => TITLES,
            Self::Queries => &[],
        }
    }

    /// Names of the source; passages have none.
    pub fn sources(self) -> &'static [&'static str] {
        match self {
            Self::Passages => &[],
            Self::Queries => SOURCES,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Passages => "passages",
            Self::Queries => "queries",
        })
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "passages" => Ok(Self::Passages),
            "queries" => Ok(Self::Queries),
            other => {
                let message = format!("kind: expected \"passages\" or \"queries\", got {other:?}");
                Err(Error::shape(message))
            }
        }
    }
}

/// One record, borrowed from its file where nothing had to be unquoted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The record's id, never empty.
    pub id: Cow<'a, str>,
    /// Title of a passage; empty when it has none and for queries.
    pub title: Cow<'a, str>,
    /// Text of the passage or query.
    pub text: Cow<'a, str>,
    /// Language code as the file gives it, not yet trimmed; empty when absent.
    pub lang: Cow<'a, str>,
    /// Id of the passage that the query was made from; empty when absent and for passages.
    pub source: Cow<'a, str>,
}

/// What is wrong with a record, not yet with its place in the file.
#[derive(Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The bytes are no UTF-8, from this offset inside the record.
    Utf8 {
        /// Bytes from the start of the record.
        offset: usize,
    },
    /// Anything else.
    Other {
        /// What is wrong and what was expected.
        message: String,
        /// What to do about it.
        hint: String,
    },
}

impl Flaw {
    /// A flaw with a message and a hint.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Other {
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// The text of a record, or the place where it stops being UTF-8.
pub fn utf8(bytes: &[u8]) -> Result<&str, Flaw> {
    std::str::from_utf8(bytes).map_err(|error| Flaw::Utf8 {
        offset: error.valid_up_to(),
    })
}

/// Checks what every record must satisfy, whatever its format.
pub fn check(kind: Kind, fields: &Fields<'_>) -> Result<(), Flaw> {
    if fields.id.trim().is_empty() {
        return Err(Flaw::new(
            "the id is empty",
            "give every record an id of its own",
        ));
    }
    if kind == Kind::Queries && fields.text.trim().is_empty() {
        let message = format!("id {:?}: the query is empty", fields.id);
        return Err(Flaw::new(message, "fill in the text or remove the line"));
    }
    Ok(())
}
