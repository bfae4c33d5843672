//! Merging score segments of many processes, rounds and language models into one table of wanted pairs.
//!
//! Keys are looked up once: a record's query and passage become two row numbers, and its place is that of the
//! passage's row among the candidates of the query. So a wanted pair costs its row and its score, not its keys, and
//! beside them merging takes about 12 bytes a passage and a query. Segments are read in parts of bounded size.
//!
//! Where a pair stands twice in a store, the first record counts: segments in the order given, records in the order
//! written. Parts are resolved in parallel and then applied in order, each group of queries by one thread, so the rule
//! and every byte of the result hold at any number of threads.

mod apply;
mod lookup;
mod resolve;
mod segment;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod wanted;

use crate::error::Result;
use crate::progress::Progress;

use lookup::Lookup;
pub use store::{Counts, Flaw, Store};
pub use wanted::{NO_PASSAGE, Wanted};

/// The scores of wanted pairs in every store: a table [M, Q, k], NaN where a store lacks the pair, and the counts of every store.
pub fn merge_stores(
    stores: &[Store],
    wanted: &Wanted<'_>,
    progress: &Progress,
) -> Result<(Vec<f32>, Vec<Counts>)> {
    wanted.check()?;
    let lookup = Lookup::new(wanted, progress)?;
    let pairs = wanted.rows.len();
    let mut scores = vec![f32::NAN; stores.len() * pairs];
    let mut counts = Vec::with_capacity(stores.len());
    for (number, store) in stores.iter().enumerate() {
        let table = &mut scores[number * pairs..(number + 1) * pairs];
        counts.push(store::read(store, &lookup, table, progress)?);
    }
    Ok((scores, counts))
}
