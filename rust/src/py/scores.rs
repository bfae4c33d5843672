//! `umr._rust.ScoreLog` and `merge_scores`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use numpy::{Ix1, Ix2, PyArray1};
use pyo3::prelude::*;

use super::arrays::{borrow, keys, slice, vector};
use super::counter::Counter;
use super::enter::enter;
use crate::labels;
use crate::scores as core;

type Merged<'py> = (Bound<'py, PyArray1<f32>>, BTreeMap<&'static str, u64>);

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
) -> PyResult<Merged<'py>> {
    let queries = borrow::<u64, Ix2>(query_keys, "query_keys", "[m, 2]")?;
    let passages = borrow::<u64, Ix2>(passage_keys, "passage_keys", "[m, 2]")?;
    let queries = keys(&queries, "query_keys")?;
    let passages = keys(&passages, "passage_keys")?;
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let work = |progress: &_| labels::merge_scores(&paths, queries, passages, progress);
    let (scores, stats) = enter(py, counter, work)?;
    let counts = [
        ("records", stats.records),
        ("torn", stats.torn),
        ("duplicates", stats.duplicates),
        ("conflicts", stats.conflicts),
    ];
    Ok((vector(py, scores), BTreeMap::from(counts)))
}
