//! The heap and the merge against sorting.

use super::*;
use proptest::prelude::*;

/// The order in words: score down, then row up.
fn sorted(mut entries: Vec<(f32, u32)>) -> Vec<(f32, u32)> {
    entries.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then(a.1.cmp(&b.1)));
    entries
}

#[test]
fn negative_zero_ties_with_zero() {
    let mut heap = TopK::new(2);
    heap.push(0.0, 5);
    heap.push(-0.0, 3);
    assert_eq!(heap.into_sorted(), [(0.0, 3), (0.0, 5)]);
}

#[test]
fn short_lists_are_padded() {
    let rows = [1, PADDING, 1, PADDING, PADDING, PADDING, 3, 1];
    let scores = [1.0, 0.0, 2.0, 0.5, 0.0, 0.0, 4.0, 1.5];
    let merged = merge_topk(&rows, &scores, [2, 2, 2], 5).unwrap();
    assert_eq!(merged.width, 2);
    assert_eq!(merged.rows, [1, PADDING, 3, 1]);
    assert_eq!(merged.scores, [1.0, f32::NEG_INFINITY, 4.0, 2.0]);
}

proptest! {
    #[test]
    fn the_heap_equals_a_full_sort(scores in prop::collection::vec(-4i8..4, 1..60), k in 1usize..20) {
        let entries: Vec<_> = scores.iter().enumerate()
            .map(|(row, score)| (f32::from(*score), row as u32)).collect();
        let mut heap = TopK::new(k);
        entries.iter().rev().for_each(|(score, row)| heap.push(*score, *row));
        let mut expected = sorted(entries);
        expected.truncate(k);
        prop_assert_eq!(heap.into_sorted(), expected);
    }

    #[test]
    fn merging_equals_sorting_the_concatenation(
        cells in prop::collection::vec((0u32..12, -3i8..3), 24), k in 1usize..10,
    ) {
        let rows: Vec<_> = cells.iter().map(|(row, _)| *row).collect();
        let scores: Vec<_> = cells.iter().map(|(_, score)| f32::from(*score)).collect();
        let merged = merge_topk(&rows, &scores, [3, 2, 4], k).unwrap();
        for query in 0..2 {
            let mut best = std::collections::BTreeMap::new();
            for part in 0..3 {
                for at in (part * 2 + query) * 4..(part * 2 + query) * 4 + 4 {
                    let entry = best.entry(rows[at]).or_insert(scores[at]);
                    *entry = entry.max(scores[at]);
                }
            }
            let expected = sorted(best.into_iter().map(|(row, score)| (score, row)).collect());
            let span = query * merged.width..(query + 1) * merged.width;
            let got: Vec<_> = merged.scores[span.clone()].iter().copied()
                .zip(merged.rows[span].iter().copied()).filter(|(_, row)| *row != PADDING).collect();
            prop_assert_eq!(&got[..], &expected[..k.min(expected.len())]);
        }
    }
}
