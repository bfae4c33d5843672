//! Reading every record once: offsets, id hashes, counts, and the first flaw in file order.

use rayon::prelude::*;

use super::fields::{Fields, Flaw, Kind};
use super::input::{MappedFile, empty};
use crate::error::{Error, Result};
use crate::fingerprint::id_hash;
use crate::progress::Progress;

/// Records checked by one task.
const CHUNK: usize = 2048;

/// How many records something is true of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Languages had white space around them, which was removed.
    pub lang_trimmed: u64,
    /// The text of a passage is empty.
    pub empty_passages: u64,
    /// The query names the passage that it was made from.
    pub sources: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.lang_trimmed += other.lang_trimmed;
        self.empty_passages += other.empty_passages;
        self.sources += other.sources;
    }

    fn count(&mut self, kind: Kind, fields: &Fields<'_>) {
        self.lang_trimmed += u64::from(fields.lang.trim() != fields.lang);
        let blank = kind == Kind::Passages && fields.text.trim().is_empty();
        self.empty_passages += u64::from(blank);
        self.sources += u64::from(!fields.source.is_empty());
    }
}

/// What one pass over all files finds.
#[derive(Debug, Default)]
pub struct Scan {
    /// Offsets of all records in the concatenation of the files.
    pub starts: Vec<u64>,
    /// Hash of each row's id, in row order.
    pub hashes: Vec<u64>,
    /// What the records are like.
    pub counts: Counts,
}

impl Scan {
    /// Reads all records of a file whose first one starts at `from` and whose first byte is number `base` of all files.
    pub fn file(
        &mut self,
        kind: Kind,
        file: &MappedFile,
        from: usize,
        base: u64,
        progress: &Progress,
    ) -> Result<()> {
        let starts = starts(file, from, progress)?;
        if starts.is_empty() {
            return Err(empty(&file.name, kind));
        }
        if self.starts.len() + starts.len() >= u32::MAX as usize {
            let message = format!("{}: more than {} {kind}", file.name, u32::MAX - 1);
            return Err(Error::input(message, "split the collection"));
        }
        for chunk in check_all(kind, file, &starts, self.starts.len(), progress) {
            let (hashes, counts) = chunk?;
            self.hashes.extend(hashes);
            self.counts.add(counts);
        }
        self.starts.extend(starts.iter().map(|start| base + start));
        Ok(())
    }

    /// The id table: (hash, row) in ascending order.
    pub fn sorted_ids(&self) -> Vec<(u64, u32)> {
        let rows = 0..self.hashes.len() as u32;
        let mut ids: Vec<_> = self.hashes.iter().copied().zip(rows).collect();
        ids.par_sort_unstable();
        ids
    }
}

/// The offsets of all records of a file, the first of which starts at `from`.
fn starts(file: &MappedFile, from: usize, progress: &Progress) -> Result<Vec<u64>> {
    let mut starts = Vec::new();
    let mut at = from;
    while at < file.content.all().len() {
        if starts.len().is_multiple_of(CHUNK) {
            progress.poll()?;
        }
        starts.push(at as u64);
        let next = file.layout.next(file.content.all(), at);
        at = next.map_err(|flaw| file.error(at, flaw))?;
    }
    Ok(starts)
}

type Checked = Result<(Vec<u64>, Counts)>;

/// Every chunk's outcome in file order, so that the first error is the first in the file. `row` is that of its first record.
fn check_all(
    kind: Kind,
    file: &MappedFile,
    starts: &[u64],
    row: usize,
    progress: &Progress,
) -> Vec<Checked> {
    let chunks = starts.len().div_ceil(CHUNK);
    let one = |chunk: usize| {
        progress.poll()?;
        file.content.require_whole()?;
        let first = chunk * CHUNK;
        let last = starts.len().min(first + CHUNK);
        let end = starts
            .get(last)
            .map_or(file.content.all().len(), |end| *end as usize);
        let checked = check_chunk(kind, file, &starts[first..last], end, row + first);
        progress.add(last - first);
        checked
    };
    (0..chunks).into_par_iter().map(one).collect()
}

fn check_chunk(kind: Kind, file: &MappedFile, starts: &[u64], end: usize, row: usize) -> Checked {
    let mut counts = Counts::default();
    let mut hashes = Vec::with_capacity(starts.len());
    for (at, start) in starts.iter().enumerate() {
        let start = *start as usize;
        let stop = starts.get(at + 1).map_or(end, |next| *next as usize);
        let placed = |flaw: Flaw| file.error(start, flaw);
        let fields = file
            .layout
            .parse(kind, &file.content.all()[start..stop], row + at)
            .map_err(placed)?;
        counts.count(kind, &fields);
        hashes.push(id_hash(&fields.id));
    }
    Ok((hashes, counts))
}
