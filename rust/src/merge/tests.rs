//! Merging against a loop over a map.

use super::*;
use crate::error::Error;
use crate::fingerprint::Key;
use crate::scores::{HEADER, RECORD, ScoreLog, decode, encode};
use proptest::prelude::*;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A segment: its records (query, passage, score), and the record whose bytes are damaged, if there is one.
type Written = (Vec<(u8, u8, i8)>, Option<usize>);

const STORE: &str = "store";

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
    ScoreLog::create(&path, STORE).unwrap();
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

/// One record after another into a map.
fn twin(
    store: &[PathBuf],
    queries: &[Key],
    passages: &[Key],
    rows: &[Vec<u32>],
) -> (Vec<f32>, Counts) {
    let mut first: HashMap<(Key, Key), f32> = HashMap::new();
    let mut counts = Counts::default();
    let passage = |row: &u32| passages.get(*row as usize).copied();
    for path in store {
        let bytes = std::fs::read(path).unwrap();
        let (records, _) = bytes
            .get(HEADER..)
            .unwrap_or_default()
            .as_chunks::<RECORD>();
        let intact: Vec<_> = records.iter().filter_map(decode).collect();
        counts.torn += u64::from(bytes.len() != HEADER + RECORD * records.len());
        if intact.len() < records.len() {
            let records = Some((records.len() - intact.len()) as u64);
            let path = path.clone();
            counts.flaws.push(Flaw { path, records });
        }
        counts.records += intact.len() as u64;
        for (pair, score) in intact.into_iter().filter(|record| !record.1.is_nan()) {
            let Some(known) = first.insert(pair, score) else {
                continue;
            };
            first.insert(pair, known);
            let wants = |row: &[u32]| row.iter().any(|row| passage(row) == Some(pair.1));
            let asked = queries.iter().zip(rows);
            let asked = asked.filter(|(query, row)| **query == pair.0 && wants(row));
            if known == score {
                counts.duplicates += asked.count() as u64;
            } else {
                counts.conflicts += asked.count() as u64;
            }
        }
    }
    let score = |query: &Key, row: &u32| first.get(&(*query, passage(row)?)).copied();
    let pairs = queries.iter().zip(rows);
    let pairs = pairs.flat_map(|(query, row)| row.iter().map(move |row| (query, row)));
    let scores = pairs.map(|(query, row)| score(query, row).unwrap_or(f32::NAN));
    (scores.collect(), counts)
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
    (passages, 0usize..40).prop_flat_map(|(passages, k)| {
        let row = prop_oneof![5 => 0..passages.len() as u32, 1 => Just(NO_PASSAGE)];
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
    fn merging_equals_a_loop_over_a_map(stores in stores(), (queries, passages, rows) in asked()) {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<Store> = stores.iter().enumerate().map(|(m, store)| {
            let paths = store.iter().enumerate().map(|(s, written)| write(folder.path(), &format!("{m}-{s}"), written));
            (STORE.to_owned(), paths.collect())
        }).collect();
        let query_keys: Vec<Key> = queries.iter().map(|q| key(*q)).collect();
        let passage_keys: Vec<Key> = passages.iter().map(|p| key(*p)).collect();
        let k = rows.first().map_or(0, Vec::len);
        let wanted = Wanted { queries: &query_keys, passages: &passage_keys, rows: &rows.concat(), k };
        let expected = paths.iter().map(|(_, paths)| twin(paths, &query_keys, &passage_keys, &rows));
        let (expected, expected_counts): (Vec<_>, Vec<_>) = expected.unzip();
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let merged = pool.install(|| merge_stores(&paths, &wanted, &Progress::default()));
            let (scores, counts) = merged.unwrap();
            prop_assert_eq!(bits(&scores), bits(&expected.concat()));
            prop_assert_eq!(&counts, &expected_counts);
        }
    }
}

#[test]
fn what_must_be_refused_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a", &(vec![(1, 1, 1)], None));
    let keys = [[1, 7]];
    let merge = |rows: &[u32], k, paths: &[PathBuf], progress: &Progress| {
        let (queries, passages) = (&keys, &keys);
        let wanted = Wanted {
            queries,
            passages,
            rows,
            k,
        };
        merge_stores(&[(STORE.to_owned(), paths.to_vec())], &wanted, progress)
    };
    let progress = Progress::default();
    let beyond = merge(&[1], 1, &[], &progress);
    assert!(matches!(beyond, Err(Error::Shape { .. })));
    let uneven = merge(&[0], 2, &[], &progress);
    assert!(matches!(uneven, Err(Error::Shape { .. })));
    let missing = [path.clone(), folder.path().join("none")];
    let missing = merge(&[0], 1, &missing, &progress);
    assert!(matches!(missing, Err(Error::Input { .. })));
    progress.stop();
    let stopped = merge(&[0], 1, &[path], &progress);
    assert!(matches!(stopped, Err(Error::Interrupted)));
}

#[test]
fn segments_of_other_stores_and_without_a_header_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let good = write(folder.path(), "good", &(vec![(1, 1, 1)], None));
    let bad = write(folder.path(), "bad", &(vec![(1, 1, 0)], None));
    let mut bytes = std::fs::read(&bad).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&bad, bytes).unwrap();
    let keys = [key(1)];
    let wanted = Wanted {
        queries: &keys,
        passages: &keys,
        rows: &[0],
        k: 1,
    };
    let store = (STORE.to_owned(), vec![bad.clone(), good]);
    let (scores, counts) = merge_stores(&[store], &wanted, &Progress::default()).unwrap();
    assert_eq!(scores, [1.0]);
    let (path, records) = (bad, None);
    assert_eq!(counts[0].flaws, [Flaw { path, records }]);
    assert_eq!(counts[0].records, 1);
}
