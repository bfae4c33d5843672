//! A group of queries meets all passages: segment after segment, each of them shared by all workers.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::asked::Asked;
use super::batch::{BATCH, Batch, Shard, Worker};
use super::best::Best;
use super::checkpoint::Checkpoint;
use super::copy::Copied;
use super::mean::mean;
use super::{Meter, Options};
use crate::dot::wide;
use crate::error::{Error, Result};
use crate::gemm::PANEL;
use crate::progress::Progress;
use crate::shards::Shards;

/// Products of numbers that one thread takes between two meetings of all threads: a quarter of a second with AVX-512, ten times that with AVX2.
/// Tests meet after each batch.
const PRODUCTS: usize = if cfg!(test) { 1 } else { 1 << 36 };
/// Rows of a segment at most: the memory of a segment is given back at its end.
const LONGEST: usize = 1 << 22;
/// Fewer queries than this are scored exactly at once where there is no copy: quantising a passage costs more.
const FEW: usize = 24;

/// Lists of (score, row), best first, a query each.
pub(crate) type Lists = Vec<Vec<(f32, u32)>>;

/// Some of the queries.
pub(crate) struct Group<'a> {
    /// The queries.
    pub(crate) asked: Asked<'a>,
    /// Number of the first query among all.
    pub(crate) base: usize,
    /// The passages.
    pub(crate) shards: &'a Shards,
    /// How to search.
    pub(crate) options: &'a Options<'a>,
}

impl<'a> Group<'a> {
    /// Quantises the queries `values`, the first of which has the number `base`.
    pub(crate) fn new(
        values: &'a [f32],
        dimensions: usize,
        base: usize,
        shards: &'a Shards,
        options: &'a Options<'a>,
        progress: &Progress,
    ) -> Result<Self> {
        Ok(Self {
            asked: Asked::new(values, dimensions, progress)?,
            base,
            shards,
            options,
        })
    }

    /// The sorted lists of all queries of the group, which follow those `before` them.
    pub(crate) fn search(
        &self,
        before: &Lists,
        checkpoint: &mut Checkpoint,
        meter: &Meter<'_>,
    ) -> Result<Lists> {
        let (count, k) = (self.asked.len(), self.options.k);
        let (heaps, done) = checkpoint.resume(before.len(), count, k);
        let done = done.min(self.shards.rows());
        meter.add(done * count);
        let best = heaps.map_or_else(|| Best::new(count, k), Best::from_heaps);
        for part in 0..self.shards.count() {
            let (base, rows) = (self.shards.base(part), self.shards.shard(part).1);
            if base + rows > done {
                let from = done.saturating_sub(base);
                self.shard(part, from, &best, before, checkpoint, meter)?;
            }
        }
        Ok(best.into_lists())
    }

    /// A shard, from a row on that begins a segment.
    fn shard(
        &self,
        part: usize,
        from: usize,
        best: &Best,
        before: &Lists,
        checkpoint: &mut Checkpoint,
        meter: &Meter<'_>,
    ) -> Result<()> {
        let (base, rows) = (self.shards.base(part), self.shards.shard(part).1);
        let shard = self.open(part, meter.progress)?;
        let step = self.segment();
        for start in (from..rows).step_by(step) {
            let end = rows.min(start + step);
            let next = end..rows.min(end + step);
            shard.expect(next.start, next.len());
            self.segment_of(&shard, start..end, best, meter)?;
            shard.release(self.shards, start, end - start);
            checkpoint.save(before, best, base + end);
        }
        Ok(())
    }

    /// Rows of a segment.
    fn segment(&self) -> usize {
        let row = self.asked.len() * self.asked.dimensions;
        let rows = PRODUCTS / row.max(1) * rayon::current_num_threads();
        rows.clamp(BATCH, LONGEST).next_multiple_of(BATCH)
    }

    fn open(&self, part: usize, progress: &Progress) -> Result<Shard> {
        let copied = match self.options.copies.get(part) {
            Some(path) => Copied::open(path, self.shards, part),
            None => None,
        };
        let mean = match &copied {
            Some(copied) => copied.mean.clone(),
            None if self.asked.len() < FEW => Vec::new(),
            None => mean(self.shards, part, progress)?,
        };
        let of_mean = |query: usize| wide(self.asked.row(query), &mean);
        Ok(Shard {
            part,
            base: self.shards.base(part),
            copied,
            means: (0..self.asked.len()).into_par_iter().map(of_mean).collect(),
            length: mean
                .iter()
                .map(|v| f64::from(*v).powi(2))
                .sum::<f64>()
                .sqrt(),
            mean,
        })
    }

    fn segment_of(
        &self,
        shard: &Shard,
        rows: Range<usize>,
        best: &Best,
        meter: &Meter<'_>,
    ) -> Result<()> {
        let next = AtomicUsize::new(rows.start);
        let workers = rayon::current_num_threads().min(rows.len().div_ceil(BATCH));
        (0..workers)
            .into_par_iter()
            .with_max_len(1)
            .try_for_each(|_| {
                let mut worker = Worker::new(self, shard, best);
                loop {
                    let from = next.fetch_add(BATCH, Ordering::Relaxed);
                    if from >= rows.end {
                        return Ok(());
                    }
                    let count = BATCH.min(rows.end - from);
                    let batch = Batch::new(shard, from, count, self.options.only);
                    // After an error the others need not finish the segment.
                    let stop = |_: &Error| next.store(rows.end, Ordering::Relaxed);
                    worker.run(&batch, meter.progress).inspect_err(stop)?;
                    meter.add(count * self.asked.len());
                }
            })
    }
}

const _: () = assert!(BATCH.is_multiple_of(PANEL));
