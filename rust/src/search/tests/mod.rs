//! Search against sorting everything.

use super::*;
use crate::dot::dot;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::shards::{Dtype, ShardSpec, Shards};
use crate::topk::Ranked;
use half::f16;
use proptest::prelude::*;
use std::path::Path;

mod checkpoints;
mod int8_shards;
mod screening;
mod tight;

/// A list of a query: bits of the scores, and rows.
type List = Vec<(u32, u32)>;

/// Writes rows as two shards behind a few bytes of something else.
fn write(folder: &Path, values: &[f32], d: usize, dtype: Dtype) -> Vec<ShardSpec> {
    let cut = values.len() / d / 3 * d;
    let parts = [&values[..cut], &values[cut..]];
    let write = |(at, part): (usize, &&[f32])| {
        let mut bytes = vec![7; at * 3];
        for value in *part {
            match dtype {
                Dtype::F32 => bytes.extend(value.to_le_bytes()),
                Dtype::F16 => bytes.extend(f16::from_f32(*value).to_le_bytes()),
            }
        }
        let path = folder.join(at.to_string());
        std::fs::write(&path, bytes).unwrap();
        ShardSpec {
            path,
            offset: at * 3,
            rows: part.len() / d,
        }
    };
    parts.iter().enumerate().map(write).collect()
}

/// Two shards of f32.
fn opened(folder: &Path, values: &[f32], d: usize) -> Shards {
    Shards::open(&write(folder, values, d, Dtype::F32), Dtype::F32, d).unwrap()
}

fn queries(values: &[f32], d: usize) -> Queries<'_> {
    Queries {
        values,
        rows: values.len() / d,
        dimensions: d,
    }
}

fn options<'a>(k: usize, threads: usize) -> Options<'a> {
    Options {
        k,
        threads,
        ..Options::default()
    }
}

/// The k best of every query among the marked passages, by sorting all of them.
fn by_sorting(queries: &[f32], passages: &[f32], d: usize, k: usize, only: &[u8]) -> Vec<List> {
    let one = |query: &[f32]| {
        let scores = passages.chunks(d).map(|passage| dot(query, passage) + 0.0);
        let mut all: Vec<(f32, u32)> = scores.zip(0..).collect();
        all.retain(|(_, row)| only.is_empty() || only[*row as usize] != 0);
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let best = all.into_iter().take(k);
        best.map(|(score, row)| (score.to_bits(), row)).collect()
    };
    queries.chunks(d).map(one).collect()
}

/// The lists of a search without their padding.
fn found(ranked: &Ranked, count: usize) -> Vec<List> {
    let list = |query: usize| {
        let cells = query * ranked.width..(query + 1) * ranked.width;
        let pairs = cells.map(|at| (ranked.scores[at].to_bits(), ranked.rows[at]));
        pairs.filter(|(_, row)| *row != u32::MAX).collect()
    };
    (0..count).map(list).collect()
}

/// Real numbers with everything that screening could stumble over: a common mean, equal rows, zeros, and other scales.
fn hard(seed: u64, rows: usize, d: usize, mean: f32, power: i32) -> Vec<f32> {
    let unit = |at: usize| crate::sample::permutation(seed, at as u64, 997)[0] as f32 / 498.0 - 1.0;
    let scale = 2.0f32.powi(power);
    let mut values: Vec<f32> = (0..rows * d).map(|at| (unit(at) + mean) * scale).collect();
    for row in (3..rows).step_by(5) {
        let (before, from) = values.split_at_mut(row * d);
        match row % 3 {
            0 => from[..d].fill(0.0),
            1 => from[..d].copy_from_slice(&before[..d]),
            _ => from[..d].iter_mut().for_each(|value| *value *= 1e-3),
        }
    }
    values
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn searching_equals_a_full_sort_at_any_thread_count(
        d in 1usize..20, rows in 1usize..150, count in 1usize..40, k in 1usize..30,
        half in any::<bool>(), seed in any::<u64>(),
    ) {
        // Small integers tie often, which is what the order is about.
        let draw = |at: usize| (crate::sample::permutation(seed, at as u64, 7)[0] as f32 - 3.0) / 2.0;
        let passages: Vec<f32> = (0..rows * d).map(draw).collect();
        let values: Vec<f32> = (0..count * d).map(|at| draw(at + 100_000)).collect();
        let folder = tempfile::tempdir().unwrap();
        let dtype = if half { Dtype::F16 } else { Dtype::F32 };
        let shards = Shards::open(&write(folder.path(), &passages, d, dtype), dtype, d).unwrap();
        let expected = by_sorting(&values, &passages, d, k, &[]);
        for threads in [0, 1, 3] {
            let progress = Progress::default();
            let ranked = search(queries(&values, d), &shards, &options(k, threads), &progress).unwrap();
            prop_assert_eq!(found(&ranked, count), expected.clone());
            prop_assert_eq!(progress.done(), count as u64);
        }
    }
}

#[test]
fn values_that_are_not_finite_name_their_row() {
    let message = |values: &[f32], passages: &[f32]| {
        let folder = tempfile::tempdir().unwrap();
        let shards = opened(folder.path(), passages, 2);
        match search(
            queries(values, 2),
            &shards,
            &options(2, 1),
            &Progress::default(),
        ) {
            Err(Error::NotFinite { message, .. }) => message,
            other => panic!("{other:?}"),
        }
    };
    let passages = [1.0, 2.0, 3.0, 4.0, f32::NAN, 6.0];
    assert!(message(&[1.0, 1.0], &passages).contains("passage row 2"));
    assert!(message(&[1.0, f32::INFINITY], &[1.0, 1.0]).contains("query row 0"));
    assert!(message(&[3e38, 3e38], &[9.0, 9.0]).contains("overflow"));
}

#[test]
fn sizes_must_fit_and_stopping_works() {
    let folder = tempfile::tempdir().unwrap();
    let specs = write(folder.path(), &[1.0; 12], 2, Dtype::F32);
    for (dtype, d) in [(Dtype::F32, 3), (Dtype::F16, 2)] {
        let outcome = Shards::open(&specs, dtype, d);
        assert!(matches!(outcome, Err(Error::Storage { .. })));
    }
    let shards = Shards::open(&specs, Dtype::F32, 2).unwrap();
    let query = queries(&[1.0, 1.0], 2);
    let progress = Progress::default();
    let outcome = search(query, &shards, &Options::default(), &progress);
    assert!(matches!(outcome, Err(Error::Shape { .. })));
    progress.stop();
    let outcome = search(query, &shards, &options(1, 1), &progress);
    assert!(matches!(outcome, Err(Error::Interrupted)));
    let nothing = Shards::open(&[], Dtype::F32, 2).unwrap();
    let ranked = search(query, &nothing, &options(1, 1), &Progress::default());
    assert_eq!(ranked.unwrap().width, 0);
}
