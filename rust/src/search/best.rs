//! The best passages so far of every query, shared by all workers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::topk::TopK;

/// Lists of (score, row), best first, a query each.
pub(crate) type Lists = Vec<Vec<(f32, u32)>>;

/// One bounded heap a query, and beside it the score that a newcomer must reach.
pub(crate) struct Best {
    heaps: Vec<Mutex<TopK>>,
    /// Bits of the k-th best score; minus infinity until there are k.
    thresholds: Vec<AtomicU32>,
}

impl Best {
    /// Empty heaps for the `k` best of each query.
    pub(crate) fn new(queries: usize, k: usize) -> Self {
        Self::from_heaps((0..queries).map(|_| TopK::new(k)).collect())
    }

    /// Heaps that hold something already.
    pub(crate) fn from_heaps(heaps: Vec<TopK>) -> Self {
        let threshold = |heap: &TopK| AtomicU32::new(heap.worst().to_bits());
        Self {
            thresholds: heaps.iter().map(threshold).collect(),
            heaps: heaps.into_iter().map(Mutex::new).collect(),
        }
    }

    /// Number of queries.
    pub(crate) fn len(&self) -> usize {
        self.heaps.len()
    }

    /// Bytes of working memory that a query takes.
    pub(crate) fn bytes(k: usize) -> usize {
        8 * k + size_of::<Mutex<TopK>>() + size_of::<AtomicU32>()
    }

    /// A lower bound of the k-th best score of a query; it only grows.
    #[inline(always)]
    pub(crate) fn threshold(&self, query: usize) -> f32 {
        f32::from_bits(self.thresholds[query].load(Ordering::Relaxed))
    }

    /// Offers a passage.
    pub(crate) fn push(&self, query: usize, score: f32, row: u32) {
        if score < self.threshold(query) {
            return;
        }
        let mut heap = lock(&self.heaps[query]);
        heap.push(score, row);
        self.thresholds[query].store(heap.worst().to_bits(), Ordering::Relaxed);
    }

    /// What every heap keeps.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Vec<u64>> + '_ {
        self.heaps.iter().map(|heap| lock(heap).entries())
    }

    /// The sorted lists.
    pub(crate) fn into_lists(self) -> Lists {
        let inner = |heap: Mutex<TopK>| heap.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.heaps
            .into_iter()
            .map(|heap| inner(heap).into_sorted())
            .collect()
    }
}

/// A heap is whole between any two of its calls, so a worker that panicked elsewhere leaves it usable.
fn lock(heap: &Mutex<TopK>) -> MutexGuard<'_, TopK> {
    heap.lock().unwrap_or_else(PoisonError::into_inner)
}
