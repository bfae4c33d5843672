//! Merging score segments of many processes, rounds and language models into one table of wanted pairs.
//!
//! Keys are looked up once: a record's query and passage become two row numbers, and its place is the one of the
//! passage's number in the query's row of candidates. So a wanted pair costs its row number and its score, not its
//! keys, and memory grows with queries, passages and scores only. Segments are read in parts of bounded size.
//!
//! The rule where a pair stands twice: segments count in the order given, records in the order written, and the first
//! one wins. Parts are resolved in parallel and then fed in order, each run of queries by one thread, so the rule and
//! with it every byte of the result hold at any number of threads.

mod output;
mod pairs;
mod pass;
mod segment;
mod shard;
mod table;
#[cfg(test)]
mod tests;
mod wanted;
mod window;

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::progress::Progress;

use output::Output;
pub use output::Target;
pub use pairs::merge_scores;
use pass::{Counted, pass};
use segment::Segment;
use wanted::Passages;
pub use wanted::{NONE, Wanted};
use window::{WIDE, Window};

/// Records that are read and resolved together.
const PART: usize = if cfg!(test) { 5 } else { 1 << 14 };
/// Parts in memory at once.
const PARTS: usize = if cfg!(test) { 3 } else { 64 };

/// Pairs handled between two polls of the stop flag.
const BLOCK: usize = if cfg!(test) { 7 } else { 1 << 16 };

/// What was met while merging.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeStats {
    /// Intact records read, wanted or not.
    pub records: u64,
    /// Segments that end in something torn.
    pub torn: u64,
    /// Wanted pairs met again with the same score, once a query that wants them.
    pub duplicates: u64,
    /// Wanted pairs met again with another score; the first one stays.
    pub conflicts: u64,
}

/// Limits of a merge.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Bytes of queries and scores in work at once; fewer bytes, more passes over the segments. 0: all in one pass.
    pub memory: u64,
    /// 0: all.
    pub threads: usize,
}

/// The scores of every store [M, P], NaN where it has none, and what was met.
#[derive(Debug, Default)]
pub struct Merged {
    /// Store after store, in the order of the wanted pairs; empty where they went into a file.
    pub scores: Vec<f32>,
    /// Of every store.
    pub stats: Vec<MergeStats>,
    /// Segments that end in something torn.
    pub torn: Vec<PathBuf>,
}

/// The scores of wanted pairs in every store, a list of segments each. Counts records.
pub fn merge_stores(
    stores: &[Vec<PathBuf>],
    wanted: &Wanted<'_>,
    target: Option<Target<'_>>,
    options: Options,
    progress: &Progress,
) -> Result<Merged> {
    if options.threads == 0 {
        return merge_all(stores, wanted, target, options.memory, progress);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads);
    let pool = pool.build();
    let pool = pool.map_err(|error| Error::shape(format!("threads: {error}")))?;
    pool.install(|| merge_all(stores, wanted, target, options.memory, progress))
}

fn merge_all(
    stores: &[Vec<PathBuf>],
    wanted: &Wanted<'_>,
    target: Option<Target<'_>>,
    memory: u64,
    progress: &Progress,
) -> Result<Merged> {
    wanted.check()?;
    let passages = Passages::new(wanted.passages, progress)?;
    let copied = if passages.repeated() { 4 } else { 0 };
    let sorted = if wanted.width() > WIDE { 8 } else { 0 };
    let windows = wanted.windows(memory, copied + sorted);
    let mut output = Output::new(target, stores.len() * wanted.columns.len())?;
    let mut merged = Merged::default();
    for paths in stores {
        let segments = paths.iter().map(|path| Segment::open(path));
        let segments: Vec<Segment> = segments.collect::<Result<_>>()?;
        let mut counted = Counted::new(progress, windows.len());
        let mut met = (MergeStats::default(), Vec::new());
        for bounds in &windows {
            let window = Window::new(wanted, &passages, *bounds, progress)?;
            let scores = output.block(window.pairs());
            let (stats, torn) = pass(&segments, &window, scores, &mut counted)?;
            met = (met.0.and(stats), torn);
            output.keep(progress)?;
        }
        merged.stats.push(met.0);
        let torn = segments.into_iter().zip(met.1).filter(|(_, torn)| *torn);
        merged.torn.extend(torn.map(|(segment, _)| segment.path));
    }
    merged.scores = output.finish()?;
    Ok(merged)
}

impl MergeStats {
    /// With what another pass over the same segments met.
    fn and(self, pass: Self) -> Self {
        Self {
            duplicates: self.duplicates + pass.duplicates,
            conflicts: self.conflicts + pass.conflicts,
            ..pass
        }
    }
}
