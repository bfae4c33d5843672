//! Every instruction set of this processor against plain Rust.

use super::isa::Isa;
use super::layout::{PANEL, QueryCodes, TILE};
use super::product::multiply;
use proptest::prelude::*;

proptest! {
    #[test]
    fn every_instruction_set_gives_the_same_sums(
        queries in 1usize..=TILE, words in 1usize..40, more in 0usize..3, seed in any::<u64>(),
    ) {
        let bytes = |seed: u64, count: usize| -> Vec<u8> {
            crate::sample::permutation(seed, 0, count as u32).iter().map(|word| (word % 256) as u8).collect()
        };
        let stride = words + more;
        let (asked, panel) = (bytes(seed, 4 * queries * stride), bytes(seed ^ 1, 4 * words * PANEL));
        let packed = |bytes: &[u8]| -> Vec<u32> {
            bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
        };
        let (query_words, panel_words) = (packed(&asked), packed(&panel));
        let codes = QueryCodes { words: &query_words, stride };
        for isa in Isa::all() {
            let mut sums = vec![[7; PANEL]; queries];
            multiply(isa, codes, panel_words.as_chunks().0, &mut sums);
            for (query, row) in sums.iter().enumerate() {
                for (column, sum) in row.iter().enumerate() {
                    let expected: i32 = (0..4 * words).map(|at| {
                        let passage = panel[4 * (at / 4 * PANEL + column) + at % 4] as i8;
                        i32::from(asked[4 * query * stride + at]) * i32::from(passage)
                    }).sum();
                    prop_assert_eq!(*sum, expected, "{:?}", isa);
                }
            }
        }
    }
}

#[test]
fn the_largest_codes_do_not_saturate() {
    for isa in Isa::all() {
        for (passage, product) in [(0x8080_8080, -128), (0x7f7f_7f7f, 127)] {
            let mut sums = [[0; PANEL]; 1];
            let codes = QueryCodes {
                words: &[u32::MAX; 3],
                stride: 3,
            };
            multiply(isa, codes, &[[passage; PANEL]; 3], &mut sums);
            assert_eq!(sums, [[12 * 255 * product; PANEL]], "{isa:?}");
        }
    }
}
