//! `umr._rust.TokenStore`.

use std::path::Path;

use numpy::{Ix1, PyArray1, PyArray2};
use pyo3::prelude::*;

use super::arrays::{borrow, matrix, slice, vector};
use super::counter::Counter;
use super::enter::enter;
use super::errors::to_python;
use super::records::Records;
use crate::tokens as core;

type Padded<'py> = (Bound<'py, PyArray2<i64>>, Bound<'py, PyArray2<i64>>);

/// Ragged token ids on disk.
#[pyclass(frozen, module = "umr._rust")]
pub struct TokenStore(core::TokenStore);

#[pymethods]
impl TokenStore {
    /// Tokenises records into a folder.
    #[staticmethod]
    #[pyo3(signature = (records, tokenizer, folder, *, prefix, title, max_length,
        strip_question_mark=false, counter=None))]
    // The keyword arguments are the interface; a bundle of them would only move the list to Python.
    #[allow(clippy::too_many_arguments)]
    fn build(
        py: Python<'_>,
        records: &Records,
        tokenizer: &str,
        folder: &str,
        prefix: String,
        title: &str,
        max_length: usize,
        strip_question_mark: bool,
        counter: Option<&Counter>,
    ) -> PyResult<Self> {
        let title = core::TitleMode::parse(title).map_err(|error| to_python(py, &error))?;
        let options = core::TokenOptions {
            prefix,
            title,
            max_length,
            strip_question_mark,
        };
        let (tokenizer, folder) = (Path::new(tokenizer), Path::new(folder));
        let work = |progress: &_| {
            core::TokenStore::build(&records.0, tokenizer, folder, &options, progress)
        };
        enter(py, counter, work).map(Self)
    }

    /// Opens a finished store.
    #[staticmethod]
    fn open(py: Python<'_>, folder: &str) -> PyResult<Self> {
        enter(py, None, |_| core::TokenStore::open(Path::new(folder))).map(Self)
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// Name of the records, tokenizer and options.
    #[getter]
    fn fingerprint(&self) -> &str {
        self.0.fingerprint()
    }

    /// Tokens of rows.
    fn lengths<'py>(
        &self,
        py: Python<'py>,
        rows: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let rows = borrow::<u32, Ix1>(rows, "rows", "[m]")?;
        let rows = slice(&rows)?;
        Ok(vector(py, enter(py, None, |_| self.0.lengths(rows))?))
    }

    /// Rows padded to a rectangle, with its mask.
    fn gather<'py>(
        &self,
        py: Python<'py>,
        rows: &Bound<'py, PyAny>,
        pad: i64,
    ) -> PyResult<Padded<'py>> {
        let rows = borrow::<u32, Ix1>(rows, "rows", "[b]")?;
        let rows = slice(&rows)?;
        let padded = enter(py, None, |_| self.0.gather(rows, pad))?;
        let (height, width) = (rows.len(), padded.width);
        let mask = matrix(py, padded.mask, height, width)?;
        Ok((matrix(py, padded.ids, height, width)?, mask))
    }
}
