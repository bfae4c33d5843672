//! What is wanted: pairs of queries and passages, query after query, without a key that is repeated.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::fingerprint::Key;
use crate::progress::Progress;

use super::BLOCK;
use super::table::KeyTable;

/// Stands for no passage, and for no further query.
pub const NONE: u32 = u32::MAX;

/// Wanted pairs: query q wants `passages[columns[i]]` for every i in `starts[q]..starts[q + 1]`.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Keys of the queries [Q].
    pub queries: &'a [Key],
    /// Keys of the passages [n].
    pub passages: &'a [Key],
    /// Passage of every pair [P]; [`NONE`] for none.
    pub columns: &'a [u32],
    /// First pair of every query and the number of pairs [Q + 1], ascending from 0.
    pub starts: Vec<usize>,
}

impl<'a> Wanted<'a> {
    /// Rows of `k` candidates.
    pub fn matrix(queries: &'a [Key], passages: &'a [Key], rows: &'a [u32], k: usize) -> Self {
        Self {
            queries,
            passages,
            columns: rows,
            starts: (0..=queries.len()).map(|query| query * k).collect(),
        }
    }

    /// Refuses passages that there are not, and shapes that do not meet.
    pub fn check(&self) -> Result<()> {
        let pairs = self.starts.last().copied().unwrap_or_default();
        if self.starts.len() != self.queries.len() + 1 || pairs != self.columns.len() {
            let (queries, columns) = (self.queries.len(), self.columns.len());
            let message = format!("{queries} query keys do not meet {columns} pairs");
            return Err(Error::shape(message));
        }
        let count = self.passages.len();
        let strange = |row: &u32| *row as usize >= count && *row != NONE;
        match self.columns.par_iter().position_first(strange) {
            Some(at) => {
                let message = format!("row {} of {count} passages", self.columns[at]);
                Err(Error::shape(message))
            }
            None => Ok(()),
        }
    }

    /// Bounds of runs of queries that take about `memory` bytes each (0: one run), at least a query a run and at least
    /// one run. `extra` bytes a pair are copies. Places in a run fit into 32 bits.
    pub fn windows(&self, memory: u64, extra: usize) -> Vec<(usize, usize)> {
        let mut windows = Vec::new();
        let (mut from, mut bytes) = (0, 0);
        for query in 0..self.queries.len() {
            let pairs = self.starts[query + 1] - self.starts[query];
            let own = (pairs * (4 + extra) + QUERY_BYTES) as u64;
            let full = memory > 0 && bytes + own > memory;
            let far = self.starts[query + 1] - self.starts[from] > u32::MAX as usize;
            if (full || far) && query > from {
                windows.push((from, query));
                (from, bytes) = (query, 0);
            }
            bytes += own;
        }
        if from < self.queries.len() || windows.is_empty() {
            windows.push((from, self.queries.len()));
        }
        windows
    }

    /// The widest row.
    pub fn width(&self) -> usize {
        let widths = self.starts.windows(2).map(|pair| pair[1] - pair[0]);
        widths.max().unwrap_or_default()
    }
}

/// Bytes that a query takes beside its pairs: slots of the table, and the link to its namesake.
const QUERY_BYTES: usize = 16;

/// The passages by key. Where several have the same content, the first stands for all.
pub struct Passages<'a> {
    table: KeyTable<'a>,
    first: Vec<u32>,
}

impl<'a> Passages<'a> {
    /// Enters all keys.
    pub fn new(keys: &'a [Key], progress: &Progress) -> Result<Self> {
        let mut table = KeyTable::new(keys, keys.len())?;
        let mut first = Vec::new();
        table.fill(progress, |at, found| {
            if at != found && first.is_empty() {
                first = (0..keys.len() as u32).collect();
            }
            if at != found {
                first[at as usize] = found;
            }
        })?;
        Ok(Self { table, first })
    }

    /// The passage of a key.
    #[inline]
    pub fn get(&self, key: &Key) -> Option<u32> {
        self.table.get(key)
    }

    /// Whether `canonical` copies.
    pub fn repeated(&self) -> bool {
        !self.first.is_empty()
    }

    /// The columns with the first passage of each content.
    pub fn canonical<'b>(&self, columns: &'b [u32], progress: &Progress) -> Result<Cow<'b, [u32]>> {
        if !self.repeated() {
            return Ok(Cow::Borrowed(columns));
        }
        let mut rows = columns.to_vec();
        rows.par_chunks_mut(BLOCK).try_for_each(|block| {
            progress.poll()?;
            for row in block {
                *row = self.first.get(*row as usize).copied().unwrap_or(NONE);
            }
            Ok(())
        })?;
        Ok(Cow::Owned(rows))
    }
}
