//! Log-sum-exp over all outputs of a product, with no logit ever stored.

use rayon::prelude::*;

use super::math::{exp, fused, power};
use super::{Matrix, PANEL, Rows, Sink, multiply};
use crate::error::Result;
use crate::progress::Progress;

/// Panels that one task reduces: fixed, so that the sums do not depend on the number of threads.
const CHUNK: usize = 128;
const LANES: usize = 16;
/// Nats that a logit may be above what the sums are relative to: e^40 is far from overflow, and a new reference costs time.
const ROOM: f32 = 40.0;
/// Below every logit, and finite, so that differences with it are numbers.
const LOWEST: f32 = -1e30;

/// log sum over N of exp(row . weights), for every row.
///
/// # Arguments
/// * `rows`: [m, K].
/// * `matrix`: [N, K].
/// * `cap`: logits become cap tanh(logit / cap) where it is given.
/// * `progress`: is asked whether to stop.
///
/// # Returns
/// [m] f32, the same bits at any number of threads; NaN where a logit is NaN.
pub fn log_sum_exp(
    rows: &Rows,
    matrix: &Matrix,
    cap: Option<f32>,
    progress: &Progress,
) -> Result<Vec<f32>> {
    let chunks: Vec<_> = (0..matrix.panels()).step_by(CHUNK).collect();
    let parts: Result<Vec<_>> = chunks
        .into_par_iter()
        .map(|first| {
            progress.poll()?;
            let mut sink = Reduce {
                states: vec![State::EMPTY; rows.count()],
                cap,
            };
            multiply(
                rows,
                0..rows.count(),
                matrix,
                first..matrix.panels().min(first + CHUNK),
                &mut sink,
            );
            Ok(sink.states.iter().map(State::total).collect::<Vec<_>>())
        })
        .collect();
    let parts = parts?;
    Ok((0..rows.count())
        .map(|row| merge(parts.iter().map(|part| part[row])))
        .collect())
}

/// log of the sum of s 2^m over parts (m, s).
fn merge(parts: impl Iterator<Item = (f32, f64)> + Clone) -> f32 {
    let top = parts
        .clone()
        .fold(LOWEST, |top, (m, _)| if m > top { m } else { top });
    let sum: f64 = parts.map(|(m, s)| s * f64::from(m - top).exp2()).sum();
    (f64::from(top) * std::f64::consts::LN_2 + sum.ln()) as f32
}

/// Sixteen running sums of powers of two.
#[derive(Clone)]
#[repr(C, align(64))]
struct State {
    /// Logits above these raise what the sums are relative to.
    limit: [f32; LANES],
    /// What the sums are relative to, in powers of two.
    top: [f32; LANES],
    sum: [f32; LANES],
}

impl State {
    const EMPTY: Self = Self {
        limit: [LOWEST; LANES],
        top: [LOWEST; LANES],
        sum: [0.0; LANES],
    };

    fn total(&self) -> (f32, f64) {
        let top = self
            .top
            .iter()
            .fold(LOWEST, |top, m| if *m > top { *m } else { top });
        let parts = self.top.iter().zip(&self.sum);
        (
            top,
            parts
                .map(|(m, s)| f64::from(*s) * f64::from(m - top).exp2())
                .sum(),
        )
    }

    /// Makes sums relative to new values that are far above.
    #[cold]
    fn raise(&mut self, values: &[f32; PANEL]) {
        for at in 0..LANES {
            let max = values[at].max(values[LANES + at]);
            if max > self.limit[at] {
                let top = max * std::f32::consts::LOG2_E;
                self.sum[at] *= (self.top[at] - top).exp2();
                (self.limit[at], self.top[at]) = (max + ROOM, top);
            }
        }
    }
}

struct Reduce {
    states: Vec<State>,
    cap: Option<f32>,
}

impl Sink for Reduce {
    #[inline(always)]
    fn take<const FMA: bool>(
        &mut self,
        row: usize,
        _column: usize,
        width: usize,
        values: &[f32; PANEL],
    ) {
        let mut values = *values;
        if let Some(cap) = self.cap {
            values
                .iter_mut()
                .for_each(|value| *value = cap * tanh::<FMA>(*value / cap));
        }
        if width < PANEL {
            values[width..].fill(LOWEST);
        }
        let state = &mut self.states[row];
        let mut above = false;
        for at in 0..LANES {
            above |= (values[at] > state.limit[at]) | (values[LANES + at] > state.limit[at]);
        }
        if above {
            state.raise(&values);
        }
        for at in 0..LANES {
            let low = fused::<FMA>(values[at], std::f32::consts::LOG2_E, -state.top[at]);
            let high = fused::<FMA>(values[LANES + at], std::f32::consts::LOG2_E, -state.top[at]);
            state.sum[at] += power::<FMA>(low) + power::<FMA>(high);
        }
    }
}

/// tanh by one exponential, to about 1e-6.
#[inline(always)]
fn tanh<const FMA: bool>(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp::<FMA>(2.0 * x))
}
