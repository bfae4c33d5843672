//! A group of queries meets all passages: segment after segment, each of them shared by all workers.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::best::{Best, Lists};
use super::checkpoint::Checkpoint;
use super::int8_shard::Int8Shard;
use super::kernels::isa::Isa;
use super::meter::Meter;
use super::options::Options;
use super::panel::mean;
use super::queries::QuantisedQueries;
use super::worker::{BATCH, Screening, Task, Worker};
use crate::dot::dot_f64;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::shards::Shards;

/// Products of numbers that one thread takes between two meetings of all threads: a quarter of a second with AVX-512, ten
/// times that with AVX2. In tests segments meet after each batch.
const SEGMENT_PRODUCTS: usize = if cfg!(test) { 1 } else { 1 << 36 };
/// Rows of a segment at most: the memory of a segment is given back at its end.
const MAX_SEGMENT_ROWS: usize = 1 << 22;
/// Fewer queries are scored exactly at once where there is no int8 shard: quantising a passage costs more.
const MIN_SCREENED_QUERIES: usize = 24;

/// Some of the queries.
pub(crate) struct Group<'a> {
    queries: QuantisedQueries<'a>,
    /// Number of the first query among all.
    first_query: usize,
    shards: &'a Shards,
    options: &'a Options<'a>,
    isa: Isa,
}

impl<'a> Group<'a> {
    /// Quantises the queries `values`, the first of which has the number `first_query`.
    pub(crate) fn new(
        values: &'a [f32],
        first_query: usize,
        shards: &'a Shards,
        options: &'a Options<'a>,
        progress: &Progress,
    ) -> Result<Self> {
        let isa = options.isa.unwrap_or_else(Isa::best);
        Ok(Self {
            queries: QuantisedQueries::new(isa, values, shards.dimensions(), progress)?,
            first_query,
            shards,
            options,
            isa,
        })
    }

    /// The sorted lists of all queries of the group, which follow those `before` them.
    pub(crate) fn search(
        &self,
        before: &Lists,
        checkpoint: &mut Checkpoint,
        meter: &Meter<'_>,
    ) -> Result<Lists> {
        let (count, k) = (self.queries.len(), self.options.k);
        let (heaps, done) = checkpoint.resume(before.len(), count, k);
        let done = done.min(self.shards.rows());
        meter.add(done * count);
        let best = heaps.map_or_else(|| Best::new(count, k), Best::from_heaps);
        let step = self.segment_rows();
        for (part, shard) in self.shards.parts().iter().enumerate() {
            let from = done.saturating_sub(shard.base);
            if from >= shard.rows {
                continue;
            }
            let task = self.task(part, &best, meter.progress)?;
            for start in (from..shard.rows).step_by(step) {
                let end = shard.rows.min(start + step);
                task.expect(end..shard.rows.min(end + step));
                segment(&task, start..end, meter)?;
                task.release(start..end);
                checkpoint.save(before, &best, shard.base + end);
            }
        }
        Ok(best.into_lists())
    }

    /// Rows of a segment.
    fn segment_rows(&self) -> usize {
        let row = self.queries.len() * self.queries.dimensions;
        let rows = SEGMENT_PRODUCTS / row.max(1) * rayon::current_num_threads();
        rows.clamp(BATCH, MAX_SEGMENT_ROWS).next_multiple_of(BATCH)
    }

    fn task<'b>(&'b self, part: usize, best: &'b Best, progress: &Progress) -> Result<Task<'b>> {
        Ok(Task {
            isa: self.isa,
            shards: self.shards,
            part,
            only: self.options.only,
            queries: &self.queries,
            first_query: self.first_query,
            best,
            screening: self.screening(part, progress)?,
        })
    }

    fn screening(&self, part: usize, progress: &Progress) -> Result<Option<Screening>> {
        let path = self.options.int8_shards.get(part);
        let int8_shard = path.and_then(|path| Int8Shard::open(path, self.shards, part));
        let mean = match &int8_shard {
            Some(int8_shard) => int8_shard.mean.clone(),
            None if self.queries.len() < MIN_SCREENED_QUERIES => return Ok(None),
            None => mean(self.shards, part, progress)?,
        };
        let queries = (0..self.queries.len()).into_par_iter();
        let of_mean = |query: usize| dot_f64(self.queries.row(query), &mean);
        Ok(Some(Screening {
            int8_shard,
            query_means: queries.map(of_mean).collect(),
            mean_norm: dot_f64(&mean, &mean).sqrt(),
            mean,
        }))
    }
}

/// Shares the batches of some rows among all workers.
fn segment(task: &Task<'_>, rows: Range<usize>, meter: &Meter<'_>) -> Result<()> {
    let next = AtomicUsize::new(rows.start);
    let work = |_| {
        let mut worker = Worker::new(task, meter.progress);
        loop {
            let from = next.fetch_add(BATCH, Ordering::Relaxed);
            if from >= rows.end {
                return Ok(());
            }
            let batch = from..rows.end.min(from + BATCH);
            let pairs = batch.len() * task.queries.len();
            // After an error the others need not finish the segment.
            let stop = |_: &Error| next.store(rows.end, Ordering::Relaxed);
            worker.run(batch).inspect_err(stop)?;
            meter.add(pairs);
        }
    };
    let workers = rayon::current_num_threads().min(rows.len().div_ceil(BATCH));
    (0..workers)
        .into_par_iter()
        .with_max_len(1)
        .try_for_each(work)
}
