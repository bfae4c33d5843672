//! Log-sum-exp over all outputs of a product, with no logit ever stored.

use rayon::prelude::*;

use super::math::exp;
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

/// log of the sum of s e^m over parts (m, s).
fn merge(parts: impl Iterator<Item = (f32, f64)> + Clone) -> f32 {
    let top = parts
        .clone()
        .fold(LOWEST, |top, (m, _)| if m > top { m } else { top });
    let sum: f64 = parts.map(|(m, s)| s * f64::from(m - top).exp()).sum();
    (f64::from(top) + sum.ln()) as f32
}

/// Sixteen running sums of exponentials below running maxima.
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
                .map(|(m, s)| f64::from(*s) * f64::from(m - top).exp())
                .sum(),
        )
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
        values[width..].fill(LOWEST);
        let (state, (low, high)) = (&mut self.states[row], halves(&values));
        let mut grown = 0u32;
        let top: [f32; LANES] = std::array::from_fn(|at| {
            let larger = if high[at] > low[at] {
                high[at]
            } else {
                low[at]
            };
            let top = if larger > state.max[at] {
                larger
            } else {
                state.max[at]
            };
            grown |= top.to_bits() ^ state.max[at].to_bits();
            top
        });
        if grown != 0 {
            for at in 0..LANES {
                state.sum[at] *= exp::<FMA>(state.max[at] - top[at]);
            }
            state.max = top;
        }
        for at in 0..LANES {
            state.sum[at] += exp::<FMA>(low[at] - top[at]) + exp::<FMA>(high[at] - top[at]);
        }
    }
}

#[inline(always)]
fn halves(values: &[f32; PANEL]) -> ([f32; LANES], [f32; LANES]) {
    (
        std::array::from_fn(|at| values[at]),
        std::array::from_fn(|at| values[LANES + at]),
    )
}

/// tanh by one exponential, to about 1e-6.
#[inline(always)]
fn tanh<const FMA: bool>(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp::<FMA>(2.0 * x))
}
