//! The screening itself: every pair of a block is scored in 8 bits, and only what may be among the best survives.

use std::ops::Range;

use super::kernels::isa::{Isa, by_isa};
use super::kernels::layout::{PANEL, TILE};
use super::kernels::product::multiply;
use super::panel::{Panel, panel_words};
use super::queries::{ErrorBound, QuantisedQueries};

/// A query, and a column among all columns of the panels.
pub(crate) type Pair = (u32, u32);

/// Some queries and some panels.
pub(crate) struct Screen<'a> {
    /// Instructions to screen with.
    pub isa: Isa,
    /// All queries.
    pub queries: &'a QuantisedQueries<'a>,
    /// Which of the queries.
    pub range: Range<usize>,
    /// For each of them, what the upper bound of a score must reach.
    pub limits: &'a [f32],
    /// Whole panels.
    pub panels: &'a [u32],
    /// For each panel, a bit for each column that is searched.
    pub searched: &'a [u32],
}

impl Screen<'_> {
    /// Appends the pairs whose upper bound reaches the limit.
    pub(crate) fn run(&self, survivors: &mut Vec<Pair>) {
        screen(self.isa, self, survivors);
    }
}

by_isa! {
    fn screen(isa: Isa, job: &Screen<'_>, survivors: &mut Vec<Pair>) = screen_body;
}

#[inline(always)]
fn screen_body<const FMA: bool>(job: &Screen<'_>, survivors: &mut Vec<Pair>) {
    let mut sums = [[0; PANEL]; TILE];
    let panels = job.panels.chunks_exact(panel_words(job.queries.dimensions));
    for (number, (panel, searched)) in panels.zip(job.searched).enumerate() {
        if *searched == 0 {
            continue;
        }
        let panel = Panel::of(panel);
        for first in job.range.clone().step_by(TILE) {
            let sums = &mut sums[..TILE.min(job.range.end - first)];
            multiply(job.isa, job.queries.codes(first), panel.codes, sums);
            for (query, sums) in (first..).zip(sums) {
                let limit = job.limits[query - job.range.start];
                let mut passing =
                    searched & passing::<FMA>(&panel, sums, job.queries.bound(query), limit);
                while passing != 0 {
                    let column = number as u32 * PANEL as u32 + passing.trailing_zeros();
                    survivors.push((query as u32, column));
                    passing &= passing - 1;
                }
            }
        }
    }
}

/// A bit for each column whose upper bound reaches the limit, or is no number.
#[inline(always)]
fn passing<const FMA: bool>(
    panel: &Panel<'_>,
    sums: &[i32; PANEL],
    bound: &ErrorBound,
    limit: f32,
) -> u32 {
    (0..PANEL).fold(0, |bits, at| {
        let sum = sums[at].wrapping_add(panel.correction(at)) as f32;
        let error = bound.by_norm * panel.norm(at);
        let error = add_product::<FMA>(error, bound.by_residual, panel.residual(at));
        let below = add_product::<FMA>(error, sum, panel.unit(at)) < limit;
        bits | u32::from(!below) << at
    })
}

#[inline(always)]
fn add_product<const FMA: bool>(sum: f32, left: f32, right: f32) -> f32 {
    if FMA {
        left.mul_add(right, sum)
    } else {
        left * right + sum
    }
}
