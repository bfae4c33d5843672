//! Vectors whose errors are as large as the bound allows: a bound that is smaller by a tenth loses their best passage.

use super::*;

/// The best passage, searched with every instruction set.
fn best_of_all(query: &[f32], passages: &[f32]) -> Vec<u32> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let bytes = passages.iter().flat_map(|value| value.to_le_bytes());
    std::fs::write(&path, bytes.collect::<Vec<u8>>()).unwrap();
    let (d, rows) = (query.len(), passages.len() / query.len());
    let spec = ShardSpec {
        path,
        offset: 0,
        rows,
    };
    let shards = Shards::open(&[spec], Dtype::F32, d).unwrap();
    let values = query.repeat(24);
    let best = |isa| {
        let options = Options {
            isa: Some(isa),
            ..options(1, 1)
        };
        let ranked = search(queries(&values, d), &shards, &options, &Progress::default());
        ranked.unwrap().rows[0]
    };
    Isa::all().map(best).collect()
}

/// Rows and their opposites, so that their mean is zero; the second of two rows comes 256 rows after the first.
fn far_apart(first: &[f32], second: &[f32]) -> Vec<f32> {
    let mut passages = Vec::new();
    for row in [first, second] {
        passages.extend(row);
        passages.extend(row.iter().map(|value| -value));
        passages.resize(passages.len() + 254 * row.len(), 0.0);
    }
    passages
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The error of quantising is as large as the bound says: a smaller bound would lose the best passage.
    #[test]
    fn what_the_codes_of_passages_hide_is_found(d in 3usize..300, share in 1u32..24) {
        let (known, hidden) = (10.0 + share as f32 / 50.0, 10.0 + (share + 1) as f32 / 50.0 - 0.015);
        let row = |value: f32| -> Vec<f32> { std::iter::once(127.0).chain(std::iter::repeat_n(value, d - 1)).collect() };
        let query: Vec<f32> = std::iter::once(0.0).chain(std::iter::repeat_n(1.0, d - 1)).collect();
        let found = best_of_all(&query, &far_apart(&row(known), &row(hidden)));
        prop_assert!(found.iter().all(|row| *row == 256), "{:?}", found);
    }

    #[test]
    fn what_the_codes_of_queries_hide_is_found(d in 3usize..300, share in 1u32..48) {
        let query: Vec<f32> = std::iter::once(127.0).chain(std::iter::repeat_n(10.0 + 0.49, d - 1)).collect();
        let known = (d - 1) as f32 * (10.0 + share as f32 / 100.0) / 127.0;
        let first: Vec<f32> = std::iter::once(known).chain(std::iter::repeat_n(0.0, d - 1)).collect();
        let second: Vec<f32> = std::iter::once(0.0).chain(std::iter::repeat_n(1.0, d - 1)).collect();
        let found = best_of_all(&query, &far_apart(&first, &second));
        prop_assert!(found.iter().all(|row| *row == 256), "{:?}", found);
    }
}
