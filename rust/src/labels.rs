//! Joining score segments with the pairs that are wanted, in memory that grows with the wanted pairs alone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::Path;

use crate::error::{Error, Result};
use crate::files;
use crate::fingerprint::Key;
use crate::progress::Progress;
use crate::scores::{Pair, Segment};

/// Records read between two polls of the stop flag.
const POLL: u64 = 1 << 16;

/// What was met while merging.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeStats {
    /// Intact records read, wanted or not.
    pub records: u64,
    /// Segments that end in something torn.
    pub torn: u64,
    /// Wanted pairs met again with the same score.
    pub duplicates: u64,
    /// Wanted pairs met again with another score; the first one stays.
    pub conflicts: u64,
}

/// The score of every wanted pair (NaN where no segment has it); the first record of a pair wins. Counts records.
pub fn merge_scores(
    paths: &[&Path],
    queries: &[Key],
    passages: &[Key],
    progress: &Progress,
) -> Result<(Vec<f32>, MergeStats)> {
    if queries.len() != passages.len() {
        let message = format!(
            "{} query keys and {} passage keys",
            queries.len(),
            passages.len()
        );
        return Err(Error::shape(message));
    }
    let mut table = Wanted::new(queries, passages);
    let mut stats = MergeStats::default();
    for path in paths {
        let bytes = files::map(path)?;
        let mut seen = 0;
        let (records, torn) = Segment::parse(path, &bytes)?.each(|pair, score| {
            seen += 1;
            if seen % POLL == 0 {
                progress.poll()?;
                progress.add(POLL as usize);
            }
            table.offer(pair, score, &mut stats);
            Ok(())
        })?;
        progress.add((records % POLL) as usize);
        stats.records += records;
        stats.torn += u64::from(torn);
    }
    Ok((table.scores(queries, passages), stats))
}

/// The first score of each wanted pair; NaN while there is none, which no record can hold.
struct Wanted(HashMap<Pair, f32, BuildHasherDefault<KeyHasher>>);

impl Wanted {
    fn new(queries: &[Key], passages: &[Key]) -> Self {
        let pairs = queries.iter().copied().zip(passages.iter().copied());
        Self(pairs.map(|pair| (pair, f32::NAN)).collect())
    }

    fn offer(&mut self, pair: Pair, score: f32, stats: &mut MergeStats) {
        let Entry::Occupied(mut entry) = self.0.entry(pair) else {
            return;
        };
        let first = *entry.get();
        if first.is_nan() {
            entry.insert(score);
        } else if first == score {
            stats.duplicates += 1;
        } else {
            stats.conflicts += 1;
        }
    }

    fn scores(&self, queries: &[Key], passages: &[Key]) -> Vec<f32> {
        let pairs = queries.iter().copied().zip(passages.iter().copied());
        pairs
            .map(|pair| self.0.get(&pair).copied().unwrap_or(f32::NAN))
            .collect()
    }
}

/// Keys are digests already: folding their words spreads them well enough.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, _length: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::ScoreLog;
    use proptest::prelude::*;

    fn key(word: u8) -> Key {
        [u64::from(word), 7]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn merging_equals_a_loop_over_a_map(
            segments in prop::collection::vec(
                prop::collection::vec((0u8..4, 0u8..4, -2i8..2), 0..12), 0..4),
            wanted in prop::collection::vec((0u8..5, 0u8..5), 0..20),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut paths = Vec::new();
            let mut first = HashMap::new();
            let mut expected = MergeStats::default();
            for (at, records) in segments.iter().enumerate() {
                let path = folder.path().join(at.to_string());
                let mut log = ScoreLog::create(&path).unwrap();
                let queries: Vec<_> = records.iter().map(|record| key(record.0)).collect();
                let passages: Vec<_> = records.iter().map(|record| key(record.1)).collect();
                let scores: Vec<_> = records.iter().map(|record| f32::from(record.2)).collect();
                log.append(&queries, &passages, &scores).unwrap();
                paths.push(path);
                for (q, p, score) in records {
                    expected.records += 1;
                    let known = *first.entry((*q, *p)).or_insert(None::<i8>).get_or_insert(i8::MAX);
                    let is_wanted = wanted.contains(&(*q, *p));
                    if known == i8::MAX {
                        first.insert((*q, *p), Some(*score));
                    } else if is_wanted && known == *score {
                        expected.duplicates += 1;
                    } else if is_wanted {
                        expected.conflicts += 1;
                    }
                }
            }
            let paths: Vec<&Path> = paths.iter().map(|path| path.as_path()).collect();
            let queries: Vec<_> = wanted.iter().map(|pair| key(pair.0)).collect();
            let passages: Vec<_> = wanted.iter().map(|pair| key(pair.1)).collect();
            let (scores, stats) =
                merge_scores(&paths, &queries, &passages, &Progress::default()).unwrap();
            prop_assert_eq!(stats, expected);
            for (pair, score) in wanted.iter().zip(scores) {
                match first.get(pair).copied().flatten() {
                    Some(expected) => prop_assert_eq!(score, f32::from(expected)),
                    None => prop_assert!(score.is_nan()),
                }
            }
        }
    }
}
