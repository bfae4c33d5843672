//! The product in plain Rust: what every processor runs, and the twin of the fast ones.

use super::layout::{PanelCodes, QueryCodes, Sums};

/// As `product::multiply`.
pub(crate) fn multiply(queries: QueryCodes<'_>, panel: PanelCodes<'_>, sums: &mut Sums) {
    for (codes, sums) in queries.words.chunks(queries.stride).zip(sums) {
        sums.fill(0);
        for (query, line) in codes.iter().zip(panel) {
            for (sum, passage) in sums.iter_mut().zip(line) {
                *sum = sum.wrapping_add(four(*query, *passage));
            }
        }
    }
}

/// Four products of an unsigned and a signed byte.
#[inline(always)]
fn four(query: u32, passage: u32) -> i32 {
    let pairs = query.to_le_bytes().into_iter().zip(passage.to_le_bytes());
    pairs
        .map(|(query, passage)| i32::from(query) * i32::from(passage as i8))
        .sum()
}
