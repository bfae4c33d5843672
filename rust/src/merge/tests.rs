//! Merging against a loop over a map.

use super::*;
use crate::fingerprint::Key;
use crate::scores::{HEADER, RECORD, ScoreLog, encode};
use proptest::prelude::*;
use std::collections::HashMap;
use std::path::Path;

/// A segment: its records (query, passage, score), and the record whose bytes are damaged, if there is one.
type Written = (Vec<(u8, u8, i8)>, Option<usize>);
/// The first score of every pair, and every record that was read.
type Read = (HashMap<(u8, u8), f32>, Vec<(u8, u8, f32)>);

fn key(word: u8) -> Key {
    [u64::from(word), 7]
}

/// -2 stands for what no log takes but a file could hold.
fn score_of(number: i8) -> f32 {
    if number == -2 {
        f32::NAN
    } else {
        f32::from(number)
    }
}

fn write(folder: &Path, name: &str, (records, damaged): &Written) -> PathBuf {
    let path = folder.join(name);
    ScoreLog::create(&path).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    for (query, passage, score) in records {
        bytes.extend(encode((key(*query), key(*passage)), score_of(*score)));
    }
    match damaged {
        Some(at) if *at < records.len() => bytes[HEADER + at * RECORD + 33] ^= 4,
        Some(at) => bytes.truncate(bytes.len().saturating_sub(*at)),
        None => {}
    }
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The records of a segment that count, and whether it is torn.
fn intact((records, damaged): &Written) -> (Vec<(u8, u8, f32)>, bool) {
    let kept = match damaged {
        Some(at) if *at < records.len() => *at,
        Some(at) => (records.len() * RECORD).saturating_sub(*at) / RECORD,
        None => records.len(),
    };
    let bytes = HEADER + records.len() * RECORD;
    let torn = damaged.is_some_and(|at| {
        let left = bytes.saturating_sub(at);
        at < records.len() || left < HEADER || !(left - HEADER).is_multiple_of(RECORD)
    });
    let records = records[..kept].iter().map(|r| (r.0, r.1, score_of(r.2)));
    (records.collect(), torn)
}

fn twin(
    store: &[Written],
    queries: &[u8],
    passages: &[u8],
    rows: &[Vec<u32>],
) -> (Vec<f32>, MergeStats) {
    let (mut first, mut read): Read = (HashMap::new(), Vec::new());
    let mut stats = MergeStats::default();
    for written in store {
        let (records, torn) = intact(written);
        stats.torn += u64::from(torn);
        stats.records += records.len() as u64;
        read.extend(records);
    }
    for (query, passage, score) in read {
        if score.is_nan() {
            continue;
        }
        let known = *first.entry((query, passage)).or_insert(f32::NAN);
        if known.is_nan() {
            first.insert((query, passage), score);
            continue;
        }
        let wants = |row: &Vec<u32>| {
            row.iter()
                .any(|r| passages.get(*r as usize) == Some(&passage))
        };
        let asked = queries
            .iter()
            .zip(rows)
            .filter(|(q, row)| **q == query && wants(row))
            .count() as u64;
        if known == score {
            stats.duplicates += asked;
        } else {
            stats.conflicts += asked;
        }
    }
    let mut scores = Vec::new();
    for (query, row) in queries.iter().zip(rows) {
        for passage in row {
            let passage = passages.get(*passage as usize);
            let score = passage.and_then(|p| first.get(&(*query, *p)));
            scores.push(score.copied().unwrap_or(f32::NAN));
        }
    }
    (scores, stats)
}

fn bits(scores: &[f32]) -> Vec<u32> {
    scores.iter().map(|score| score.to_bits()).collect()
}

fn stores() -> impl Strategy<Value = Vec<Vec<Written>>> {
    let record = (0u8..5, 0u8..12, -2i8..2);
    let written = (
        prop::collection::vec(record, 0..40),
        prop::option::weighted(0.3, 0usize..90),
    );
    prop::collection::vec(prop::collection::vec(written, 0..4), 0..3)
}

fn asked() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Vec<Vec<u32>>)> {
    let passages = prop::collection::vec(0u8..14, 1..16);
    (passages, 0usize..14).prop_flat_map(|(passages, k)| {
        let row = prop_oneof![5 => 0..passages.len() as u32, 1 => Just(NONE)];
        let query = (0u8..6, prop::collection::vec(row, k));
        let queries = prop::collection::vec(query, 0..12);
        (Just(passages), queries).prop_map(|(passages, queries)| {
            let (queries, rows) = queries.into_iter().unzip();
            (queries, passages, rows)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn merging_equals_a_loop_over_a_map(stores in stores(), (queries, passages, rows) in asked(), memory in 0u64..200) {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<Vec<PathBuf>> = stores.iter().enumerate().map(|(m, store)| {
            store.iter().enumerate().map(|(s, written)| write(folder.path(), &format!("{m}-{s}"), written)).collect()
        }).collect();
        let query_keys: Vec<Key> = queries.iter().map(|q| key(*q)).collect();
        let passage_keys: Vec<Key> = passages.iter().map(|p| key(*p)).collect();
        let flat = rows.concat();
        let k = rows.first().map_or(0, Vec::len);
        let wanted = Wanted::matrix(&query_keys, &passage_keys, &flat, k);
        let expected: Vec<_> = stores.iter().map(|store| twin(store, &queries, &passages, &rows)).collect();
        let expected_scores: Vec<f32> = expected.iter().flat_map(|(scores, _)| scores.clone()).collect();
        for (memory, threads) in [(0, 1), (0, 2), (memory, 2)] {
            let progress = Progress::default();
            let merged = merge_stores(&paths, &wanted, None, Options { memory, threads }, &progress).unwrap();
            prop_assert_eq!(bits(&merged.scores), bits(&expected_scores));
            for (found, (_, stats)) in merged.stats.iter().zip(&expected) {
                prop_assert_eq!(found, stats);
            }
            prop_assert_eq!(merged.torn.len() as u64, expected.iter().map(|e| e.1.torn).sum::<u64>());
            prop_assert_eq!(progress.done(), expected.iter().map(|e| e.1.records).sum::<u64>());
        }
        let place = folder.path().join("scores.npy");
        let target = Target { path: &place, shape: [stores.len(), queries.len(), k] };
        merge_stores(&paths, &wanted, Some(target), Options { memory, threads: 0 }, &Progress::default()).unwrap();
        let bytes: Vec<u8> = expected_scores.iter().flat_map(|s| s.to_le_bytes()).collect();
        prop_assert_eq!(&std::fs::read(&place).unwrap()[128..], &bytes[..]);
    }

    #[test]
    fn pairs_in_any_order_equal_a_loop_over_a_map(store in stores(), pairs in prop::collection::vec((0u8..6, 0u8..14), 0..60)) {
        let folder = tempfile::tempdir().unwrap();
        let store = store.first().cloned().unwrap_or_default();
        let paths: Vec<_> = store.iter().enumerate().map(|(s, w)| write(folder.path(), &s.to_string(), w)).collect();
        let queries: Vec<Key> = pairs.iter().map(|pair| key(pair.0)).collect();
        let passages: Vec<Key> = pairs.iter().map(|pair| key(pair.1)).collect();
        let (scores, stats) = merge_scores(&paths, &queries, &passages, &Progress::default()).unwrap();
        let numbers: Vec<u8> = (0..14).collect();
        let row = |query: u8| pairs.iter().filter(|p| p.0 == query).map(|p| u32::from(p.1)).collect();
        let rows: Vec<Vec<u32>> = (0..6).map(row).collect();
        let (expected, expected_stats) = twin(&store, &[0, 1, 2, 3, 4, 5], &numbers, &rows);
        prop_assert_eq!(stats, expected_stats);
        let mut grouped: Vec<usize> = (0..pairs.len()).collect();
        grouped.sort_by_key(|at| pairs[*at].0);
        let grouped: Vec<f32> = grouped.into_iter().map(|at| scores[at]).collect();
        prop_assert_eq!(bits(&grouped), bits(&expected));
    }
}

#[test]
fn what_must_be_refused_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a", &(vec![(1, 1, 1)], None));
    let keys = [[1, 7]];
    let merge = |rows: &[u32], k, paths: &[PathBuf], progress: &Progress| {
        let wanted = Wanted::matrix(&keys, &keys, rows, k);
        let target = Target {
            path: &folder.path().join("out"),
            shape: [1, 1, k],
        };
        merge_stores(
            &[paths.to_vec()],
            &wanted,
            Some(target),
            Options::default(),
            progress,
        )
    };
    let progress = Progress::default();
    assert!(matches!(
        merge(&[1], 1, &[], &progress),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        merge(&[0], 2, &[], &progress),
        Err(Error::Shape { .. })
    ));
    let missing = [path.clone(), folder.path().join("none")];
    assert!(matches!(
        merge(&[0], 1, &missing, &progress),
        Err(Error::Input { .. })
    ));
    progress.stop();
    assert!(matches!(
        merge(&[0], 1, &[path], &progress),
        Err(Error::Interrupted)
    ));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let uneven = merge_scores(&[], &keys, &[], &Progress::default());
    assert!(matches!(uneven, Err(Error::Shape { .. })));
}
