//! What is searched for, how, and whether both fit the shards.

use std::path::{Path, PathBuf};

use super::kernels::isa::Isa;
use crate::error::{Error, Result};
use crate::shards::Shards;

/// Queries [rows, dimensions] in memory.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    /// The values, row after row.
    pub values: &'a [f32],
    /// Number of queries.
    pub rows: usize,
    /// Dimensions of each.
    pub dimensions: usize,
}

/// How to search. None of it changes the result, apart from `k` and `only`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Passages a query.
    pub k: usize,
    /// Threads; 0 takes all.
    pub threads: usize,
    /// [n] which passages are searched: those that are not 0; empty: all.
    pub only: &'a [u8],
    /// The int8 shard of each shard; empty: passages are quantised while searching.
    pub int8_shards: &'a [PathBuf],
    /// Bytes of working memory, apart from queries, results and mapped files; 0: a gibibyte.
    pub memory: usize,
    /// Where unfinished work is kept, and found again.
    pub checkpoint: Option<&'a Path>,
    /// Seconds between two checkpoints.
    pub checkpoint_seconds: f64,
    /// Instructions to search with; the fastest ones when nothing is said.
    pub isa: Option<Isa>,
}

/// Refuses what does not fit together.
pub(crate) fn check(queries: Queries<'_>, shards: &Shards, options: &Options<'_>) -> Result<()> {
    if options.k == 0 {
        return Err(Error::shape("k: expected at least 1, got 0"));
    }
    let (marks, rows) = (options.only.len(), shards.rows());
    if marks != 0 && marks != rows {
        let message = format!("only: {marks} marks for {rows} passages");
        return Err(Error::shape(message));
    }
    if !options.int8_shards.is_empty() {
        check_paths(shards, options.int8_shards)?;
    }
    check_queries(queries, shards.dimensions())
}

/// Refuses paths of int8 shards that are not as many as the shards.
pub(crate) fn check_paths(shards: &Shards, paths: &[PathBuf]) -> Result<()> {
    let (given, wanted) = (paths.len(), shards.parts().len());
    if given == wanted {
        return Ok(());
    }
    let message = format!("int8_shards: {given} paths for {wanted} shards");
    Err(Error::shape(message))
}

fn check_queries(queries: Queries<'_>, dimensions: usize) -> Result<()> {
    if dimensions == 0 {
        return Err(Error::shape("queries: expected at least one dimension"));
    }
    let (values, rows) = (queries.values.len(), queries.rows);
    if queries.dimensions != dimensions || values != rows * dimensions {
        let message =
            format!("queries: {values} values for {rows} rows of {dimensions} dimensions");
        return Err(Error::shape(message));
    }
    match queries.values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let (row, value) = (at / dimensions, queries.values[at]);
            let message = format!("query row {row} holds {value}");
            let hint = "encode the queries again, in bf16 or fp32";
            Err(Error::not_finite(message, hint))
        }
    }
}
