//! `plan_batches`, `sample_candidates` and `permutation`.

use numpy::{Ix1, PyArray1, PyArray2};
use pyo3::prelude::*;

use super::arrays::{borrow, matrix, slice, vector};
use super::enter::enter;
use crate::{plan, sample};

type Plan<'py> = (Bound<'py, PyArray1<u32>>, Bound<'py, PyArray1<u32>>);

/// Length-bucketed batches under a token budget.
#[pyfunction]
pub fn plan_batches<'py>(
    py: Python<'py>,
    lengths: &Bound<'py, PyAny>,
    budget: u64,
    max_rows: usize,
) -> PyResult<Plan<'py>> {
    let lengths = borrow::<u32, Ix1>(lengths, "lengths", "[n]")?;
    let lengths = slice(&lengths)?;
    let plan = enter(py, None, |_| plan::plan_batches(lengths, budget, max_rows))?;
    Ok((vector(py, plan.rows), vector(py, plan.bounds)))
}

/// Seeded draws without replacement.
#[pyfunction]
pub fn sample_candidates<'py>(
    py: Python<'py>,
    seed: u64,
    step: u64,
    queries: &Bound<'py, PyAny>,
    counts: &Bound<'py, PyAny>,
    c: usize,
) -> PyResult<Bound<'py, PyArray2<u32>>> {
    let queries = borrow::<u32, Ix1>(queries, "queries", "[B]")?;
    let counts = borrow::<u32, Ix1>(counts, "counts", "[B]")?;
    let (queries, counts) = (slice(&queries)?, slice(&counts)?);
    let work = |_: &_| sample::sample_candidates(seed, step, queries, counts, c);
    matrix(py, enter(py, None, work)?, queries.len(), c)
}

/// The numbers below n in a seeded order.
#[pyfunction]
pub fn permutation(
    py: Python<'_>,
    seed: u64,
    epoch: u64,
    n: u32,
) -> PyResult<Bound<'_, PyArray1<u32>>> {
    Ok(vector(
        py,
        enter(py, None, |_| Ok(sample::permutation(seed, epoch, n)))?,
    ))
}
