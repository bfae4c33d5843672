//! Screening changes nothing, whatever the numbers, the instructions and the copies are.

use super::*;
use crate::gemm::{Isa, Kind};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn screening_changes_nothing(
        d in 1usize..70, rows in 1usize..600, count in 24usize..60, k in 1usize..40,
        half in any::<bool>(), mean in -3.0f32..3.0, power in prop::sample::select(vec![0, 0, 0, -12, 9, -60, 50]),
        masked in any::<bool>(), seed in any::<u64>(),
    ) {
        let power = if half { power.clamp(-9, 9) } else { power };
        let mut passages = hard(seed, rows, d, mean, power);
        if half {
            passages.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32());
        }
        let queries = hard(seed ^ 1, count, d, mean / 2.0, -power);
        let only: Vec<u8> = (0..if masked { rows } else { 0 }).map(|row| u8::from(row % 3 != 1)).collect();
        let folder = tempfile::tempdir().unwrap();
        let dtype = if half { Dtype::F16 } else { Dtype::F32 };
        let opened = Shards::open(&shards(folder.path(), &passages, d, dtype), dtype, d).unwrap();
        let copies = [folder.path().join("a.int8"), folder.path().join("b.int8")];
        copy(&opened, &copies, 2, &Progress::default()).unwrap();
        let asked = Queries { values: &queries, rows: count, dimensions: d };
        let expected = expected(&queries, &passages, d, k, &only);
        for (at, isa) in [Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Portable].into_iter().enumerate() {
            if !isa.runs(Kind::Int8) {
                continue;
            }
            for copies in [&copies[..], &[]] {
                let options = Options { k, threads: at, only: &only, copies, memory: 1, isa: Some(isa), ..Options::default() };
                let progress = Progress::default();
                let ranked = search(asked, &opened, &options, &progress).unwrap();
                prop_assert_eq!(found(&ranked, count), expected.clone());
                prop_assert_eq!(progress.done(), count as u64);
            }
        }
    }
}

#[test]
fn copies_are_kept_remade_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    let passages = hard(3, 100, 7, 1.0, 0);
    let specs = shards(folder.path(), &passages, 7, Dtype::F32);
    let copies = [folder.path().join("a.int8"), folder.path().join("b.int8")];
    let make = || {
        let opened = Shards::open(&specs, Dtype::F32, 7).unwrap();
        copy(&opened, &copies, 0, &Progress::default()).map(|()| opened)
    };
    make().unwrap();
    let first = std::fs::read(&copies[1]).unwrap();
    let time = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
    let made = time(&copies[1]);
    make().unwrap();
    assert_eq!(time(&copies[1]), made);
    // The shard is written again with other values: its copy is made again.
    let other = hard(4, 100, 7, 1.0, 0);
    std::thread::sleep(std::time::Duration::from_millis(20));
    shards(folder.path(), &other, 7, Dtype::F32);
    make().unwrap();
    assert_ne!(std::fs::read(&copies[1]).unwrap(), first);
    let whole = std::fs::read(&copies[0]).unwrap();
    let mut spoiled = whole.clone();
    spoiled[50] ^= 1; // of the mean
    for bytes in [&whole[..whole.len() - 4], &spoiled[..], b"", b"umr-int8"] {
        std::fs::write(&copies[0], bytes).unwrap();
        make().unwrap();
        assert_eq!(std::fs::read(&copies[0]).unwrap(), whole);
    }
    // A shard that is replaced while it is mapped keeps no copy of what it was.
    let opened = make().unwrap();
    std::fs::remove_file(&copies[0]).unwrap();
    std::fs::write(
        &specs[0].path,
        vec![0; std::fs::metadata(&specs[0].path).unwrap().len() as usize],
    )
    .unwrap();
    assert!(matches!(
        copy(&opened, &copies, 0, &Progress::default()),
        Err(Error::Storage { .. })
    ));
    assert!(!copies[0].exists());
    assert!(matches!(
        copy(
            &Shards::open(&specs, Dtype::F32, 7).unwrap(),
            &copies[..1],
            0,
            &Progress::default()
        ),
        Err(Error::Shape { .. })
    ));
}

#[test]
fn scores_beyond_f32_are_refused_however_many_are_screened() {
    let folder = tempfile::tempdir().unwrap();
    let mut passages = vec![1e-3f32; 400];
    passages[301] = 3e38;
    let opened = Shards::open(
        &shards(folder.path(), &passages, 4, Dtype::F32),
        Dtype::F32,
        4,
    )
    .unwrap();
    let queries = vec![-9.0f32; 4 * 30];
    let asked = Queries {
        values: &queries,
        rows: 30,
        dimensions: 4,
    };
    let options = Options {
        k: 1,
        threads: 1,
        ..Options::default()
    };
    let error = search(asked, &opened, &options, &Progress::default()).unwrap_err();
    assert!(
        error.to_string().contains("passage row 75: overflow"),
        "{error}"
    );
}

#[test]
fn where_nothing_can_be_left_out_the_first_rows_win() {
    let folder = tempfile::tempdir().unwrap();
    let passages = [0.5f32, -0.25, 3.0].repeat(900);
    let opened = Shards::open(
        &shards(folder.path(), &passages, 3, Dtype::F32),
        Dtype::F32,
        3,
    )
    .unwrap();
    // Queries of zeros, and queries for which all passages are equal.
    let queries: Vec<f32> = (0..90).map(|at| if at < 45 { 0.0 } else { 1.5 }).collect();
    let asked = Queries {
        values: &queries,
        rows: 30,
        dimensions: 3,
    };
    let options = Options {
        k: 7,
        threads: 3,
        ..Options::default()
    };
    let ranked = search(asked, &opened, &options, &Progress::default()).unwrap();
    assert_eq!(ranked.rows, (0..7).collect::<Vec<u32>>().repeat(30));
    assert!(ranked.scores[..105].iter().all(|score| *score == 0.0));
    assert!(ranked.scores[105..].iter().all(|score| *score == 4.875));
}
