//! NumPy arrays at the boundary: borrowed in with a check that says what came, owned ones handed out.

use numpy::ndarray::Dimension;
use numpy::{
    Element, IntoPyArray, PyArray, PyArray1, PyArray2, PyArrayDescrMethods, PyArrayMethods,
    PyReadonlyArray, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::prelude::*;

use super::errors::usage;
use crate::fingerprint::Key;

/// A C-contiguous array of exactly this dtype and number of dimensions, or a `UsageError` that says what came.
/// `shape` is the shape in words, such as `[Q, d]`.
pub fn borrow<'py, T: Element, D: Dimension>(
    value: &Bound<'py, PyAny>,
    name: &str,
    shape: &str,
) -> PyResult<PyReadonlyArray<'py, T, D>> {
    let py = value.py();
    let array = value
        .cast::<PyArray<T, D>>()
        .ok()
        .filter(|array| array.is_c_contiguous());
    let borrowed = array.and_then(|array| array.try_readonly().ok());
    match borrowed {
        Some(array) if array.as_slice().is_ok() => Ok(array),
        _ => {
            let dtype = numpy::dtype::<T>(py).typeobj();
            let dtype = dtype.name()?;
            let message = format!(
                "{name}: expected a C-contiguous {dtype} array of shape {shape}, got {}",
                describe(value)
            );
            Err(usage(py, message))
        }
    }
}

fn describe(value: &Bound<'_, PyAny>) -> String {
    let Ok(array) = value.cast::<PyUntypedArray>() else {
        let class = value.get_type().name();
        return class.map_or_else(|_| "something else".to_owned(), |name| name.to_string());
    };
    let order = if array.is_c_contiguous() {
        ""
    } else {
        ", not C-contiguous"
    };
    format!("{} {:?}{order}", array.dtype(), array.shape())
}

/// The values of a borrowed array in C order.
pub fn slice<'a, T: Element, D: Dimension>(
    array: &'a PyReadonlyArray<'_, T, D>,
) -> PyResult<&'a [T]> {
    Ok(array.as_slice()?)
}

/// Content keys [m, 2] as pairs of words.
pub fn keys<'a>(
    array: &'a PyReadonlyArray<'_, u64, numpy::Ix2>,
    name: &str,
) -> PyResult<&'a [Key]> {
    if array.shape()[1] != 2 {
        let message = format!("{name}: expected shape [m, 2], got {:?}", array.shape());
        return Err(usage(array.py(), message));
    }
    Ok(array.as_slice()?.as_chunks::<2>().0)
}

/// A new array [n].
pub fn vector<T: Element>(py: Python<'_>, values: Vec<T>) -> Bound<'_, PyArray1<T>> {
    values.into_pyarray(py)
}

/// A new array [rows, columns].
pub fn matrix<T: Element>(
    py: Python<'_>,
    values: Vec<T>,
    rows: usize,
    columns: usize,
) -> PyResult<Bound<'_, PyArray2<T>>> {
    values.into_pyarray(py).reshape([rows, columns])
}
