//! Thirty-two passages as the kernels read them: words of four codes, interleaved, and behind them what bounds the error.

use std::ops::Range;

use super::codes::{Side, quantise};
use crate::error::Result;
use crate::gemm::PANEL;
use crate::shards::Shards;

/// Numbers that stand behind the codes of every passage: unit, start, norm, residual.
const SIDES: usize = 4;

/// Words of the codes of one vector.
pub(crate) fn words(dimensions: usize) -> usize {
    dimensions.div_ceil(4)
}

/// Words of a panel.
pub(crate) fn size(dimensions: usize) -> usize {
    (words(dimensions) + SIDES) * PANEL
}

/// A panel that was packed.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    /// [words, 32] four codes in a word.
    pub codes: &'a [u32],
    sides: &'a [[u32; PANEL]],
}

impl<'a> Panel<'a> {
    /// Reads the panel in `from`, which holds [`size`] words.
    #[inline(always)]
    pub(crate) fn of(from: &'a [u32]) -> Self {
        let (codes, sides) = from.split_at(from.len() - SIDES * PANEL);
        Self {
            codes,
            sides: sides.as_chunks::<PANEL>().0,
        }
    }

    /// What one code stands for.
    #[inline(always)]
    pub(crate) fn units(&self) -> [f32; PANEL] {
        self.sides[0].map(f32::from_bits)
    }

    /// What has to be added to a sum of (query code + 128) times passage code.
    #[inline(always)]
    pub(crate) fn starts(&self) -> [i32; PANEL] {
        self.sides[1].map(u32::cast_signed)
    }

    /// At least the norms of the approximations.
    #[inline(always)]
    pub(crate) fn norms(&self) -> [f32; PANEL] {
        self.sides[2].map(f32::from_bits)
    }

    /// At least the norms of what the approximations lack.
    #[inline(always)]
    pub(crate) fn residuals(&self) -> [f32; PANEL] {
        self.sides[3].map(f32::from_bits)
    }
}

/// Room for packing rows of a shard.
pub(crate) struct Packer<'a> {
    shards: &'a Shards,
    values: Vec<f32>,
    bytes: Vec<u8>,
}

impl<'a> Packer<'a> {
    /// Room for one row.
    pub(crate) fn new(shards: &'a Shards) -> Self {
        Self {
            shards,
            values: vec![0.0; shards.dimensions()],
            bytes: vec![0; 4 * words(shards.dimensions())],
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
        let panels = out.chunks_mut(size(mean.len()));
        for (panel, from) in panels.zip(rows.clone().step_by(PANEL)) {
            let count = PANEL.min(rows.end - from);
            if count < PANEL {
                panel.fill(0);
            }
            for column in 0..count {
                self.shards.read(part, from + column, &mut self.values)?;
                subtract(&mut self.values, mean);
                let side = quantise(&self.values, &mut self.bytes);
                place(panel, column, &self.bytes, side);
            }
        }
        Ok(())
    }
}

fn subtract(values: &mut [f32], mean: &[f32]) {
    values
        .iter_mut()
        .zip(mean)
        .for_each(|(value, mean)| *value -= mean);
}

fn place(panel: &mut [u32], column: usize, bytes: &[u8], side: Side) {
    let codes = panel.len() - SIDES * PANEL;
    let lines = panel[..codes].as_chunks_mut::<PANEL>().0;
    for (line, word) in lines.iter_mut().zip(bytes.as_chunks::<4>().0) {
        line[column] = u32::from_le_bytes(*word);
    }
    put(&mut panel[codes..], column, side);
}

fn put(sides: &mut [u32], column: usize, side: Side) {
    let start = side.total.wrapping_mul(-128); // queries' codes are moved up by 128
    let values = [
        side.unit.to_bits(),
        start.cast_unsigned(),
        side.norm.to_bits(),
        side.residual.to_bits(),
    ];
    for (line, value) in sides.as_chunks_mut::<PANEL>().0.iter_mut().zip(values) {
        line[column] = value;
    }
}
