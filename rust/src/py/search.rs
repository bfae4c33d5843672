//! `search` and `merge_topk`.

use std::path::PathBuf;

use numpy::{Ix1, Ix2, Ix3, PyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use super::arrays::{borrow, matrix, slice};
use super::counter::Counter;
use super::enter::enter;
use super::errors::{to_python, usage};
use crate::shards::{Dtype, ShardSpec, Shards};
use crate::topk::Ranked;
use crate::{search as core, topk};

/// Path, bytes before the rows, rows.
type Spec = (PathBuf, usize, usize);
type Lists<'py> = (Bound<'py, PyArray2<u32>>, Bound<'py, PyArray2<f32>>);

/// Exact top-k over memory-mapped shards.
#[pyfunction]
#[pyo3(signature = (queries, shards, dtype, k, *, threads=0, counter=None, only=None, int8_shards=vec![], memory=0, checkpoint=None, checkpoint_seconds=30.0))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
pub fn search<'py>(
    py: Python<'py>,
    queries: &Bound<'py, PyAny>,
    shards: Vec<Spec>,
    dtype: &str,
    k: usize,
    threads: usize,
    counter: Option<&Counter>,
    only: Option<&Bound<'py, PyAny>>,
    int8_shards: Vec<PathBuf>,
    memory: usize,
    checkpoint: Option<PathBuf>,
    checkpoint_seconds: f64,
) -> PyResult<Lists<'py>> {
    let dtype = Dtype::parse(dtype).map_err(|error| to_python(py, &error))?;
    let queries = borrow::<f32, Ix2>(queries, "queries", "[Q, d]")?;
    let (rows, dimensions) = (queries.shape()[0], queries.shape()[1]);
    let queries = core::Queries {
        values: slice(&queries)?,
        rows,
        dimensions,
    };
    let only = only.map(|only| borrow::<u8, Ix1>(only, "only", "[n]"));
    let only = only.transpose()?;
    let options = core::Options {
        k,
        threads,
        only: only.as_ref().map_or(Ok(&[][..]), |only| slice(only))?,
        int8_shards: &int8_shards,
        memory,
        checkpoint: checkpoint.as_deref(),
        checkpoint_seconds,
        isa: None,
    };
    let specs = specs(shards);
    let ranked = enter(py, counter, |progress| {
        let shards = Shards::open(&specs, dtype, dimensions)?;
        core::search(queries, &shards, &options, progress)
    })?;
    lists(py, ranked, rows)
}

/// Writes the int8 shards that exact search screens with.
#[pyfunction]
#[pyo3(signature = (shards, dtype, dimensions, int8_shards, *, threads=0, counter=None))]
pub fn write_int8_shards(
    py: Python<'_>,
    shards: Vec<Spec>,
    dtype: &str,
    dimensions: usize,
    int8_shards: Vec<PathBuf>,
    threads: usize,
    counter: Option<&Counter>,
) -> PyResult<()> {
    let dtype = Dtype::parse(dtype).map_err(|error| to_python(py, &error))?;
    let specs = specs(shards);
    enter(py, counter, |progress| {
        let shards = Shards::open(&specs, dtype, dimensions)?;
        core::write_int8_shards(&shards, &int8_shards, threads, progress)
    })
}

fn specs(shards: Vec<Spec>) -> Vec<ShardSpec> {
    let spec = |(path, offset, rows)| ShardSpec { path, offset, rows };
    shards.into_iter().map(spec).collect()
}

/// Merges partial lists of the same queries.
#[pyfunction]
pub fn merge_topk<'py>(
    py: Python<'py>,
    rows: &Bound<'py, PyAny>,
    scores: &Bound<'py, PyAny>,
    k: usize,
) -> PyResult<Lists<'py>> {
    let rows = borrow::<u32, Ix3>(rows, "rows", "[P, Q, k]")?;
    let scores = borrow::<f32, Ix3>(scores, "scores", "[P, Q, k]")?;
    if rows.shape() != scores.shape() {
        let (left, right) = (rows.shape(), scores.shape());
        return Err(usage(
            py,
            format!("rows {left:?} and scores {right:?} differ in shape"),
        ));
    }
    let shape = [rows.shape()[0], rows.shape()[1], rows.shape()[2]];
    let (rows, scores) = (slice(&rows)?, slice(&scores)?);
    let ranked = enter(py, None, |_| topk::merge_topk(rows, scores, shape, k))?;
    lists(py, ranked, shape[1])
}

fn lists(py: Python<'_>, ranked: Ranked, queries: usize) -> PyResult<Lists<'_>> {
    let rows = matrix(py, ranked.rows, queries, ranked.width)?;
    Ok((rows, matrix(py, ranked.scores, queries, ranked.width)?))
}
