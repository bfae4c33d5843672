//! The wanted pairs, ready to be found by the keys of a record.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::error::Result;
use crate::fingerprint::Key;
use crate::progress::Progress;

use super::table::KeyTable;
use super::wanted::{NO_PASSAGE, Wanted};

/// Rows handled between two polls of the stop flag.
const POLL: usize = 1 << 16;
/// Stands for no further query.
const END: u32 = u32::MAX;

/// Queries and passages by key, and the candidates of every query.
pub struct Lookup<'a> {
    queries: KeyTable<'a>,
    passages: KeyTable<'a>,
    /// Another query with the same key, or [`END`]; empty where all keys differ.
    next: Vec<u32>,
    /// Candidates [Q, k]; of passages with the same key the first stands for all.
    rows: Cow<'a, [u32]>,
    /// Candidates a query.
    pub k: usize,
    /// Number of queries.
    pub count: usize,
}

impl<'a> Lookup<'a> {
    /// Enters all keys.
    pub fn new(wanted: &Wanted<'a>, progress: &Progress) -> Result<Self> {
        let (queries, firsts) = KeyTable::new(wanted.queries, progress)?;
        let next = chain(&firsts);
        let (passages, firsts) = KeyTable::new(wanted.passages, progress)?;
        let rows = if firsts.is_empty() {
            Cow::Borrowed(wanted.rows)
        } else {
            Cow::Owned(replaced(wanted.rows, &firsts, progress)?)
        };
        let (k, count) = (wanted.k, wanted.queries.len());
        Ok(Self {
            queries,
            passages,
            next,
            rows,
            k,
            count,
        })
    }

    /// The candidates of a query.
    #[inline]
    pub fn row(&self, query: u32) -> &[u32] {
        let first = query as usize * self.k;
        &self.rows[first..first + self.k]
    }

    /// One of the queries with this key, and the first passage with that key.
    #[inline]
    pub fn find(&self, query: &Key, passage: &Key) -> Option<(u32, u32)> {
        let query = self.queries.get(query)?;
        Some((query, self.passages.get(passage)?))
    }

    /// The next query with the same key, until all were given.
    #[inline]
    pub fn another(&self, query: u32) -> Option<u32> {
        let next = self.next.get(query as usize).copied();
        next.filter(|query| *query != END)
    }
}

/// Links every query to another one with the same key, beginning with the first one.
fn chain(firsts: &[u32]) -> Vec<u32> {
    let mut next = vec![END; firsts.len()];
    for (at, first) in firsts.iter().map(|first| *first as usize).enumerate() {
        if at != first {
            next[at] = next[first];
            next[first] = at as u32;
        }
    }
    next
}

/// The rows with the first passage of each content.
fn replaced(rows: &[u32], firsts: &[u32], progress: &Progress) -> Result<Vec<u32>> {
    let mut rows = rows.to_vec();
    rows.par_chunks_mut(POLL).try_for_each(|block| {
        progress.poll()?;
        for row in block {
            *row = firsts.get(*row as usize).copied().unwrap_or(NO_PASSAGE);
        }
        Ok(())
    })?;
    Ok(rows)
}
