//! `umr._rust.ScoreLog` and `merge_stores`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use numpy::{Ix1, Ix2, PyArray3, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;

use super::arrays::{borrow, keys, slice, vector};
use super::enter::enter;
use crate::merge::{self, Wanted};
use crate::scores as core;

type Counts = BTreeMap<&'static str, u64>;
/// A segment, and how many of its records are damaged; none where its header is.
type Flaws = Vec<(PathBuf, Option<u64>)>;

/// Scores [stores, Q, k], and what was met in each store.
type Merged<'py> = (Bound<'py, PyArray3<f32>>, Vec<Counts>, Vec<Flaws>);

/// A score segment open for appending.
#[pyclass(frozen, module = "umr._rust")]
pub struct ScoreLog(Mutex<core::ScoreLog>);

#[pymethods]
impl ScoreLog {
    /// Starts a new segment.
    #[staticmethod]
    fn create(py: Python<'_>, path: PathBuf, store: &str) -> PyResult<Self> {
        let log = enter(py, None, |_| core::ScoreLog::create(&path, store))?;
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

/// The scores of candidates in many stores.
#[pyfunction]
pub fn merge_stores<'py>(
    py: Python<'py>,
    stores: Vec<merge::Store>,
    query_keys: &Bound<'py, PyAny>,
    passage_keys: &Bound<'py, PyAny>,
    rows: &Bound<'py, PyAny>,
) -> PyResult<Merged<'py>> {
    let queries = borrow::<u64, Ix2>(query_keys, "query_keys", "[Q, 2]")?;
    let passages = borrow::<u64, Ix2>(passage_keys, "passage_keys", "[n, 2]")?;
    let rows = borrow::<u32, Ix2>(rows, "rows", "[Q, k]")?;
    let shape = [stores.len(), rows.shape()[0], rows.shape()[1]];
    let wanted = Wanted {
        queries: keys(&queries, "query_keys")?,
        passages: keys(&passages, "passage_keys")?,
        rows: slice(&rows)?,
        k: shape[2],
    };
    let work = |progress: &_| merge::merge_stores(&stores, &wanted, progress);
    let (scores, counts) = enter(py, None, work)?;
    let flaws = counts.iter().map(|counts| {
        let flaws = counts.flaws.iter();
        flaws
            .map(|flaw| (flaw.path.clone(), flaw.records))
            .collect()
    });
    let flaws = flaws.collect();
    let counts = counts.iter().map(by_name).collect();
    Ok((vector(py, scores).reshape(shape)?, counts, flaws))
}

fn by_name(counts: &merge::Counts) -> Counts {
    BTreeMap::from([
        ("records", counts.records),
        ("torn", counts.torn),
        ("duplicates", counts.duplicates),
        ("conflicts", counts.conflicts),
    ])
}
