//! Screening changes nothing, whatever the numbers, the instructions and the int8 shards are.

use super::*;

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
        let values = hard(seed ^ 1, count, d, mean / 2.0, -power);
        let only: Vec<u8> = (0..if masked { rows } else { 0 }).map(|row| u8::from(row % 3 != 1)).collect();
        let folder = tempfile::tempdir().unwrap();
        let dtype = if half { Dtype::F16 } else { Dtype::F32 };
        let shards = Shards::open(&write(folder.path(), &passages, d, dtype), dtype, d).unwrap();
        let int8_shards = [folder.path().join("a.int8"), folder.path().join("b.int8")];
        write_int8_shards(&shards, &int8_shards, 2, &Progress::default()).unwrap();
        let expected = by_sorting(&values, &passages, d, k, &only);
        for (at, isa) in Isa::all().enumerate() {
            for int8_shards in [&int8_shards[..], &[]] {
                let options = Options { only: &only, int8_shards, memory: 1, isa: Some(isa), ..options(k, at) };
                let progress = Progress::default();
                let ranked = search(queries(&values, d), &shards, &options, &progress).unwrap();
                prop_assert_eq!(found(&ranked, count), expected.clone(), "{:?}", isa);
                prop_assert_eq!(progress.done(), count as u64);
            }
        }
    }
}

#[test]
fn scores_beyond_f32_are_refused_however_many_are_screened() {
    let folder = tempfile::tempdir().unwrap();
    let mut passages = vec![1e-3f32; 400];
    passages[301] = 3e38;
    let shards = opened(folder.path(), &passages, 4);
    let values = vec![-9.0f32; 4 * 30];
    let outcome = search(
        queries(&values, 4),
        &shards,
        &options(1, 1),
        &Progress::default(),
    );
    let message = outcome.unwrap_err().to_string();
    assert!(message.contains("passage row 75: overflow"), "{message}");
}

#[test]
fn where_nothing_can_be_left_out_the_first_rows_win() {
    let folder = tempfile::tempdir().unwrap();
    let shards = opened(folder.path(), &[0.5f32, -0.25, 3.0].repeat(900), 3);
    // Queries of zeros, and queries for which all passages are equal.
    let values: Vec<f32> = (0..90).map(|at| if at < 45 { 0.0 } else { 1.5 }).collect();
    let ranked = search(
        queries(&values, 3),
        &shards,
        &options(7, 3),
        &Progress::default(),
    )
    .unwrap();
    assert_eq!(ranked.rows, (0..7).collect::<Vec<u32>>().repeat(30));
    assert!(ranked.scores[..105].iter().all(|score| *score == 0.0));
    assert!(ranked.scores[105..].iter().all(|score| *score == 4.875));
}
