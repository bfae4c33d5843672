//! Search against sorting everything.

use super::*;
use crate::dot::dot;
use crate::shards::{Dtype, ShardSpec};
use half::f16;
use proptest::prelude::*;
use std::path::Path;

mod checkpoints;
mod screening;
mod tight;

/// Writes rows as two shards behind a few bytes of something else.
fn shards(folder: &Path, values: &[f32], d: usize, dtype: Dtype) -> Vec<ShardSpec> {
    let rows = values.len() / d;
    let cut = rows / 3;
    let parts = [&values[..cut * d], &values[cut * d..]];
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

fn by_sorting(queries: &[f32], passages: &[f32], d: usize, k: usize) -> Vec<(f32, u32)> {
    let one = |query: &[f32]| {
        let score = |passage| dot(query, passage) + 0.0;
        let scored = passages.chunks(d).map(score).zip(0..);
        let mut all: Vec<(f32, u32)> = scored.collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        all.truncate(k);
        all
    };
    queries.chunks(d).flat_map(one).collect()
}

fn bits(ranked: &Ranked) -> Vec<(u32, u32)> {
    ranked
        .scores
        .iter()
        .map(|score| score.to_bits())
        .zip(ranked.rows.clone())
        .collect()
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
        let queries: Vec<f32> = (0..count * d).map(|at| draw(at + 100_000)).collect();
        let folder = tempfile::tempdir().unwrap();
        let dtype = if half { Dtype::F16 } else { Dtype::F32 };
        let specs = shards(folder.path(), &passages, d, dtype);
        let opened = Shards::open(&specs, dtype, d).unwrap();
        let asked = Queries { values: &queries, rows: count, dimensions: d };
        let expected: Vec<_> = by_sorting(&queries, &passages, d, k).into_iter()
            .map(|(score, row)| (score.to_bits(), row)).collect();
        for threads in [0, 1, 3] {
            let progress = Progress::default();
            let options = Options { k, threads, ..Options::default() };
            let found = search(asked, &opened, &options, &progress).unwrap();
            prop_assert_eq!(bits(&found), expected.clone());
            prop_assert_eq!(progress.done(), count as u64);
        }
    }
}

fn attempt(queries: &[f32], passages: &[f32], d: usize) -> Result<Ranked> {
    let folder = tempfile::tempdir().unwrap();
    let specs = shards(folder.path(), passages, d, Dtype::F32);
    let opened = Shards::open(&specs, Dtype::F32, d)?;
    let asked = Queries {
        values: queries,
        rows: queries.len() / d,
        dimensions: d,
    };
    let options = Options {
        k: 2,
        threads: 1,
        ..Options::default()
    };
    search(asked, &opened, &options, &Progress::default())
}

#[test]
fn values_that_are_not_finite_name_their_row() {
    let message = |outcome: Result<Ranked>| match outcome {
        Err(Error::NotFinite { message, .. }) => message,
        other => panic!("{other:?}"),
    };
    let passages = [1.0, 2.0, 3.0, 4.0, f32::NAN, 6.0];
    assert!(message(attempt(&[1.0, 1.0], &passages, 2)).contains("passage row 2"));
    assert!(message(attempt(&[1.0, f32::INFINITY], &[1.0, 1.0], 2)).contains("query row 0"));
    assert!(message(attempt(&[3e38, 3e38], &[9.0, 9.0], 2)).contains("overflow"));
}

#[test]
fn sizes_must_fit_and_stopping_works() {
    let folder = tempfile::tempdir().unwrap();
    let specs = shards(folder.path(), &[1.0; 12], 2, Dtype::F32);
    assert!(matches!(
        Shards::open(&specs, Dtype::F32, 3),
        Err(Error::Storage { .. })
    ));
    assert!(matches!(
        Shards::open(&specs, Dtype::F16, 2),
        Err(Error::Storage { .. })
    ));
    let opened = Shards::open(&specs, Dtype::F32, 2).unwrap();
    let asked = Queries {
        values: &[1.0, 1.0],
        rows: 1,
        dimensions: 2,
    };
    let progress = Progress::default();
    let one = Options {
        k: 1,
        threads: 1,
        ..Options::default()
    };
    assert!(matches!(
        search(asked, &opened, &Options::default(), &progress),
        Err(Error::Shape { .. })
    ));
    progress.stop();
    assert!(matches!(
        search(asked, &opened, &one, &progress),
        Err(Error::Interrupted)
    ));
    let nothing = Shards::open(&[], Dtype::F32, 2).unwrap();
    assert_eq!(
        search(asked, &nothing, &one, &Progress::default())
            .unwrap()
            .width,
        0
    );
}

/// Real numbers with everything that screening could stumble over: a common mean, copies, zeros, and other scales.
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

fn expected(
    queries: &[f32],
    passages: &[f32],
    d: usize,
    k: usize,
    only: &[u8],
) -> Vec<Vec<(u32, u32)>> {
    let rows = passages.len() / d;
    let all = by_sorting(queries, passages, d, rows);
    let open = |(_, row): &&(f32, u32)| only.is_empty() || only[*row as usize] != 0;
    let list = |list: &[(f32, u32)]| {
        let kept = list.iter().filter(open).take(k);
        kept.map(|(score, row)| (score.to_bits(), *row)).collect()
    };
    all.chunks(rows).map(list).collect()
}

fn found(ranked: &Ranked, count: usize) -> Vec<Vec<(u32, u32)>> {
    let kept = |list: &[(u32, u32)]| {
        list.iter()
            .filter(|(_, row)| *row != u32::MAX)
            .copied()
            .collect()
    };
    if ranked.width == 0 {
        return vec![Vec::new(); count];
    }
    bits(ranked).chunks(ranked.width).map(kept).collect()
}
