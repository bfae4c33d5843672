//! Exact top-k over memory-mapped shards, screened in 8 bits: what cannot be among the best is not scored exactly.
//!
//! The score is defined in `dot.rs`, the order in `topk.rs`; both are total, and a passage is only left out on a proof
//! (docs/search.md), so neither threads nor blocks nor instructions can change a byte of the result.

mod asked;
mod batch;
mod best;
mod checkpoint;
mod codes;
mod copy;
mod group;
mod mean;
mod panel;
mod rescore;
mod sift;
mod wide;

use std::path::{Path, PathBuf};

pub use copy::copy;
use group::Group;

use crate::error::{Error, Result};
use crate::gemm::{Isa, Kind};
use crate::progress::Progress;
use crate::shards::Shards;
use crate::topk::Ranked;
use asked::Asked;
use best::Best;
use checkpoint::Checkpoint;

/// Working memory when nothing else is said.
const MEMORY: usize = 1 << 30;
/// Less working memory is not kept to: every group of queries goes through all passages.
const LEAST: usize = 16 << 10;

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
    /// The copy of each shard in 8 bits; empty: passages are quantised while searching.
    pub copies: &'a [PathBuf],
    /// Bytes of working memory, apart from queries, results and mapped files; 0: a gibibyte.
    pub memory: usize,
    /// Where unfinished work is kept, and found again.
    pub checkpoint: Option<&'a Path>,
    /// Seconds between two checkpoints.
    pub every: f64,
    /// Instructions to screen with, which this processor must have; the best ones when nothing is said.
    pub isa: Option<Isa>,
}

/// The `min(k, n)` best passages of every query. Counts queries: some passages scored against all queries count as
/// the share of the queries that they are of the whole work.
pub fn search(
    queries: Queries<'_>,
    shards: &Shards,
    options: &Options<'_>,
    progress: &Progress,
) -> Result<Ranked> {
    check(queries, shards, options)?;
    let k = options.k.min(shards.rows());
    if k == 0 || queries.rows == 0 {
        return Ok(Ranked::default());
    }
    let options = Options { k, ..*options };
    on_threads(options.threads, || {
        all_groups(queries, shards, &options, progress)
    })
}

fn check(queries: Queries<'_>, shards: &Shards, options: &Options<'_>) -> Result<()> {
    if options.k == 0 {
        return Err(Error::shape("k: expected at least 1, got 0"));
    }
    if options.isa.is_some_and(|isa| !isa.runs(Kind::Int8)) {
        return Err(Error::shape(
            "isa: this processor does not have these instructions",
        ));
    }
    if !options.only.is_empty() && options.only.len() != shards.rows() {
        let (given, rows) = (options.only.len(), shards.rows());
        return Err(Error::shape(format!(
            "only: {given} marks for {rows} passages"
        )));
    }
    if !options.copies.is_empty() {
        check_paths(shards, options.copies)?;
    }
    let (given, wanted) = (queries.dimensions, shards.dimensions());
    if given != wanted || queries.values.len() != queries.rows * given {
        let (values, rows) = (queries.values.len(), queries.rows);
        return Err(Error::shape(format!(
            "queries: {values} values for {rows} rows of {wanted} dimensions"
        )));
    }
    check_queries(queries)
}

fn check_paths(shards: &Shards, paths: &[PathBuf]) -> Result<()> {
    if paths.len() == shards.count() {
        return Ok(());
    }
    let message = format!(
        "copies: {} paths for {} shards",
        paths.len(),
        shards.count()
    );
    Err(Error::shape(message))
}

fn check_queries(queries: Queries<'_>) -> Result<()> {
    if queries.dimensions == 0 {
        return Err(Error::shape("queries: expected at least one dimension"));
    }
    let rows = queries.values.chunks(queries.dimensions);
    for (row, values) in rows.enumerate() {
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            let message = format!("query row {row} holds {value}");
            return Err(Error::not_finite(
                message,
                "encode the queries again, in bf16 or fp32",
            ));
        }
    }
    Ok(())
}

fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    if threads == 0 {
        return work();
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|error| Error::shape(format!("threads: {error}")))?
        .install(work)
}

/// Takes the queries in groups that fit in memory; a checkpoint holds what is finished.
fn all_groups(
    queries: Queries<'_>,
    shards: &Shards,
    options: &Options<'_>,
    progress: &Progress,
) -> Result<Ranked> {
    let memory = if options.memory == 0 {
        MEMORY
    } else {
        options.memory
    };
    // With its limit, and its inner product with the mean.
    let a_query = Best::bytes(options.k) + Asked::bytes(queries.dimensions) + 12;
    let size = (memory.max(LEAST) / a_query).clamp(1, queries.rows);
    let mut checkpoint = Checkpoint::begin(queries, shards, options);
    let meter = Meter::new(progress, shards.rows());
    let mut lists = Vec::with_capacity(queries.rows);
    for (at, values) in queries.values.chunks(size * queries.dimensions).enumerate() {
        let group = Group::new(
            values,
            queries.dimensions,
            at * size,
            shards,
            options,
            progress,
        )?;
        lists.extend(group.search(&lists, &mut checkpoint, &meter)?);
    }
    checkpoint.end();
    Ok(Ranked::from_lists(lists))
}

/// Turns scored pairs into finished queries, which is what callers count.
struct Meter<'a> {
    progress: &'a Progress,
    pairs: std::sync::atomic::AtomicU64,
    passages: u64,
}

impl<'a> Meter<'a> {
    fn new(progress: &'a Progress, passages: usize) -> Self {
        Self {
            progress,
            pairs: Default::default(),
            passages: passages as u64,
        }
    }

    fn add(&self, pairs: usize) {
        let pairs = pairs as u64;
        let before = self
            .pairs
            .fetch_add(pairs, std::sync::atomic::Ordering::Relaxed);
        let queries = (before + pairs) / self.passages - before / self.passages;
        self.progress.add(queries as usize);
    }
}

#[cfg(test)]
mod tests;
