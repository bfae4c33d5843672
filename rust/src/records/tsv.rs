//! Tab-separated records, quoted as in CSV: a quote opens a field, a doubled quote is one, tabs and newlines may
//! stand inside. A quote anywhere else is a letter like any other, so plain files read as they are.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use super::columns::{Columns, is_list};
use super::fields::{Fields, Flaw, utf8};

/// Where the record that starts at `from` ends (behind its newline); `None` when a quote is never closed.
pub fn record_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        if bytes.get(at) == Some(&b'"') {
            at = closing_quote(bytes, at + 1)? + 1;
        }
        match memchr2(b'\t', b'\n', &bytes[at..]) {
            None => return Some(bytes.len()),
            Some(offset) if bytes[at + offset] == b'\n' => return Some(at + offset + 1),
            Some(offset) => at += offset + 1,
        }
    }
}

/// Position of the quote that closes a field whose content starts at `from`.
fn closing_quote(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr(b'"', bytes.get(at..)?)?;
        if bytes.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

/// The fields of one record (with or without its newline).
pub fn split(record: &[u8]) -> Result<Vec<Cow<'_, str>>, Flaw> {
    let line = utf8(record)?;
    let line = line.strip_suffix('\n').unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let mut fields = Vec::with_capacity(4);
    let mut at = 0;
    loop {
        let (field, end) = field(line, at)?;
        fields.push(field);
        if end >= line.len() {
            return Ok(fields);
        }
        at = end + 1;
    }
}

/// The field that starts at `from`, and the position of the tab behind it (or of the end).
fn field(line: &str, from: usize) -> Result<(Cow<'_, str>, usize), Flaw> {
    let bytes = line.as_bytes();
    let end_from = |at: usize| memchr(b'\t', &bytes[at..]).map_or(line.len(), |tab| at + tab);
    if bytes.get(from) != Some(&b'"') {
        let end = end_from(from);
        return Ok((Cow::Borrowed(&line[from..end]), end));
    }
    let close = closing_quote(bytes, from + 1).ok_or_else(unclosed)?;
    let inside = &line[from + 1..close];
    let end = end_from(close + 1);
    let rest = &line[close + 1..end];
    if !rest.is_empty() && inside.contains('\n') {
        return Err(broken_quote(rest));
    }
    let text = if inside.contains("\"\"") {
        Cow::Owned(inside.replace("\"\"", "\"") + rest)
    } else if rest.is_empty() {
        Cow::Borrowed(inside)
    } else {
        Cow::Owned(inside.to_owned() + rest)
    };
    Ok((text, end))
}

/// The flaw of a record whose quote is never closed.
pub fn unclosed() -> Flaw {
    let hint = "close the quote; inside a quoted field a quote is written twice";
    Flaw::new("a field starts with a quote that is never closed", hint)
}

fn broken_quote(rest: &str) -> Flaw {
    let start: String = rest.chars().take(20).collect();
    let message = format!("a quoted field spans lines and is then followed by {start:?}");
    Flaw::new(
        message,
        "a field that starts with a quote must end with one: double the quotes inside",
    )
}

/// The fields by name of the record in a row.
pub fn parse<'a>(columns: &Columns, record: &'a [u8], row: usize) -> Result<Fields<'a>, Flaw> {
    let mut fields = split(record)?;
    let found = fields.len();
    if found < columns.least || found > columns.most {
        let message = format!("{found} columns, expected {}", columns.expected());
        return Err(Flaw::new(message, column_hint(columns)));
    }
    if columns.id.is_none() && !is_list(&fields[1]) {
        let message = "the second column is no list of answers, as it is in the first record";
        return Err(Flaw::new(message, "give all queries as id and query"));
    }
    let mut take = |column: usize| {
        fields
            .get_mut(column)
            .map(std::mem::take)
            .unwrap_or_default()
    };
    Ok(Fields {
        id: columns.id.map_or_else(|| row.to_string().into(), &mut take),
        text: take(columns.text),
        title: columns.title.map(&mut take).unwrap_or_default(),
        lang: columns.lang.map(&mut take).unwrap_or_default(),
        source: columns.source.map(&mut take).unwrap_or_default(),
    })
}

fn column_hint(columns: &Columns) -> &'static str {
    if columns.title == Some(2) && columns.lang.is_none() {
        "separate id, text and title by tabs; other columns need a header row that starts with id"
    } else {
        "separate the fields by tabs, and quote a field that holds a tab or a newline"
    }
}
