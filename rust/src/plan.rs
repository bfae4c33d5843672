//! Batches of similar lengths under a token budget.

use crate::error::{Error, Result};

/// Rows sorted by length, and where the batches start in them.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// All rows, longest first, equal lengths by row [n].
    pub rows: Vec<u32>,
    /// Batch b is `rows[bounds[b]..bounds[b + 1]]` [batches + 1].
    pub bounds: Vec<u32>,
}

/// Cuts the rows, longest first, so that rows x longest stays within `budget` tokens and rows within `max_rows`.
/// A row longer than the budget is a batch of its own.
pub fn plan_batches(lengths: &[u32], budget: u64, max_rows: usize) -> Result<Plan> {
    if budget == 0 || max_rows == 0 {
        let message = format!("budget {budget} and max_rows {max_rows}: both must be at least 1");
        return Err(Error::shape(message));
    }
    if lengths.len() >= u32::MAX as usize {
        return Err(Error::shape(format!(
            "{} rows are too many for one plan",
            lengths.len()
        )));
    }
    let mut rows: Vec<u32> = (0..lengths.len() as u32).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(lengths[*row as usize]));
    let mut bounds = vec![0];
    let mut first = 0;
    while first < rows.len() {
        let longest = u64::from(lengths[rows[first] as usize]).max(1);
        let fitting = usize::try_from(budget / longest).unwrap_or(usize::MAX);
        first += fitting.clamp(1, max_rows).min(rows.len() - first);
        bounds.push(first as u32);
    }
    Ok(Plan { rows, bounds })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_lengths_keep_their_order() {
        let plan = plan_batches(&[2, 5, 2, 5], 10, 8).unwrap();
        assert_eq!(plan.rows, [1, 3, 0, 2]);
        assert_eq!(plan.bounds, [0, 2, 4]);
    }

    #[test]
    fn a_budget_of_nothing_is_refused() {
        assert!(plan_batches(&[1], 0, 1).is_err());
        assert!(plan_batches(&[1], 1, 0).is_err());
        assert_eq!(plan_batches(&[], 1, 1).unwrap().bounds, [0]);
    }

    proptest! {
        #[test]
        fn every_row_is_in_one_batch_within_the_budget(
            lengths in prop::collection::vec(0u32..60, 0..200),
            budget in 1u64..300,
            max_rows in 1usize..20,
        ) {
            let plan = plan_batches(&lengths, budget, max_rows).unwrap();
            let mut seen = plan.rows.clone();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len() as u32).collect::<Vec<_>>());
            for pair in plan.bounds.windows(2) {
                let batch = &plan.rows[pair[0] as usize..pair[1] as usize];
                let longest = batch.iter().map(|row| lengths[*row as usize]).max().unwrap();
                prop_assert!(batch.len() <= max_rows);
                prop_assert!(batch.len() == 1 || batch.len() as u64 * u64::from(longest) <= budget);
            }
        }
    }
}
