//! A run of queries whose pairs are in work at once: it turns records into places and takes their scores.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use crate::error::Result;
use crate::fingerprint::Key;
use crate::progress::Progress;
use crate::scores::{RECORD, decode};

use super::shard::Shard;
use super::table::KeyTable;
use super::wanted::{NONE, Passages, Wanted};

/// Runs of queries that can be fed independently.
const SHARDS: usize = 64;
/// Rows of candidates wider than this are searched in sorted order instead of from their beginning.
pub const WIDE: usize = if cfg!(test) { 8 } else { 1024 };

/// A wanted pair with a score of it.
#[derive(Clone, Copy, Default)]
pub struct Found {
    pub query: u32,
    pub passage: u32,
    pub score: f32,
}

/// What a part of a segment holds for the window: pairs by shard, within a shard in the order of the records.
#[derive(Default)]
pub struct Part {
    found: Vec<Found>,
    bounds: Vec<usize>,
    /// Intact records, wanted or not.
    pub records: u64,
    /// Whether a damaged record ends them.
    pub torn: bool,
}

impl Part {
    /// The pairs of a shard.
    pub fn shard(&self, number: usize) -> &[Found] {
        &self.found[self.bounds[number]..self.bounds[number + 1]]
    }
}

/// The queries in work, ready to be found by key.
pub struct Window<'a> {
    passages: &'a Passages<'a>,
    queries: KeyTable<'a>,
    /// The next query with the same key; empty where all differ.
    next: Vec<u32>,
    starts: &'a [usize],
    /// Passage of every pair.
    pub columns: Cow<'a, [u32]>,
    /// Passage and place of every pair, ascending within its query; empty where no row is wide.
    pub sorted: Vec<(u32, u32)>,
    /// Queries of a shard are equal in the bits above these.
    shift: u32,
}

impl<'a> Window<'a> {
    /// The queries `from..to`.
    pub fn new(
        wanted: &'a Wanted<'a>,
        passages: &'a Passages<'a>,
        (from, to): (usize, usize),
        progress: &Progress,
    ) -> Result<Self> {
        let keys: &[Key] = &wanted.queries[from..to];
        let starts = &wanted.starts[from..=to];
        let mut queries = KeyTable::new(keys, keys.len())?;
        let mut next = Vec::new();
        queries.fill(progress, |at, first| {
            if at != first {
                next.resize(keys.len(), NONE);
                next[at as usize] = next[first as usize];
                next[first as usize] = at;
            }
        })?;
        let columns = &wanted.columns[starts[0]..starts[to - from]];
        let columns = passages.canonical(columns, progress)?;
        let wide = starts.windows(2).any(|pair| pair[1] - pair[0] > WIDE);
        Ok(Self {
            passages,
            queries,
            next,
            starts,
            sorted: if wide {
                sort(starts, &columns, progress)?
            } else {
                Vec::new()
            },
            columns,
            shift: keys.len().div_ceil(SHARDS).next_power_of_two().ilog2(),
        })
    }

    /// The places of a query's pairs.
    #[inline]
    pub fn places(&self, query: u32) -> Range<usize> {
        let query = query as usize;
        self.starts[query] - self.starts[0]..self.starts[query + 1] - self.starts[0]
    }

    /// Whether the query's pairs are searched in sorted order.
    #[inline]
    pub fn is_wide(&self, query: u32) -> bool {
        self.places(query).len() > WIDE
    }

    /// Number of pairs.
    pub fn pairs(&self) -> usize {
        self.columns.len()
    }

    /// The wanted pairs among records, up to the first damaged one.
    pub fn resolve(&self, records: &[[u8; RECORD]]) -> Part {
        let mut found = Vec::with_capacity(records.len());
        let mut part = Part::default();
        for bytes in records {
            let Some(((query, passage), score)) = decode(bytes) else {
                part.torn = true;
                break;
            };
            part.records += 1;
            if !score.is_finite() {
                continue; // No log takes one, and NaN stands for no score.
            }
            let query = self.queries.get(&query);
            let Some((query, passage)) = query.zip(self.passages.get(&passage)) else {
                continue;
            };
            let first = Found {
                query,
                passage,
                score,
            };
            found.push(first);
            self.repeat(first, &mut found);
        }
        self.by_shard(&found, &mut part);
        part
    }

    /// Enters the pair for the other queries of the same key.
    fn repeat(&self, first: Found, found: &mut Vec<Found>) {
        if self.next.is_empty() {
            return;
        }
        let mut query = self.next[first.query as usize];
        while query != NONE {
            found.push(Found { query, ..first });
            query = self.next[query as usize];
        }
    }

    fn by_shard(&self, found: &[Found], part: &mut Part) {
        let mut places = vec![0; SHARDS + 1];
        for one in found {
            places[(one.query >> self.shift) as usize + 1] += 1;
        }
        for shard in 0..SHARDS {
            places[shard + 1] += places[shard];
        }
        part.bounds.clone_from(&places);
        part.found.resize(found.len(), Found::default());
        for one in found {
            let place = &mut places[(one.query >> self.shift) as usize];
            part.found[*place] = *one;
            *place += 1;
        }
    }

    /// The window's scores, cut into shards.
    pub fn shards<'b>(&'b self, mut scores: &'b mut [f32]) -> Vec<Shard<'b>> {
        let queries = self.starts.len() - 1;
        let mut shards = Vec::with_capacity(SHARDS);
        for number in 0..SHARDS {
            let bound = |at: usize| self.starts[(at << self.shift).min(queries)] - self.starts[0];
            let (first, end) = (bound(number), bound(number + 1));
            let (own, rest) = scores.split_at_mut(end - first);
            scores = rest;
            shards.push(Shard::new(self, number, first, own));
        }
        shards
    }
}

fn sort(starts: &[usize], columns: &[u32], progress: &Progress) -> Result<Vec<(u32, u32)>> {
    let mut sorted: Vec<(u32, u32)> = columns.iter().copied().zip(0..).collect();
    let (mut rows, mut rest) = (Vec::with_capacity(starts.len()), &mut sorted[..]);
    for pair in starts.windows(2) {
        let (row, others) = rest.split_at_mut(pair[1] - pair[0]);
        rows.push(row);
        rest = others;
    }
    rows.into_par_iter().try_for_each(|row| {
        progress.poll()?;
        row.sort_unstable();
        Ok(())
    })?;
    Ok(sorted)
}
