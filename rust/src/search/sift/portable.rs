//! The test in plain Rust: what every processor runs, and the twin of the fast ones.

use super::Bound;
use crate::gemm::PANEL;
use crate::search::panel::Panel;

/// A panel's numbers in plain Rust.
pub(crate) struct Test {
    units: [f32; PANEL],
    starts: [i32; PANEL],
    norms: [f32; PANEL],
    residuals: [f32; PANEL],
}

impl super::Test for Test {
    fn new(panel: &Panel<'_>) -> Self {
        Self {
            units: panel.units(),
            starts: panel.starts(),
            norms: panel.norms(),
            residuals: panel.residuals(),
        }
    }

    #[inline(always)]
    fn passing(&self, sums: &[u32; PANEL], bound: &Bound, limit: f32) -> u32 {
        let fails = |at: usize| {
            let sum = sums[at].cast_signed().wrapping_add(self.starts[at]);
            let error = bound.by_norm * self.norms[at] + bound.by_residual * self.residuals[at];
            sum as f32 * self.units[at] + error < limit
        };
        (0..PANEL).fold(0, |bits, at| bits | u32::from(!fails(at)) << at)
    }
}
