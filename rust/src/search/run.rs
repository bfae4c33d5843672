//! The search: queries in groups that fit in memory.

use super::best::Best;
use super::checkpoint::Checkpoint;
use super::group::Group;
use super::meter::Meter;
use super::options::{Options, Queries, check};
use super::queries::QuantisedQueries;
use crate::error::Result;
use crate::progress::Progress;
use crate::shards::Shards;
use crate::threads::on_threads;
use crate::topk::Ranked;

/// Bytes of working memory when nothing else is said.
const DEFAULT_MEMORY: usize = 1 << 30;
/// Less memory in bytes is not kept to: every group of queries goes through all passages.
const MIN_MEMORY: usize = 16 << 10;

/// The `min(k, n)` best passages of every query. Counts queries.
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

fn all_groups(
    queries: Queries<'_>,
    shards: &Shards,
    options: &Options<'_>,
    progress: &Progress,
) -> Result<Ranked> {
    let memory = match options.memory {
        0 => DEFAULT_MEMORY,
        given => given.max(MIN_MEMORY),
    };
    // With its limit (f32) and its inner product with the mean (f64).
    let query = Best::bytes(options.k) + QuantisedQueries::bytes(queries.dimensions) + 12;
    let size = (memory / query).clamp(1, queries.rows);
    let mut checkpoint = Checkpoint::begin(queries, shards, options);
    let meter = Meter::new(progress, shards.rows());
    let mut lists = Vec::with_capacity(queries.rows);
    for values in queries.values.chunks(size * queries.dimensions) {
        let group = Group::new(values, lists.len(), shards, options, progress)?;
        lists.extend(group.search(&lists, &mut checkpoint, &meter)?);
    }
    checkpoint.end();
    Ok(Ranked::from_lists(lists))
}
