//! How one file is cut into records, and how a record becomes fields: the only place that knows both formats.

use std::path::Path;

use memchr::memchr;
use serde::{Deserialize, Serialize};

use super::columns::Columns;
use super::fields::{Fields, Flaw, Kind, check};
use super::{jsonl, tsv};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The format of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One JSON object a line.
    Jsonl,
    /// Tab-separated, csv-quoted.
    Tsv(Columns),
}

/// A flaw with the offset of its record from the start of the file.
pub type Placed = (usize, Flaw);

impl Layout {
    /// Decides the format by name, else by the first character, and reads a TSV header. Returns the layout and the
    /// offset of the first record, or the end of `bytes` when there is none.
    pub fn detect(name: &str, kind: Kind, bytes: &[u8]) -> Result<(Self, usize), Placed> {
        let from = if bytes.starts_with(BOM) { BOM.len() } else { 0 };
        let json = by_name(name).unwrap_or_else(|| first_letter(&bytes[from..]) == Some(b'{'));
        let from = skip_blank(bytes, from);
        if json {
            return Ok((Self::Jsonl, from));
        }
        let end = tsv::record_end(bytes, from).ok_or_else(|| (from, tsv::unclosed()))?;
        let names = tsv::split(&bytes[from..end]).map_err(|flaw| (from, flaw))?;
        let header = Columns::from_header(kind, &names).map_err(|flaw| (from, flaw))?;
        match header {
            Some(columns) => Ok((Self::Tsv(columns), skip_blank(bytes, end))),
            None => {
                let columns = Columns::plain(kind, &names).map_err(|flaw| (from, flaw))?;
                Ok((Self::Tsv(columns), from))
            }
        }
    }

    /// The record behind the one that starts at `at`; the end of `bytes` when there is none.
    pub fn next(&self, bytes: &[u8], at: usize) -> Result<usize, Flaw> {
        let end = match self {
            Self::Jsonl => line_end(bytes, at),
            Self::Tsv(_) => tsv::record_end(bytes, at).ok_or_else(tsv::unclosed)?,
        };
        Ok(skip_blank(bytes, end))
    }

    /// The fields of the record in a row; blank lines behind it are allowed.
    pub fn parse<'a>(&self, kind: Kind, record: &'a [u8], row: usize) -> Result<Fields<'a>, Flaw> {
        let fields = match self {
            Self::Jsonl => jsonl::parse(kind, record)?,
            Self::Tsv(columns) => {
                let end = tsv::record_end(record, 0).ok_or_else(tsv::unclosed)?;
                tsv::parse(columns, &record[..end], row)?
            }
        };
        check(kind, &fields)?;
        Ok(fields)
    }
}

/// `Some(true)` for JSONL, `Some(false)` for TSV, `None` when the name does not tell.
fn by_name(name: &str) -> Option<bool> {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    match Path::new(name)
        .extension()?
        .to_str()?
        .to_ascii_lowercase()
        .as_str()
    {
        "jsonl" | "json" | "ndjson" => Some(true),
        "tsv" | "txt" | "csv" => Some(false),
        _ => None,
    }
}

fn first_letter(bytes: &[u8]) -> Option<u8> {
    bytes
        .iter()
        .copied()
        .find(|byte| !byte.is_ascii_whitespace())
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    memchr(b'\n', &bytes[from..]).map_or(bytes.len(), |offset| from + offset + 1)
}

/// The start of the first line at or behind `from` that holds more than spaces. Tabs are fields, not blanks.
fn skip_blank(bytes: &[u8], from: usize) -> usize {
    let mut line = from;
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\n' => line = at + 1,
            b' ' | b'\r' => {}
            _ => return line,
        }
        at += 1;
    }
    bytes.len()
}
