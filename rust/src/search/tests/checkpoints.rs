//! A search that was stopped goes on, and takes no other's state.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_search_that_was_stopped_goes_on(
        stops in prop::collection::vec((0u64..200, 1usize..4), 1..4), k in 1usize..9, small in any::<bool>(),
    ) {
        let (d, count, parts, rows) = (6, 170, 3, 600);
        let (passages, queries) = (hard(5, rows * parts, d, 0.5, 0), hard(6, count, d, 0.5, 0));
        let folder = tempfile::tempdir().unwrap();
        let write = |part: usize| {
            let values = &passages[part * rows * d..(part + 1) * rows * d];
            let path = folder.path().join(format!("{part}"));
            std::fs::write(&path, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>()).unwrap();
            ShardSpec { path, offset: 0, rows }
        };
        let opened = Shards::open(&(0..parts).map(write).collect::<Vec<_>>(), Dtype::F32, d).unwrap();
        let asked = Queries { values: &queries, rows: count, dimensions: d };
        let place = folder.path().join("state");
        let options = Options { k, threads: 1, checkpoint: Some(&place), memory: usize::from(small), ..Options::default() };
        let mut state = None;
        for (stop, threads) in stops {
            let progress = Progress::stopping_at(stop);
            match search(asked, &opened, &Options { threads, ..options }, &progress) {
                Err(Error::Interrupted) => state = std::fs::read(&place).ok(),
                other => prop_assert!(other.is_ok()),
            }
        }
        if let Some(state) = state {
            // What is done already is counted before anything is searched.
            let number = |at: usize| u64::from_le_bytes(*state[at..].first_chunk().unwrap());
            let done = number(40) + number(48) * number(56) / (rows * parts) as u64;
            let progress = Progress::stopping_at(done);
            std::fs::write(&place, &state).unwrap();
            prop_assert!(matches!(search(asked, &opened, &options, &progress), Err(Error::Interrupted)));
            prop_assert!((done..done + 2).contains(&progress.done()), "{} {}", done, progress.done());
        }
        let progress = Progress::default();
        let ranked = search(asked, &opened, &options, &progress).unwrap();
        prop_assert_eq!(found(&ranked, count), expected(&queries, &passages, d, k, &[]));
        prop_assert_eq!(progress.done(), count as u64);
        prop_assert!(!place.exists());
    }
}

#[test]
fn a_state_that_cannot_be_written_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (passages, queries) = (hard(1, 900, 5, 0.0, 0), hard(2, 30, 5, 0.0, 0));
    let opened = Shards::open(
        &shards(folder.path(), &passages, 5, Dtype::F32),
        Dtype::F32,
        5,
    )
    .unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let place = folder.path().join("file/state");
    let asked = Queries {
        values: &queries,
        rows: 30,
        dimensions: 5,
    };
    let options = Options {
        k: 3,
        checkpoint: Some(&place),
        ..Options::default()
    };
    let ranked = search(asked, &opened, &options, &Progress::default()).unwrap();
    assert_eq!(found(&ranked, 30), expected(&queries, &passages, 5, 3, &[]));
}

#[test]
fn a_state_of_another_search_or_a_damaged_one_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let (passages, queries) = (hard(1, 90, 5, 0.0, 0), hard(2, 30, 5, 0.0, 0));
    let opened = Shards::open(
        &shards(folder.path(), &passages, 5, Dtype::F32),
        Dtype::F32,
        5,
    )
    .unwrap();
    let place = folder.path().join("state");
    let search_for = |values: &[f32], stop: u64| {
        let asked = Queries {
            values,
            rows: values.len() / 5,
            dimensions: 5,
        };
        let options = Options {
            k: 3,
            threads: 1,
            checkpoint: Some(&place),
            ..Options::default()
        };
        search(asked, &opened, &options, &Progress::stopping_at(stop))
    };
    assert!(search_for(&queries, 10).is_err());
    let state = std::fs::read(&place).unwrap();
    let wanted = expected(&queries, &passages, 5, 3, &[]);
    for damage in [0, 9, 60, state.len() - 1] {
        let mut bytes = state.clone();
        bytes[damage] ^= 1;
        std::fs::write(&place, bytes).unwrap();
        assert_eq!(found(&search_for(&queries, u64::MAX).unwrap(), 30), wanted);
    }
    std::fs::write(&place, &state[..50]).unwrap();
    assert_eq!(found(&search_for(&queries, u64::MAX).unwrap(), 30), wanted);
    std::fs::write(&place, &state).unwrap();
    let others: Vec<f32> = queries.iter().map(|value| -value).collect();
    assert_eq!(
        found(&search_for(&others, u64::MAX).unwrap(), 30),
        expected(&others, &passages, 5, 3, &[])
    );
}
