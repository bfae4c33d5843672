//! `umr._rust.ScoreLog`, `merge_scores` and `merge_stores`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use numpy::{Ix1, Ix2, PyArray1, PyArray3, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;

use super::arrays::{borrow, keys, slice, vector};
use super::counter::Counter;
use super::enter::enter;
use crate::merge::{self, MergeStats, Merged, Options, Target, Wanted};
use crate::scores as core;

type Counts = BTreeMap<&'static str, u64>;
type Stores<'py> = (
    Option<Bound<'py, PyArray3<f32>>>,
    Vec<Counts>,
    Vec<OsString>,
);

/// A score segment open for appending.
#[pyclass(frozen, module = "umr._rust")]
pub struct ScoreLog(Mutex<core::ScoreLog>);

#[pymethods]
impl ScoreLog {
    /// Starts a new segment.
    #[staticmethod]
    fn create(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let log = enter(py, None, |_| core::ScoreLog::create(&path))?;
        Ok(Self(Mutex::new(log)))
    }

    /// Appends scores and waits for the device.
    fn append(
        &self,
        py: Python<'_>,
        query_keys: &Bound<'_, PyAny>,
        passage_keys: &Bound<'_, PyAny>,
        scores: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let queries = borrow::<u64, Ix2>(query_keys, "query_keys", "[m, 2]")?;
        let passages = borrow::<u64, Ix2>(passage_keys, "passage_keys", "[m, 2]")?;
        let scores = borrow::<f32, Ix1>(scores, "scores", "[m]")?;
        let queries = keys(&queries, "query_keys")?;
        let passages = keys(&passages, "passage_keys")?;
        let scores = slice(&scores)?;
        enter(py, None, |_| self.lock().append(queries, passages, scores))
    }

    /// Closes the file.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        enter(py, None, |_| {
            self.lock().close();
            Ok(())
        })
    }
}

impl ScoreLog {
    fn lock(&self) -> MutexGuard<'_, core::ScoreLog> {
        // A panic while appending leaves the log as it was before, so a poisoned lock is still good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The scores of wanted pairs out of many segments.
#[pyfunction]
#[pyo3(signature = (paths, query_keys, passage_keys, *, counter=None))]
pub fn merge_scores<'py>(
    py: Python<'py>,
    paths: Vec<PathBuf>,
    query_keys: &Bound<'py, PyAny>,
    passage_keys: &Bound<'py, PyAny>,
    counter: Option<&Counter>,
) -> PyResult<(Bound<'py, PyArray1<f32>>, Counts)> {
    let queries = borrow::<u64, Ix2>(query_keys, "query_keys", "[m, 2]")?;
    let passages = borrow::<u64, Ix2>(passage_keys, "passage_keys", "[m, 2]")?;
    let queries = keys(&queries, "query_keys")?;
    let passages = keys(&passages, "passage_keys")?;
    let work = |progress: &_| merge::merge_scores(&paths, queries, passages, progress);
    let (scores, stats) = enter(py, counter, work)?;
    Ok((vector(py, scores), counts(&stats)))
}

/// The scores of candidates in many stores.
#[pyfunction]
#[pyo3(signature = (stores, query_keys, passage_keys, rows, *, out=None, memory=0, threads=0, counter=None))]
#[allow(clippy::too_many_arguments)]
pub fn merge_stores<'py>(
    py: Python<'py>,
    stores: Vec<Vec<PathBuf>>,
    query_keys: &Bound<'py, PyAny>,
    passage_keys: &Bound<'py, PyAny>,
    rows: &Bound<'py, PyAny>,
    out: Option<PathBuf>,
    memory: u64,
    threads: usize,
    counter: Option<&Counter>,
) -> PyResult<Stores<'py>> {
    let queries = borrow::<u64, Ix2>(query_keys, "query_keys", "[Q, 2]")?;
    let passages = borrow::<u64, Ix2>(passage_keys, "passage_keys", "[n, 2]")?;
    let rows = borrow::<u32, Ix2>(rows, "rows", "[Q, k]")?;
    let (queries, passages) = (
        keys(&queries, "query_keys")?,
        keys(&passages, "passage_keys")?,
    );
    let shape = [stores.len(), rows.shape()[0], rows.shape()[1]];
    let rows = slice(&rows)?;
    let target = out.as_deref().map(|path| Target { path, shape });
    let merged = enter(py, counter, |progress| {
        let wanted = Wanted::matrix(queries, passages, rows, shape[2]);
        let options = Options { memory, threads };
        merge::merge_stores(&stores, &wanted, target, options, progress)
    })?;
    handed(py, merged, target.is_none().then_some(shape))
}

fn handed(py: Python<'_>, merged: Merged, shape: Option<[usize; 3]>) -> PyResult<Stores<'_>> {
    let scores = match shape {
        Some(shape) => Some(vector(py, merged.scores).reshape(shape)?),
        None => None,
    };
    let stats = merged.stats.iter().map(counts).collect();
    let torn = merged.torn.into_iter().map(PathBuf::into_os_string);
    Ok((scores, stats, torn.collect()))
}

fn counts(stats: &MergeStats) -> Counts {
    BTreeMap::from([
        ("records", stats.records),
        ("torn", stats.torn),
        ("duplicates", stats.duplicates),
        ("conflicts", stats.conflicts),
    ])
}
