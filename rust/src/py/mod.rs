//! The Python boundary: arrays in and out, errors, interruption. The only folder that names pyo3.

pub mod about;
mod arrays;
pub mod batches;
pub mod counter;
mod enter;
mod errors;
pub mod records;
pub mod scores;
pub mod search;
pub mod tokens;
