//! A search that was stopped goes on, and takes no other's state.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_search_that_was_stopped_goes_on(
        stops in prop::collection::vec((0u64..200, 1usize..4), 1..4), k in 1usize..9, small in any::<bool>(),
    ) {
        let (d, count, rows) = (6, 170, 1800);
        let (passages, values) = (hard(5, rows, d, 0.5, 0), hard(6, count, d, 0.5, 0));
        let asked = queries(&values, d);
        let folder = tempfile::tempdir().unwrap();
        let shards = opened(folder.path(), &passages, d);
        let place = folder.path().join("state");
        let options = Options { checkpoint: Some(&place), memory: usize::from(small), ..options(k, 1) };
        let mut state = None;
        for (stop, threads) in stops {
            let progress = Progress::stopping_at(stop);
            match search(asked, &shards, &Options { threads, ..options }, &progress) {
                Err(Error::Interrupted) => state = std::fs::read(&place).ok(),
                other => prop_assert!(other.is_ok()),
            }
        }
        if let Some(state) = state {
            // What is done already is counted before anything is searched.
            let number = |at: usize| u64::from_le_bytes(*state[at..].first_chunk().unwrap());
            let done = number(40) + number(48) * number(56) / rows as u64;
            let progress = Progress::stopping_at(done);
            std::fs::write(&place, &state).unwrap();
            prop_assert!(matches!(search(asked, &shards, &options, &progress), Err(Error::Interrupted)));
            prop_assert!((done..done + 2).contains(&progress.done()), "{} {}", done, progress.done());
        }
        let progress = Progress::default();
        let ranked = search(asked, &shards, &options, &progress).unwrap();
        prop_assert_eq!(found(&ranked, count), by_sorting(&values, &passages, d, k, &[]));
        prop_assert_eq!(progress.done(), count as u64);
        prop_assert!(!place.exists());
    }
}

#[test]
fn a_state_that_cannot_be_written_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (passages, values) = (hard(1, 900, 5, 0.0, 0), hard(2, 30, 5, 0.0, 0));
    let shards = opened(folder.path(), &passages, 5);
    std::fs::write(folder.path().join("file"), "").unwrap();
    let place = folder.path().join("file/state");
    let options = Options {
        checkpoint: Some(&place),
        ..options(3, 0)
    };
    let ranked = search(queries(&values, 5), &shards, &options, &Progress::default()).unwrap();
    assert_eq!(
        found(&ranked, 30),
        by_sorting(&values, &passages, 5, 3, &[])
    );
}

#[test]
fn a_state_of_another_search_or_a_damaged_one_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let (passages, values) = (hard(1, 90, 5, 0.0, 0), hard(2, 30, 5, 0.0, 0));
    let shards = opened(folder.path(), &passages, 5);
    let place = folder.path().join("state");
    let search_for = |values: &[f32], stop: u64| {
        let options = Options {
            checkpoint: Some(&place),
            ..options(3, 1)
        };
        search(
            queries(values, 5),
            &shards,
            &options,
            &Progress::stopping_at(stop),
        )
    };
    assert!(search_for(&values, 10).is_err());
    let state = std::fs::read(&place).unwrap();
    let others: Vec<f32> = values.iter().map(|value| -value).collect();
    let check = |state: &[u8], values: &[f32]| {
        std::fs::write(&place, state).unwrap();
        let ranked = search_for(values, u64::MAX).unwrap();
        assert_eq!(found(&ranked, 30), by_sorting(values, &passages, 5, 3, &[]));
    };
    for damage in [0, 9, 60, state.len() - 1] {
        let mut bytes = state.clone();
        bytes[damage] ^= 1;
        check(&bytes, &values);
    }
    check(&state[..50], &values);
    check(&state, &others);
}
