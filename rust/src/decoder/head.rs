//! The vocabulary head: log-probabilities of targets, with no logit stored but theirs.

use rayon::prelude::*;

use super::linear::Linear;
use crate::error::{Error, Result};
use crate::gemm::{Rows, log_sum_exp};
use crate::progress::Progress;

/// Log-probabilities of target tokens.
///
/// # Arguments
/// * `head`: [V, H], without a bias.
/// * `states`: [m, H] that predict; changed.
/// * `cap`: logits become cap tanh(logit / cap) where it is given.
/// * `rows`: [t] which state predicts a target.
/// * `targets`: [t] token ids.
///
/// # Returns
/// [t] f32 nats, the same bits at any number of threads.
pub fn target_logp(
    head: &Linear,
    states: &mut [f32],
    cap: Option<f32>,
    rows: &[i64],
    targets: &[i64],
    progress: &Progress,
) -> Result<Vec<f32>> {
    let matrix = head.matrix();
    let count = states.len() / matrix.inputs();
    check(head, states.len(), count, rows, targets)?;
    let mut inputs: Rows = head.rows(count);
    for (at, values) in states.chunks_exact_mut(matrix.inputs()).enumerate() {
        head.set(&mut inputs, at, values);
    }
    let sums = log_sum_exp(&inputs, matrix, cap, progress)?;
    let logp = |(row, target): (&i64, &i64)| {
        let logit = inputs.dot(*row as usize, matrix, *target as usize);
        cap.map_or(logit, |cap| cap * (logit / cap).tanh()) - sums[*row as usize]
    };
    Ok(rows.par_iter().zip(targets).map(logp).collect())
}

fn check(head: &Linear, values: usize, count: usize, rows: &[i64], targets: &[i64]) -> Result<()> {
    let (outputs, inputs) = (head.matrix().outputs(), head.matrix().inputs());
    let strange = |of: &[i64], limit: usize| {
        of.iter()
            .copied()
            .find(|value| !(0..limit as i64).contains(value))
    };
    if head.bias().is_some() {
        Err(Error::shape("a head with a bias is not known".to_owned()))
    } else if values != count * inputs {
        Err(Error::shape(format!(
            "states hold {values} values, which is no number of rows of {inputs}"
        )))
    } else if rows.len() != targets.len() {
        Err(Error::shape(format!(
            "{} rows for {} targets",
            rows.len(),
            targets.len()
        )))
    } else if let Some(row) = strange(rows, count) {
        Err(Error::shape(format!(
            "a target is predicted by state {row} of {count}"
        )))
    } else if let Some(target) = strange(targets, outputs) {
        Err(Error::shape(format!(
            "target {target} is not in a vocabulary of {outputs}"
        )))
    } else {
        Ok(())
    }
}
