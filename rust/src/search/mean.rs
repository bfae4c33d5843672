//! The mean of a shard's rows. Subtracting it from the passages alone changes no order and shortens what is quantised.

use crate::error::Result;
use crate::progress::Progress;
use crate::shards::Shards;

/// Runs of neighbouring rows that are looked at, evenly over the shard: far rows would each be a read of the disk.
const RUNS: usize = 64;
/// Rows of a run.
const RUN: usize = 64;
/// Rows of larger values are not screened anyway, and would leave f32 when a mean of their size is subtracted.
const LARGEST: f32 = 1e18;

/// The mean [d] of some rows of a shard; zero where it would not be finite.
pub(crate) fn mean(shards: &Shards, part: usize, progress: &Progress) -> Result<Vec<f32>> {
    let (_, rows) = shards.shard(part);
    let mut sums = vec![0.0f64; shards.dimensions()];
    let mut values = vec![0.0f32; shards.dimensions()];
    let mut count = 0usize;
    let step = rows.div_ceil(RUNS).max(1);
    for first in (0..rows).step_by(step) {
        for at in first..rows.min(first + RUN.min(step)) {
            progress.poll()?;
            shards.read(part, at, &mut values)?;
            let pairs = sums.iter_mut().zip(&values);
            pairs.for_each(|(sum, value)| *sum += f64::from(*value));
            count += 1;
        }
    }
    let mean = sums.iter().map(|sum| (sum / count.max(1) as f64) as f32);
    let mean: Vec<f32> = mean.collect();
    let fits = mean.iter().all(|value| value.abs() < LARGEST);
    Ok(if fits { mean } else { vec![0.0; mean.len()] })
}
