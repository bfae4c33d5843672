//! A number that a long call counts up and that Python may read meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;

use crate::progress::Progress;

/// Rows done so far by the call that it was given to.
#[pyclass(frozen, module = "umr._rust")]
#[derive(Default)]
pub struct Counter(Arc<AtomicU64>);

#[pymethods]
impl Counter {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// What was counted since the counter was made.
    #[getter]
    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The progress handle for an optional counter.
pub fn progress(counter: Option<&Counter>) -> Progress {
    counter
        .map(|counter| Progress::counting_into(counter.0.clone()))
        .unwrap_or_default()
}
