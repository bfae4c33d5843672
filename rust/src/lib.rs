//! The compiled core of umr: records, tokens, exact search, scores and sampling. It builds without Python too.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

// Errors, files and progress.
pub mod checked;
pub mod error;
pub mod files;
pub mod fingerprint;
pub mod progress;
pub mod threads;

// Passages and queries, their tokens, batches of them.
pub mod plan;
pub mod records;
pub mod sample;
pub mod tokens;

// Exact search.
pub mod dot;
pub mod search;
pub mod shards;
pub mod topk;

// Scores of (query, passage) pairs.
pub mod merge;
pub mod scores;

#[cfg(feature = "python")]
mod py;

pub use error::{Error, Result};
pub use progress::Progress;

/// The whole Python boundary: the module `umr._rust`. `python/umr/_rust.pyi` documents each name.
#[cfg(feature = "python")]
#[pyo3::pymodule]
mod _rust {
    #[pymodule_export]
    use super::py::{
        // names and versions
        about::build_info,
        about::file_digest,
        about::fingerprint,
        about::fingerprint_files,
        // batches
        batches::permutation,
        batches::plan_batches,
        batches::sample_candidates,
        // handles
        counter::Counter,
        records::Records,
        scores::ScoreLog,
        // scores
        scores::merge_stores,
        // search
        search::merge_topk,
        search::search,
        search::write_int8_shards,
        tokens::TokenStore,
    };
}
