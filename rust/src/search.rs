//! Exact top-k over memory-mapped shards: blocks of passages meet tiles of queries in the processor's cache.
//!
//! The score is defined in `dot.rs`, the order in `topk.rs`; both are total, so neither the threads nor the blocks
//! can change a byte of the result.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::dot::{Kernel, LANES, PASSAGE_TILE};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::shards::{Block, Panel, Shards};
use crate::topk::{Ranked, TopK};

/// Passages widened at once: 64 rows of 768 f64 fill 384 KiB, less than a second-level cache.
const BLOCK: usize = 64;
/// Passages that a worker takes at a time.
const PANEL: usize = 1024;
/// Queries scored against a block before their heaps are fed.
const STRIP: usize = 16;
/// Bytes of heaps that one worker may hold.
const HEAP_BYTES: usize = 64 << 20;

const _: () = assert!(BLOCK.is_multiple_of(PASSAGE_TILE));

/// Queries [rows, dimensions] in memory.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    /// The values, row after row.
    pub values: &'a [f32],
    /// Number of queries.
    pub rows: usize,
    /// Dimensions of each.
    pub dimensions: usize,
}

/// The `min(k, n)` best passages of every query on `threads` threads (0: all). Counts queries: a block of
/// passages scored against all queries counts as the share of the queries that it is of the whole work.
pub fn search(
    queries: Queries<'_>,
    shards: &Shards,
    k: usize,
    threads: usize,
    progress: &Progress,
) -> Result<Ranked> {
    if k == 0 {
        return Err(Error::shape("k: expected at least 1, got 0"));
    }
    check_queries(queries)?;
    let k = k.min(shards.rows());
    if k == 0 {
        return Ok(Ranked::default());
    }
    if threads == 0 {
        return all_groups(queries, shards, k, progress);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|error| Error::shape(format!("threads: {error}")))?;
    pool.install(|| all_groups(queries, shards, k, progress))
}

fn check_queries(queries: Queries<'_>) -> Result<()> {
    if queries.dimensions == 0 {
        return Err(Error::shape("queries: expected at least one dimension"));
    }
    let rows = queries.values.chunks(queries.dimensions);
    for (row, values) in rows.enumerate() {
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            let message = format!("query row {row} holds {value}");
            return Err(Error::not_finite(
                message,
                "encode the queries again, in bf16 or fp32",
            ));
        }
    }
    Ok(())
}

/// Takes the queries in groups whose heaps fit in memory.
fn all_groups(
    queries: Queries<'_>,
    shards: &Shards,
    k: usize,
    progress: &Progress,
) -> Result<Ranked> {
    let size = (HEAP_BYTES / (8 * k)).clamp(STRIP, 2048);
    let meter = Meter {
        progress,
        pairs: AtomicUsize::new(0),
        passages: shards.rows(),
    };
    let mut lists = Vec::with_capacity(queries.rows);
    for (at, values) in queries.values.chunks(size * queries.dimensions).enumerate() {
        let group = Group::new(values, queries.dimensions, at * size);
        lists.extend(group.search(shards, k, &meter)?);
    }
    Ok(Ranked::from_lists(lists))
}

/// Turns scored pairs into finished queries, which is what callers count.
struct Meter<'a> {
    progress: &'a Progress,
    pairs: AtomicUsize,
    passages: usize,
}

impl Meter<'_> {
    fn add(&self, pairs: usize) {
        let before = self.pairs.fetch_add(pairs, Ordering::Relaxed);
        let queries = (before + pairs) / self.passages - before / self.passages;
        self.progress.add(queries);
    }
}

/// Some queries, widened to f64 and padded to whole lanes.
struct Group {
    values: Vec<f64>,
    width: usize,
    rows: usize,
    /// Number of the first query among all.
    base: usize,
    kernel: Kernel,
}

impl Group {
    fn new(values: &[f32], dimensions: usize, base: usize) -> Self {
        let width = dimensions.next_multiple_of(LANES);
        let rows = values.len() / dimensions;
        let mut wide = vec![0.0; rows * width];
        for (target, row) in wide.chunks_mut(width).zip(values.chunks(dimensions)) {
            target
                .iter_mut()
                .zip(row)
                .for_each(|(to, from)| *to = f64::from(*from));
        }
        Self {
            values: wide,
            width,
            rows,
            base,
            kernel: Kernel::detect(),
        }
    }

    /// The sorted lists of all queries of the group.
    fn search(&self, shards: &Shards, k: usize, meter: &Meter<'_>) -> Result<Vec<Vec<(f32, u32)>>> {
        let panels = shards.panels(PANEL);
        let next = AtomicUsize::new(0);
        let workers = rayon::current_num_threads().min(panels.len());
        let found: Vec<Vec<TopK>> = (0..workers)
            .into_par_iter()
            .with_max_len(1)
            .map(|_| self.work(shards, &panels, &next, k, meter))
            .collect::<Result<_>>()?;
        let mut merged = vec![TopK::new(k); self.rows];
        for heaps in found {
            merged
                .iter_mut()
                .zip(heaps)
                .for_each(|(into, from)| into.absorb(from));
        }
        Ok(merged.into_par_iter().map(TopK::into_sorted).collect())
    }

    /// One worker: takes panels until none is left.
    fn work(
        &self,
        shards: &Shards,
        panels: &[Panel],
        next: &AtomicUsize,
        k: usize,
        meter: &Meter<'_>,
    ) -> Result<Vec<TopK>> {
        let mut heaps = vec![TopK::new(k); self.rows];
        let mut block = Block::new(BLOCK, self.width);
        let mut scores = vec![0.0; STRIP * BLOCK];
        while let Some(panel) = panels.get(next.fetch_add(1, Ordering::Relaxed)) {
            for first in (0..panel.rows).step_by(BLOCK) {
                let rows = BLOCK.min(panel.rows - first);
                shards.widen(*panel, first, rows, &mut block)?;
                let at = Placed {
                    row: panel.row + first,
                    rows,
                };
                self.score_block(&block, at, &mut scores, &mut heaps, meter.progress)?;
                meter.add(rows * self.rows);
            }
        }
        Ok(heaps)
    }

    /// Scores one block against all queries, strip after strip.
    fn score_block(
        &self,
        block: &Block,
        at: Placed,
        scores: &mut [f32],
        heaps: &mut [TopK],
        progress: &Progress,
    ) -> Result<()> {
        let columns = at.rows.next_multiple_of(PASSAGE_TILE);
        let passages = &block.values[..columns * self.width];
        let strips = self
            .values
            .chunks(STRIP * self.width)
            .zip(heaps.chunks_mut(STRIP));
        for (strip, (queries, heaps)) in strips.enumerate() {
            progress.poll()?;
            let scores = &mut scores[..heaps.len() * columns];
            self.kernel.block(queries, passages, self.width, scores);
            let first = self.base + strip * STRIP;
            for ((heap, row), query) in heaps.iter_mut().zip(scores.chunks(columns)).zip(first..) {
                feed(heap, &row[..at.rows], at.row, query)?;
            }
        }
        Ok(())
    }
}

/// Rows of a block among all passages.
#[derive(Clone, Copy)]
struct Placed {
    row: usize,
    rows: usize,
}

fn feed(heap: &mut TopK, scores: &[f32], row: usize, query: usize) -> Result<()> {
    for (at, score) in scores.iter().enumerate() {
        if !score.is_finite() {
            let message = format!("query row {query}, passage row {}: overflow", row + at);
            return Err(Error::not_finite(
                message,
                "the embeddings are too large for f32 scores",
            ));
        }
        heap.push(*score, (row + at) as u32);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
