//! Log-sum-exp over all outputs of a product, with no logit ever stored.

use rayon::prelude::*;

use super::math::{exp, power};
use super::{Matrix, PANEL, Rows, Sink, multiply};
use crate::error::Result;
use crate::progress::Progress;

/// Panels that one task reduces: fixed, so that the sums do not depend on the number of threads.
const CHUNK: usize = 128;
const LANES: usize = 16;
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

/// Sixteen running sums of powers of two below running maxima.
#[derive(Clone)]
#[repr(C, align(64))]
struct State {
    max: [f32; LANES],
    sum: [f32; LANES],
}

impl State {
    const EMPTY: Self = Self {
        max: [LOWEST; LANES],
        sum: [0.0; LANES],
    };

    fn total(&self) -> (f32, f64) {
        let top = self
            .max
            .iter()
            .fold(LOWEST, |top, m| if *m > top { *m } else { top });
        let parts = self.max.iter().zip(&self.sum);
        (
            top,
            parts
                .map(|(m, s)| f64::from(*s) * f64::from(m - top).exp2())
                .sum(),
        )
    }

    /// Raises the maxima to those of new values.
    #[cold]
    fn raise(&mut self, values: &[f32; PANEL]) {
        for at in 0..LANES {
            let top = values[at].max(values[LANES + at]);
            if top > self.max[at] {
                self.sum[at] *= (self.max[at] - top).exp2();
                self.max[at] = top;
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
        values
            .iter_mut()
            .for_each(|value| *value *= std::f32::consts::LOG2_E);
        if width < PANEL {
            values[width..].fill(LOWEST);
        }
        let state = &mut self.states[row];
        let mut above = false;
        for at in 0..LANES {
            above |= (values[at] > state.max[at]) | (values[LANES + at] > state.max[at]);
        }
        if above {
            state.raise(&values);
        }
        for at in 0..LANES {
            state.sum[at] += power::<FMA>(values[at] - state.max[at])
                + power::<FMA>(values[LANES + at] - state.max[at]);
        }
    }
}

/// tanh by one exponential, to about 1e-6.
#[inline(always)]
fn tanh<const FMA: bool>(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp::<FMA>(2.0 * x))
}
