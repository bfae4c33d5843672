//! What a search has found so far, on disk: a killed one goes on from there and ends with the same bytes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::batch::BATCH;
use super::best::Best;
use super::group::Lists;
use super::{Options, Queries};
use crate::error::Result;
use crate::files::Staged;
use crate::shards::Shards;
use crate::topk::{TopK, goodness};

const MAGIC: &[u8; 8] = b"umr-find";
/// Raised with every change of what the state means.
const VERSION: usize = 1;
/// Bytes before the lists: magic, key, finished queries, queries of the open group, rows that these have met.
const HEAD: usize = 8 + 32 + 3 * 8;

/// Keeps the state of a search, or does nothing where no path is given.
pub(crate) struct Checkpoint {
    place: Option<Place>,
    found: Option<Found>,
}

struct Place {
    path: PathBuf,
    key: [u8; 32],
    every: Duration,
    last: Instant,
}

/// What an earlier run left.
struct Found {
    /// Kept entries of every query.
    kept: Vec<Vec<u64>>,
    finished: usize,
    rows: usize,
}

impl Checkpoint {
    /// Reads what an earlier run of the same search left; anything else is not used.
    pub(crate) fn begin(queries: Queries<'_>, shards: &Shards, options: &Options<'_>) -> Self {
        let Some(path) = options.checkpoint else {
            return Self {
                place: None,
                found: None,
            };
        };
        let key = key(queries, shards, options);
        let found = std::fs::read(path)
            .ok()
            .and_then(|bytes| read(&bytes, &key));
        let place = Place {
            path: path.to_path_buf(),
            key,
            every: Duration::try_from_secs_f64(options.every).unwrap_or(Duration::MAX),
            last: Instant::now(),
        };
        Self {
            place: Some(place),
            found,
        }
    }

    /// The heaps of the group of `count` queries behind `before` others, and the rows that they have met.
    pub(crate) fn resume(
        &mut self,
        before: usize,
        count: usize,
        k: usize,
    ) -> (Option<Vec<TopK>>, usize) {
        let Some(found) = &mut self.found else {
            return (None, 0);
        };
        let finished = before + count <= found.finished;
        // Groups are cut by the memory that is given: with another cut only finished queries are of use.
        let open = before == found.finished && before + count == found.kept.len();
        if !finished && !open {
            return (None, 0);
        }
        let kept = found.kept[before..before + count]
            .iter_mut()
            .map(std::mem::take);
        let heaps = kept.map(|entries| TopK::from_entries(k, entries.into_iter()));
        let rows = if finished { usize::MAX } else { found.rows };
        (Some(heaps.collect()), rows)
    }

    /// Keeps the lists of finished queries and the open group's heaps, which have met the first `rows` passages. Where the
    /// state cannot be written the search goes on without.
    pub(crate) fn save(&mut self, before: &Lists, best: &Best, rows: usize) {
        let Some(place) = &mut self.place else {
            return;
        };
        if place.last.elapsed() < place.every {
            return;
        }
        match write(place, before, best, rows) {
            Ok(()) => place.last = Instant::now(),
            Err(_) => self.place = None,
        }
    }

    /// The search is over.
    pub(crate) fn end(self) {
        if let Some(place) = self.place {
            // Left behind, it would only be taken by the same search.
            let _ = std::fs::remove_file(place.path);
        }
    }
}

/// What decides the result.
fn key(queries: Queries<'_>, shards: &Shards, options: &Options<'_>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut number = |value: u64| {
        hasher.update(&value.to_le_bytes());
    };
    [
        VERSION,
        BATCH,
        queries.rows,
        queries.dimensions,
        options.k,
        options.only.len(),
    ]
    .into_iter()
    .for_each(|value| number(value as u64));
    for part in 0..shards.count() {
        let (_, rows) = shards.shard(part);
        let stamp = shards.stamp(part);
        [rows as u64, stamp.size, stamp.mtime_ns]
            .into_iter()
            .for_each(&mut number);
    }
    hasher.update(options.only);
    for values in queries.values.chunks(1 << 14) {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        hasher.update(&bytes);
    }
    *hasher.finalize().as_bytes()
}

fn write(place: &Place, before: &Lists, best: &Best, rows: usize) -> Result<()> {
    let finished = before.iter();
    let finished = finished.map(|list| list.iter().map(|(s, row)| goodness(*s, *row)).collect());
    let mut staged = Staged::create(&place.path)?;
    let mut crc = crc32fast::Hasher::new();
    let mut put = |bytes: &[u8]| {
        crc.update(bytes);
        staged.write(bytes)
    };
    put(MAGIC)?;
    put(&place.key)?;
    for value in [before.len(), best.len(), rows] {
        put(&(value as u64).to_le_bytes())?;
    }
    for entries in finished.chain(best.entries()) {
        let entries: Vec<u64> = entries;
        put(&(entries.len() as u64).to_le_bytes())?;
        let bytes: Vec<u8> = entries
            .iter()
            .flat_map(|entry| entry.to_le_bytes())
            .collect();
        put(&bytes)?;
    }
    let crc = crc.finalize();
    staged.write(&crc.to_le_bytes())?;
    staged.commit().map(|_| ())
}

/// The state in a file, or `None` where it is damaged or of another search.
fn read(bytes: &[u8], key: &[u8; 32]) -> Option<Found> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    let (head, _) = content.split_at_checked(HEAD)?;
    if &head[..8] != MAGIC
        || &head[8..40] != key
        || crc32fast::hash(content) != u32::from_le_bytes(*crc)
    {
        return None;
    }
    let (numbers, _) = content[40..].as_chunks::<8>();
    let mut numbers = numbers.iter().map(|word| u64::from_le_bytes(*word));
    let (finished, open, rows) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let mut kept = Vec::new();
    for _ in 0..finished + open {
        let count = numbers.next()?;
        kept.push(numbers.by_ref().take(count as usize).collect());
    }
    Some(Found {
        kept,
        finished: finished as usize,
        rows: rows as usize,
    })
}
