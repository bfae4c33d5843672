//! The screening itself: every pair of a block is scored in 8 bits, and only what may be among the best survives.

mod avx2;
mod avx512;
mod portable;
#[cfg(target_arch = "x86_64")]
mod vector;

use std::ops::Range;

use super::asked::{Asked, Bound};
use super::panel::{Panel, size};
use crate::gemm::{Block, Isa, Kind, PANEL, TILE, Tile, tile_of};

/// A query, and a column among all columns of the panels.
pub(crate) type Pair = (u32, u32);

/// Some queries and some panels.
pub(crate) struct Sift<'a> {
    /// All queries.
    pub asked: &'a Asked<'a>,
    /// Which of the queries.
    pub queries: Range<usize>,
    /// For each of them, what the upper bound of a score must reach.
    pub limits: &'a [f32],
    /// Whole panels.
    pub panels: &'a [u32],
    /// For each panel, a bit for each column that is searched.
    pub open: &'a [u32],
}

/// Appends the pairs whose upper bound reaches the limit.
pub(crate) fn sift(isa: Isa, job: &Sift<'_>, survivors: &mut Vec<Pair>) {
    assert!(
        isa.runs(Kind::Int8),
        "instructions that this processor lacks"
    );
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller passes instructions that `Isa::runs` found.
        Isa::Avx512 => unsafe { wide(job, survivors) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { middle(job, survivors) },
        _ => all::<portable::Test>(job, tile_of(isa, Kind::Int8), survivors),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn wide(job: &Sift<'_>, survivors: &mut Vec<Pair>) {
    all::<avx512::Test>(job, tile_of(Isa::Avx512, Kind::Int8), survivors);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn middle(job: &Sift<'_>, survivors: &mut Vec<Pair>) {
    all::<avx2::Test>(job, tile_of(Isa::Avx2, Kind::Int8), survivors);
}

/// A panel in the registers of an instruction set.
pub(crate) trait Test {
    /// Loads what stands behind the codes.
    fn new(panel: &Panel<'_>) -> Self;

    /// A bit for each column whose upper bound reaches the limit, or is no number.
    fn passing(&self, sums: &[u32; PANEL], bound: &Bound, limit: f32) -> u32;
}

#[inline(always)]
fn all<T: Test>(job: &Sift<'_>, tile: Tile, survivors: &mut Vec<Pair>) {
    let mut block = Block([[0; PANEL]; TILE]);
    let panels = job.panels.chunks_exact(size(job.asked.dimensions));
    for (number, (words, open)) in panels.zip(job.open).enumerate() {
        if *open == 0 {
            continue;
        }
        let panel = Panel::of(words);
        let test = T::new(&panel);
        for first in job.queries.clone().step_by(TILE) {
            let count = TILE.min(job.queries.end - first);
            let codes = job.asked.codes(first).as_ptr();
            // SAFETY: `count` rows follow, `stride` words apart, and each holds at least as many words as the panel has lines.
            unsafe { tile(codes, job.asked.stride, count, panel.codes, &mut block) };
            for (query, sums) in (first..).zip(&block.0[..count]) {
                let limit = job.limits[query - job.queries.start];
                let mut passing = open & test.passing(sums, job.asked.bound(query), limit);
                while passing != 0 {
                    let column = number as u32 * PANEL as u32 + passing.trailing_zeros();
                    survivors.push((query as u32, column));
                    passing &= passing - 1;
                }
            }
        }
    }
}
