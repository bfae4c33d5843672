//! `fingerprint`, `fingerprint_files` and `build_info`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pyo3::prelude::*;

use super::counter::Counter;
use super::enter::enter;
use crate::fingerprint as core;
use crate::search::Isa;

/// BLAKE3-256 of a text.
#[pyfunction]
pub fn fingerprint(text: &str) -> String {
    core::of_text(text)
}

/// BLAKE3-256 of files.
#[pyfunction]
#[pyo3(signature = (paths, counter=None))]
pub fn fingerprint_files(
    py: Python<'_>,
    paths: Vec<PathBuf>,
    counter: Option<&Counter>,
) -> PyResult<String> {
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    enter(py, counter, |progress| core::of_files(&paths, progress))
}

/// BLAKE3-256 of one file.
#[pyfunction]
pub fn file_digest(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    enter(py, None, |progress| core::of_file(&path, progress))
}

/// How this binary was built, and what the processor has.
#[pyfunction]
pub fn build_info() -> BTreeMap<&'static str, String> {
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    BTreeMap::from([
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("profile", profile.to_owned()),
        (
            "target",
            format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        ),
        ("features", features().join(" ")),
        ("kernel", Isa::best().name().to_owned()),
        ("threads", rayon::current_num_threads().to_string()),
    ])
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let found = [
        ("f16c", is_x86_feature_detected!("f16c")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
    ];
    found
        .into_iter()
        .filter(|(_, has)| *has)
        .map(|(name, _)| name)
        .collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    Vec::new()
}
