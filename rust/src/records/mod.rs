//! Records: passages or queries that stay in their files, found by row through a table of offsets.

mod columns;
pub mod fields;
mod index;
mod input;
mod jsonl;
mod layout;
mod open;
mod scan;
mod table;
#[cfg(test)]
mod tests;
mod tsv;
mod unpack;

pub use fields::{Fields, Kind};
pub use scan::Counts;

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::fingerprint::{Key, id_hash, passage_key, query_key};
use crate::progress::Progress;
use index::content_fingerprint;
use input::MappedFile;
use table::Table;

/// All records of a collection. Rows count from 0 over all files in the order given.
#[derive(Debug)]
pub struct Records {
    kind: Kind,
    files: Vec<MappedFile>,
    /// Offset of each file's first byte in the concatenation of all, and behind the last one its end.
    bases: Vec<u64>,
    table: Table,
    fingerprint: String,
    counts: Counts,
}

impl Records {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.table.rows()
    }

    /// Whether there are none; never true of opened files.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// BLAKE3-256 in hexadecimal of kind, reader version and content; independent of paths and times.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What the records are like.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The record in a row; a row beyond the end is a [`Error::Shape`].
    pub fn get(&self, row: u32) -> Result<Fields<'_>> {
        let (file, start, end) = self.span(row)?;
        let bytes = file.content.get(start..end)?;
        let fields = file.layout.parse(self.kind, bytes, row as usize);
        let mut fields = fields.map_err(|flaw| file.error(start, flaw))?;
        fields.lang = trimmed(fields.lang);
        Ok(fields)
    }

    /// The id of the passage that a query was made from, empty where there is none. Where no record has one, the
    /// files are not read.
    pub fn source(&self, row: u32) -> Result<Cow<'_, str>> {
        if self.counts.sources == 0 {
            return self.span(row).map(|_| Cow::Borrowed(""));
        }
        self.get(row).map(|fields| fields.source)
    }

    /// The content key of a row, under which scores are kept.
    pub fn key(&self, row: u32) -> Result<Key> {
        let fields = self.get(row)?;
        Ok(match self.kind {
            Kind::Passages => passage_key(&fields.title, &fields.text),
            Kind::Queries => query_key(&fields.text),
        })
    }

    /// Refuses to go on where a file is shorter than it was when it was opened.
    pub fn require_whole(&self) -> Result<()> {
        let mut files = self.files.iter();
        files.try_for_each(|file| file.content.require_whole())
    }

    /// The row of an id, if there is one.
    pub fn find(&self, id: &str) -> Result<Option<u32>> {
        for row in self.table.with_hash(id_hash(id)) {
            if self.get(row)?.id == id {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// What is wrong with the files, in words: every byte is read again.
    pub fn verify(&self, progress: &Progress) -> Result<Vec<String>> {
        let broken = self
            .files
            .iter()
            .filter_map(|file| file.content.verify().err());
        let mut flaws: Vec<String> = broken.map(|error| error.to_string()).collect();
        if flaws.is_empty()
            && content_fingerprint(self.kind, &self.files, progress)? != self.fingerprint
        {
            flaws.push(format!(
                "the {} are not those that were read first",
                self.kind
            ));
        }
        Ok(flaws)
    }

    /// The path (as given) and line (from 1) at which a row's record starts.
    pub fn locate(&self, row: u32) -> Result<(&str, u64)> {
        let (file, start, _) = self.span(row)?;
        Ok((&file.name, file.line(start)))
    }

    /// The file of a row and the bytes of its record in it.
    fn span(&self, row: u32) -> Result<(&MappedFile, usize, usize)> {
        let row = row as usize;
        if row >= self.len() {
            let message = format!("row {row}: there are only {} {}", self.len(), self.kind);
            return Err(Error::shape(message));
        }
        let start = self.table.start(row);
        let number = self.bases.partition_point(|base| *base <= start) - 1;
        let (base, limit) = (self.bases[number], self.bases[number + 1]);
        let next = if row + 1 < self.len() {
            self.table.start(row + 1)
        } else {
            limit
        };
        Ok((
            &self.files[number],
            (start - base) as usize,
            (next.min(limit) - base) as usize,
        ))
    }
}

fn trimmed(lang: Cow<'_, str>) -> Cow<'_, str> {
    match lang {
        Cow::Borrowed(lang) => Cow::Borrowed(lang.trim()),
        Cow::Owned(lang) => Cow::Owned(lang.trim().to_owned()),
    }
}
