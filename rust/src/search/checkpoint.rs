//! What a search has found so far, on disk: a killed one goes on from there and ends with the same bytes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::best::{Best, Lists};
use super::options::{Options, Queries};
use crate::error::Result;
use crate::files::Staged;
use crate::shards::Shards;
use crate::topk::{TopK, goodness};

const MAGIC: &[u8; 8] = b"umr-find";
/// Raised with every change of what the state means.
const VERSION: usize = 2;

/// Keeps the state of a search, or does nothing where no path is given.
pub(crate) struct Checkpoint {
    file: Option<StateFile>,
    saved: Option<Saved>,
}

struct StateFile {
    path: PathBuf,
    key: [u8; 32],
    interval: Duration,
    last: Instant,
}

/// What an earlier run left.
struct Saved {
    /// Kept entries of every query.
    kept: Vec<Vec<u64>>,
    finished: usize,
    rows: usize,
}

impl Checkpoint {
    /// Reads what an earlier run of the same search left; anything else is not used.
    pub(crate) fn begin(queries: Queries<'_>, shards: &Shards, options: &Options<'_>) -> Self {
        let file = options.checkpoint.map(|path| StateFile {
            path: path.to_path_buf(),
            key: key(queries, shards, options),
            interval: Duration::try_from_secs_f64(options.checkpoint_seconds)
                .unwrap_or(Duration::MAX),
            last: Instant::now(),
        });
        let saved = file.as_ref().and_then(StateFile::read);
        Self { file, saved }
    }

    /// The heaps of the group of `count` queries behind `before` others, and the rows that they have met.
    pub(crate) fn resume(
        &mut self,
        before: usize,
        count: usize,
        k: usize,
    ) -> (Option<Vec<TopK>>, usize) {
        let Some(saved) = &mut self.saved else {
            return (None, 0);
        };
        let finished = before + count <= saved.finished;
        // Groups are cut by the memory that is given: with another cut only finished queries are of use.
        let open = before == saved.finished && before + count == saved.kept.len();
        if !finished && !open {
            return (None, 0);
        }
        let kept = saved.kept[before..before + count].iter_mut();
        let heaps = kept.map(|entries| TopK::from_entries(k, std::mem::take(entries)));
        let rows = if finished { usize::MAX } else { saved.rows };
        (Some(heaps.collect()), rows)
    }

    /// Keeps the lists of finished queries and the open group's heaps, which have met the first `rows` passages. Where the
    /// state cannot be written the search goes on without.
    pub(crate) fn save(&mut self, before: &Lists, best: &Best, rows: usize) {
        let Some(file) = &mut self.file else {
            return;
        };
        if file.last.elapsed() < file.interval {
            return;
        }
        match file.write(before, best, rows) {
            Ok(()) => file.last = Instant::now(),
            Err(_) => self.file = None,
        }
    }

    /// The search is over.
    pub(crate) fn end(self) {
        if let Some(file) = self.file {
            // Left behind, it would only be taken by the same search.
            let _ = std::fs::remove_file(file.path);
        }
    }
}

/// What decides the result.
fn key(queries: Queries<'_>, shards: &Shards, options: &Options<'_>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let (rows, dimensions) = (queries.rows, queries.dimensions);
    let sizes = [VERSION, rows, dimensions, options.k, options.only.len()].map(|size| size as u64);
    let parts = shards.parts().iter();
    let parts = parts.flat_map(|part| [part.rows as u64, part.stamp.size, part.stamp.mtime_ns]);
    for number in sizes.into_iter().chain(parts) {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(options.only);
    for values in queries.values.chunks(1 << 14) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        hasher.update(&bytes.collect::<Vec<u8>>());
    }
    *hasher.finalize().as_bytes()
}

impl StateFile {
    fn write(&self, before: &Lists, best: &Best, rows: usize) -> Result<()> {
        let mut staged = Staged::create(&self.path)?;
        let mut crc = crc32fast::Hasher::new();
        let mut put = |bytes: &[u8]| {
            crc.update(bytes);
            staged.write(bytes)
        };
        put(MAGIC)?;
        put(&self.key)?;
        for number in [before.len(), best.len(), rows] {
            put(&(number as u64).to_le_bytes())?;
        }
        let folded = |list: &Vec<(f32, u32)>| {
            let folded = list.iter().map(|(score, row)| goodness(*score, *row));
            folded.collect::<Vec<u64>>()
        };
        for entries in before.iter().map(folded).chain(best.entries()) {
            put(&(entries.len() as u64).to_le_bytes())?;
            let bytes = entries.iter().flat_map(|entry| entry.to_le_bytes());
            put(&bytes.collect::<Vec<u8>>())?;
        }
        let crc = crc.finalize();
        staged.write(&crc.to_le_bytes())?;
        staged.commit().map(|_| ())
    }

    /// The state in the file, or `None` where it is damaged or of another search.
    fn read(&self) -> Option<Saved> {
        let bytes = std::fs::read(&self.path).ok()?;
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        let numbers = content.strip_prefix(MAGIC)?.strip_prefix(&self.key)?;
        if crc32fast::hash(content) != u32::from_le_bytes(*crc) {
            return None;
        }
        let numbers = numbers.as_chunks::<8>().0.iter();
        let mut numbers = numbers.map(|word| u64::from_le_bytes(*word));
        let (finished, open, rows) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let mut kept = Vec::new();
        for _ in 0..finished + open {
            let count = numbers.next()?;
            kept.push(numbers.by_ref().take(count as usize).collect());
        }
        Some(Saved {
            kept,
            finished: finished as usize,
            rows: rows as usize,
        })
    }
}
