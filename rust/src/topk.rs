//! The k best of a stream under one total order: score descending, then row ascending.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use crate::error::{Error, Result};

/// Row number that stands for "no candidate" in padded lists.
pub const PADDING: u32 = u32::MAX;

/// Score and row folded into one integer that grows with goodness: a higher score, or the same score in a lower row.
pub(crate) fn goodness(score: f32, row: u32) -> u64 {
    // Adding zero turns -0.0 into 0.0, which the integer order would tell apart.
    let bits = (score + 0.0).to_bits();
    let ordered = if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    };
    u64::from(ordered) << 32 | u64::from(!row)
}

/// The score and the row that were folded.
pub(crate) fn unfold(goodness: u64) -> (f32, u32) {
    let ordered = (goodness >> 32) as u32;
    let bits = if ordered >> 31 == 1 {
        ordered & !(1 << 31)
    } else {
        !ordered
    };
    (f32::from_bits(bits), !(goodness as u32))
}

/// A bounded heap. Rows must be distinct and scores must not be NaN.
#[derive(Clone, Debug)]
pub struct TopK {
    k: usize,
    heap: BinaryHeap<Reverse<u64>>,
}

impl TopK {
    /// An empty heap for the `k` best, `k` at least 1.
    pub fn new(k: usize) -> Self {
        Self {
            k,
            heap: BinaryHeap::with_capacity(k),
        }
    }

    /// Offers one row.
    pub fn push(&mut self, score: f32, row: u32) {
        let candidate = goodness(score, row);
        if self.heap.len() < self.k {
            self.heap.push(Reverse(candidate));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && candidate > worst.0
        {
            *worst = Reverse(candidate);
        }
    }

    /// The k-th best score, which a newcomer must reach; minus infinity until there are k.
    pub fn worst(&self) -> f32 {
        match self.heap.peek() {
            Some(worst) if self.heap.len() == self.k => unfold(worst.0).0,
            _ => f32::NEG_INFINITY,
        }
    }

    /// What is kept, folded, in no order.
    pub(crate) fn entries(&self) -> Vec<u64> {
        self.heap.iter().map(|kept| kept.0).collect()
    }

    /// A heap of folded entries, at most `k` of them.
    pub(crate) fn from_entries(k: usize, entries: Vec<u64>) -> Self {
        let heap = entries.into_iter().map(Reverse).collect();
        Self { k, heap }
    }

    /// The kept rows with their scores, best first.
    pub fn into_sorted(self) -> Vec<(f32, u32)> {
        self.heap
            .into_sorted_vec()
            .into_iter()
            .map(|Reverse(kept)| unfold(kept))
            .collect()
    }
}

/// Ranked lists of equal width for Q queries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranked {
    /// Passage rows [Q, width], best first; [`PADDING`] where a list is shorter.
    pub rows: Vec<u32>,
    /// Scores [Q, width]; minus infinity where a list is shorter.
    pub scores: Vec<f32>,
    /// Entries a query.
    pub width: usize,
}

impl Ranked {
    /// Lists of any length side by side, as wide as the longest.
    pub fn from_lists(lists: Vec<Vec<(f32, u32)>>) -> Self {
        let width = lists.iter().map(Vec::len).max().unwrap_or(0);
        let mut ranked = Self {
            rows: Vec::with_capacity(lists.len() * width),
            scores: Vec::with_capacity(lists.len() * width),
            width,
        };
        for list in lists {
            let missing = width - list.len();
            ranked.rows.extend(list.iter().map(|(_, row)| *row));
            ranked.scores.extend(list.iter().map(|(score, _)| *score));
            ranked.rows.extend(std::iter::repeat_n(PADDING, missing));
            ranked
                .scores
                .extend(std::iter::repeat_n(f32::NEG_INFINITY, missing));
        }
        ranked
    }
}

/// Merges `parts` lists of `width` entries for each of `queries` queries, laid out [parts, queries, width], into the
/// `k` best. A row that occurs twice keeps its best score, once.
pub fn merge_topk(rows: &[u32], scores: &[f32], shape: [usize; 3], k: usize) -> Result<Ranked> {
    let [parts, queries, width] = shape;
    if k == 0 {
        return Err(Error::shape("k: expected at least 1, got 0"));
    }
    let cells = parts * queries * width;
    let given = (rows.len(), scores.len());
    if given != (cells, cells) {
        let message = format!("(rows, scores): {given:?} values for {shape:?}");
        return Err(Error::shape(message));
    }
    let one = |query: usize| {
        let places = (0..parts).flat_map(|part| {
            let from = (part * queries + query) * width;
            from..from + width
        });
        best_of(places.map(|at| (scores[at], rows[at])), query, k)
    };
    Ok(Ranked::from_lists(
        (0..queries).map(one).collect::<Result<_>>()?,
    ))
}

fn best_of(
    entries: impl Iterator<Item = (f32, u32)>,
    query: usize,
    k: usize,
) -> Result<Vec<(f32, u32)>> {
    let mut all = Vec::new();
    for (score, row) in entries.filter(|(_, row)| *row != PADDING) {
        if !score.is_finite() {
            let message = format!("query {query}, passage row {row}: the score is {score}");
            return Err(Error::not_finite(
                message,
                "search again with finite embeddings",
            ));
        }
        all.push(goodness(score, row));
    }
    all.sort_unstable_by_key(|entry| Reverse(*entry));
    let mut seen = HashSet::with_capacity(k);
    let fresh = all
        .into_iter()
        .map(unfold)
        .filter(|(_, row)| seen.insert(*row));
    Ok(fresh.take(k).collect())
}

#[cfg(test)]
mod tests;
