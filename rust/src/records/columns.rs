//! Which column of a TSV file holds what: as its header says, or in the order that files without one have.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::fields::{Flaw, Kind, LANGS};

/// Longest field that may be the name of a column.
const LONGEST_NAME: usize = 40;

/// Which column holds what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// Fewest columns that a record may have.
    pub least: usize,
    /// Most columns that a record may have.
    pub most: usize,
    /// Column of the id, from 0; none where a record's row is its id.
    pub id: Option<usize>,
    /// Column of the text.
    pub text: usize,
    /// Column of the title.
    pub title: Option<usize>,
    /// Column of the language.
    pub lang: Option<usize>,
    /// Column of the source.
    pub source: Option<usize>,
}

impl Columns {
    /// The columns of a file without a header, by its first record: id, text and perhaps the title; id, query and perhaps
    /// the language; or a query and a list of its answers, which are not read.
    pub fn plain(kind: Kind, first: &[Cow<'_, str>]) -> Result<Self, Flaw> {
        let mut columns = Self {
            least: 2,
            most: 3,
            id: Some(0),
            text: 1,
            title: None,
            lang: None,
            source: None,
        };
        match (kind, first) {
            (Kind::Passages, _) => {
                columns.least = first.len().clamp(2, 3);
                columns.most = columns.least;
                columns.title = (columns.least == 3).then_some(2);
            }
            (Kind::Queries, [_, answers]) if is_list(answers) => {
                (columns.id, columns.text, columns.most) = (None, 0, 2);
            }
            (Kind::Queries, [_, _, lang]) if !is_code(lang) => {
                let message = format!("the third column is {lang:?}, expected a language code");
                let hint = "name the columns in a first line: id, query, lang; others are not read";
                return Err(Flaw::new(message, hint));
            }
            (Kind::Queries, _) => columns.lang = Some(2),
        }
        Ok(columns)
    }

    /// The columns that the first record announces, or `None` when it is no header. Case does not matter.
    pub fn from_header(kind: Kind, first: &[Cow<'_, str>]) -> Result<Option<Self>, Flaw> {
        let lower = |name: &Cow<'_, str>| name.trim().to_ascii_lowercase();
        let names: Vec<String> = first.iter().map(lower).collect();
        let find = |wanted: &[&str]| {
            let place = |name: &&str| names.iter().position(|given| given == name);
            wanted.iter().find_map(place)
        };
        let (id, text) = (find(kind.ids()), find(kind.texts()));
        let (Some(id), Some(text)) = (id, text) else {
            let missing = if id.is_none() {
                ("id", kind.ids())
            } else {
                ("text", kind.texts())
            };
            return match looks_like_a_header(&names) {
                true => Err(unknown(first, missing)),
                false => Ok(None),
            };
        };
        Ok(Some(Self {
            least: names.len(),
            most: names.len(),
            id: Some(id),
            text,
            title: find(kind.titles()),
            lang: find(LANGS),
            source: find(kind.sources()),
        }))
    }

    /// The number of columns, as a message says it.
    pub fn expected(&self) -> String {
        if self.least == self.most {
            format!("{}", self.most)
        } else {
            format!("{} or {}", self.least, self.most)
        }
    }
}

/// Whether a first record without the columns that are needed names columns all the same: it begins with the name of an
/// id, or has the name of an id or a text among nothing but words.
fn looks_like_a_header(names: &[String]) -> bool {
    let kinds = [Kind::Passages, Kind::Queries];
    let is_id = |name: &String| kinds.iter().any(|kind| kind.ids().contains(&&**name));
    let is_text = |name: &String| kinds.iter().any(|kind| kind.texts().contains(&&**name));
    let is_word = |name: &String| {
        (1..=LONGEST_NAME).contains(&name.len()) && !name.contains(|c: char| c.is_ascii_digit())
    };
    let known = names.iter().any(|name| is_id(name) || is_text(name));
    names.first().is_some_and(is_id) || (names.len() > 1 && known && names.iter().all(is_word))
}

fn unknown(first: &[Cow<'_, str>], (what, names): (&str, &[&str])) -> Flaw {
    let message = format!("the header {first:?} names no column for the {what}");
    Flaw::new(message, format!("call it one of {}", names.join(", ")))
}

/// Whether a field is a list as Python or JSON writes one.
pub fn is_list(field: &str) -> bool {
    let field = field.trim();
    let begins = ["['", "[\"", "[]"]
        .iter()
        .any(|start| field.starts_with(start));
    begins && field.ends_with(']')
}

/// Whether a field may be a language code, or holds nothing.
fn is_code(field: &str) -> bool {
    let field = field.trim();
    field.len() <= LONGEST_NAME
        && field
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}
