//! The core's errors as the classes of `umr.errors`.

use std::io::ErrorKind;

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::error::Error;

/// The Python exception for an error.
pub fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    let class = match error {
        Error::Interrupted => return PyKeyboardInterrupt::new_err(()),
        Error::Io { source, .. } if source.kind() == ErrorKind::NotFound => "InputError",
        Error::Io { .. } | Error::Storage { .. } => "StorageError",
        Error::Format { .. } => "FormatError",
        Error::Input { .. } => "InputError",
        Error::Shape { .. } => "UsageError",
        Error::Mismatch { .. } => "MismatchError",
        Error::NotFinite { .. } => "ScoreError",
        Error::Internal { .. } => "UmrError",
    };
    raise(py, class, &message(error), error.hint())
}

/// A [`Error::Shape`] as its exception.
pub fn usage(py: Python<'_>, message: impl Into<String>) -> PyErr {
    to_python(py, &Error::shape(message))
}

fn message(error: &Error) -> String {
    match error {
        Error::Io { path, source } if source.kind() == ErrorKind::StorageFull => {
            format!("{}: no space left on the device", path.display())
        }
        other => other.to_string(),
    }
}

fn raise(py: Python<'_>, class: &str, message: &str, hint: &str) -> PyErr {
    let found = py
        .import("umr.errors")
        .and_then(|module| module.getattr(class));
    let class = found.and_then(|class| Ok(class.cast_into::<PyType>()?));
    match class {
        Ok(class) => PyErr::from_type(class, (message.to_owned(), hint.to_owned())),
        Err(error) => error,
    }
}
