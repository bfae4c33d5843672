//! Thirty-two passages as the kernels read them: interleaved codes, and behind them what bounds the error.

use std::ops::Range;

use super::kernels::isa::Isa;
use super::kernels::layout::{PANEL, PanelCodes, words};
use super::quantise::{Quantised, quantise};
use crate::error::Result;
use crate::progress::Progress;
use crate::shards::Shards;

/// Numbers of a passage behind its codes: unit, correction, norm, residual.
const NUMBERS: usize = 4;
/// Runs of neighbouring rows that the mean is made of, evenly over the shard: far rows would each be a read of the disk.
const MEAN_RUNS: usize = 64;
/// Rows of such a run.
const MEAN_RUN_ROWS: usize = 64;
/// Rows with larger values are not screened, and would leave f32 when a mean of their size is subtracted.
const MAX_MEAN: f32 = 1e18;

/// Words of a panel.
pub(crate) fn panel_words(dimensions: usize) -> usize {
    (words(dimensions) + NUMBERS) * PANEL
}

/// A packed panel.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    /// The codes.
    pub codes: PanelCodes<'a>,
    numbers: &'a [[u32; PANEL]],
}

impl<'a> Panel<'a> {
    /// Reads a panel in its [`panel_words`] words.
    #[inline(always)]
    pub(crate) fn of(panel: &'a [u32]) -> Self {
        let lines = panel.as_chunks().0;
        let (codes, numbers) = lines.split_at(lines.len() - NUMBERS);
        Self { codes, numbers }
    }

    /// The value of one unit of a code.
    #[inline(always)]
    pub(crate) fn unit(&self, column: usize) -> f32 {
        f32::from_bits(self.numbers[0][column])
    }

    /// What is added to a sum of (query code + 128) times passage code.
    #[inline(always)]
    pub(crate) fn correction(&self, column: usize) -> i32 {
        self.numbers[1][column].cast_signed()
    }

    /// At least the norm of the approximation.
    #[inline(always)]
    pub(crate) fn norm(&self, column: usize) -> f32 {
        f32::from_bits(self.numbers[2][column])
    }

    /// At least the norm of what the approximation lacks.
    #[inline(always)]
    pub(crate) fn residual(&self, column: usize) -> f32 {
        f32::from_bits(self.numbers[3][column])
    }

    /// At least the norm of every passage, its mean subtracted. A passage of unknown residual passes every test and does not count.
    pub(crate) fn largest_norm(&self) -> f64 {
        let norms = (0..PANEL).map(|at| f64::from(self.norm(at)) + f64::from(self.residual(at)));
        let largest = norms.filter(|norm| norm.is_finite()).fold(0.0, f64::max);
        largest * (1.0 + 1e-12)
    }
}

/// Packs rows of shards into panels.
pub(crate) struct Packer<'a> {
    isa: Isa,
    shards: &'a Shards,
    values: Vec<f32>,
    codes: Vec<u8>,
}

impl<'a> Packer<'a> {
    /// Takes room for one row.
    pub(crate) fn new(isa: Isa, shards: &'a Shards) -> Self {
        Self {
            isa,
            shards,
            values: vec![0.0; shards.dimensions()],
            codes: vec![0; 4 * words(shards.dimensions())],
        }
    }

    /// Packs rows of a shard, from one that begins a panel; columns behind the last row are zero.
    ///
    /// # Arguments
    /// * `part`, `rows`: the shard and its rows.
    /// * `mean`: [d], subtracted from every row.
    /// * `out`: whole panels.
    pub(crate) fn pack(
        &mut self,
        part: usize,
        rows: Range<usize>,
        mean: &[f32],
        out: &mut [u32],
    ) -> Result<()> {
        let panels = out.chunks_mut(panel_words(mean.len()));
        for (panel, from) in panels.zip(rows.clone().step_by(PANEL)) {
            let count = PANEL.min(rows.end - from);
            if count < PANEL {
                panel.fill(0);
            }
            for column in 0..count {
                self.shards.read(part, from + column, &mut self.values)?;
                for (value, mean) in self.values.iter_mut().zip(mean) {
                    *value -= mean;
                }
                let quantised = quantise(self.isa, &self.values, &mut self.codes);
                place(panel, column, &self.codes, quantised);
            }
        }
        Ok(())
    }
}

fn place(panel: &mut [u32], column: usize, codes: &[u8], quantised: Quantised) {
    let codes = codes.as_chunks::<4>().0;
    let lines = panel.as_chunks_mut::<PANEL>().0;
    let (code_lines, number_lines) = lines.split_at_mut(codes.len());
    for (line, codes) in code_lines.iter_mut().zip(codes) {
        line[column] = u32::from_le_bytes(*codes);
    }
    let numbers = [
        quantised.unit.to_bits(),
        quantised.code_sum.wrapping_mul(-128).cast_unsigned(),
        quantised.norm.to_bits(),
        quantised.residual.to_bits(),
    ];
    for (line, number) in number_lines.iter_mut().zip(numbers) {
        line[column] = number;
    }
}

/// The mean [d] of some rows of a shard; zero where it would not be finite. Subtracting it from the passages alone changes no
/// order and shortens what is quantised.
pub(crate) fn mean(shards: &Shards, part: usize, progress: &Progress) -> Result<Vec<f32>> {
    let rows = shards.parts()[part].rows;
    let mut sums = vec![0.0f64; shards.dimensions()];
    let mut values = vec![0.0f32; shards.dimensions()];
    let mut count = 0usize;
    let step = rows.div_ceil(MEAN_RUNS).max(1);
    for first in (0..rows).step_by(step) {
        for at in first..rows.min(first + MEAN_RUN_ROWS.min(step)) {
            progress.poll()?;
            shards.read(part, at, &mut values)?;
            for (sum, value) in sums.iter_mut().zip(&values) {
                *sum += f64::from(*value);
            }
            count += 1;
        }
    }
    let mean = sums.iter().map(|sum| (sum / count.max(1) as f64) as f32);
    let mean: Vec<f32> = mean.collect();
    let fits = mean.iter().all(|value| value.abs() < MAX_MEAN);
    Ok(if fits { mean } else { vec![0.0; mean.len()] })
}
