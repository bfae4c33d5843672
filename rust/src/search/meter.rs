//! Counts scored pairs as finished queries, which is what callers are shown.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::progress::Progress;

/// Some passages scored against all queries count as the share of the queries that they are of the whole work.
pub(crate) struct Meter<'a> {
    /// Where queries are counted.
    pub progress: &'a Progress,
    pairs: AtomicU64,
    passages: u64,
}

impl<'a> Meter<'a> {
    /// Nothing is done yet; `passages` are all that a query meets, at least one.
    pub(crate) fn new(progress: &'a Progress, passages: usize) -> Self {
        Self {
            progress,
            pairs: AtomicU64::new(0),
            passages: passages as u64,
        }
    }

    /// Counts pairs of a query and a passage.
    pub(crate) fn add(&self, pairs: usize) {
        let pairs = pairs as u64;
        let before = self.pairs.fetch_add(pairs, Ordering::Relaxed);
        let queries = (before + pairs) / self.passages - before / self.passages;
        self.progress.add(queries as usize);
    }
}
