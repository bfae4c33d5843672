//! `umr._rust.Records`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use numpy::{Ix1, PyArray1, PyArray2};
use pyo3::prelude::*;
use rayon::prelude::*;

use super::arrays::{borrow, matrix, slice, vector};
use super::counter::Counter;
use super::enter::enter;
use super::errors::to_python;
use crate::error::Result;
use crate::records as core;

/// Passages or queries that stay in their files.
#[pyclass(frozen, module = "umr._rust")]
pub struct Records(pub(super) Arc<core::Records>);

#[pymethods]
impl Records {
    /// Opens files of passages or queries.
    #[staticmethod]
    #[pyo3(signature = (paths, kind, cache, counter=None))]
    fn open(
        py: Python<'_>,
        paths: Vec<String>,
        kind: &str,
        cache: &str,
        counter: Option<&Counter>,
    ) -> PyResult<Self> {
        let kind: core::Kind = kind.parse().map_err(|error| to_python(py, &error))?;
        let work = |progress: &_| core::Records::open(&paths, kind, Path::new(cache), progress);
        enter(py, counter, work).map(|records| Self(Arc::new(records)))
    }

    /// Queries in memory.
    #[staticmethod]
    fn from_texts(
        py: Python<'_>,
        ids: Vec<String>,
        texts: Vec<String>,
        langs: Vec<String>,
    ) -> PyResult<Self> {
        let work = |_: &_| core::Records::from_texts(&ids, &texts, &langs);
        enter(py, None, work).map(|records| Self(Arc::new(records)))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// Name of the content.
    #[getter]
    fn fingerprint(&self) -> &str {
        self.0.fingerprint()
    }

    /// What the records are like.
    fn counts(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.0.counts();
        BTreeMap::from([
            ("lang_trimmed", counts.lang_trimmed),
            ("empty_passages", counts.empty_passages),
            ("sources", counts.sources),
        ])
    }

    /// Ids of rows.
    fn ids(&self, py: Python<'_>, rows: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
        self.each(py, rows, |records, row| {
            Ok(records.get(row)?.id.into_owned())
        })
    }

    /// Titles and texts of rows.
    fn texts(&self, py: Python<'_>, rows: &Bound<'_, PyAny>) -> PyResult<Vec<(String, String)>> {
        self.each(py, rows, |records, row| {
            let fields = records.get(row)?;
            Ok((fields.title.into_owned(), fields.text.into_owned()))
        })
    }

    /// Languages of rows.
    fn langs(&self, py: Python<'_>, rows: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
        self.each(py, rows, |records, row| {
            Ok(records.get(row)?.lang.into_owned())
        })
    }

    /// Ids of the passages that queries were made from.
    fn sources(&self, py: Python<'_>, rows: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
        self.each(py, rows, |records, row| {
            Ok(records.source(row)?.into_owned())
        })
    }

    /// Content keys of rows.
    fn keys<'py>(
        &self,
        py: Python<'py>,
        rows: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<u64>>> {
        let keys = self.each(py, rows, |records, row| records.key(row))?;
        let count = keys.len();
        matrix(py, keys.into_flattened(), count, 2)
    }

    /// Rows of ids.
    fn find<'py>(&self, py: Python<'py>, ids: Vec<String>) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let one = |id: &String| Ok(self.0.find(id)?.map_or(-1, i64::from));
        let rows = enter(py, None, |_| {
            self.0.require_whole()?;
            ids.iter().map(one).collect::<Result<_>>()
        })?;
        Ok(vector(py, rows))
    }

    /// What is wrong with the files.
    fn verify(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        enter(py, None, |progress| self.0.verify(progress))
    }

    /// Path and line of a row.
    fn locate(&self, py: Python<'_>, row: u32) -> PyResult<(String, u64)> {
        enter(py, None, |_| {
            let (path, line) = self.0.locate(row)?;
            Ok((path.to_owned(), line))
        })
    }
}

impl Records {
    /// Something of every row, read without the GIL.
    fn each<T: Send>(
        &self,
        py: Python<'_>,
        rows: &Bound<'_, PyAny>,
        get: impl Fn(&core::Records, u32) -> Result<T> + Send + Sync,
    ) -> PyResult<Vec<T>> {
        let rows = borrow::<u32, Ix1>(rows, "rows", "[m]")?;
        let rows = slice(&rows)?;
        enter(py, None, |progress| {
            self.0.require_whole()?;
            let one = |row: &u32| progress.poll().and_then(|()| get(&self.0, *row));
            rows.par_iter().with_min_len(256).map(one).collect()
        })
    }
}
