//! Seeded sampling: every draw is a hash of seed, step and row, so it depends neither on threads nor on other rows.

use rayon::prelude::*;

use crate::error::{Error, Result};

/// Keeps the draws of candidates and of permutations apart.
const CANDIDATES: u64 = 0x63616e6469646174;
const PERMUTATION: u64 = 0x7065726d75746174;

/// One step of splitmix64: a bijection of 64 bits that mixes well.
fn mix(state: u64) -> u64 {
    let mut word = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A hash of several words.
fn hash(words: &[u64]) -> u64 {
    words.iter().fold(0, |state, word| mix(state ^ mix(*word)))
}

/// Positions [B, c] out of `0..counts[b]` for each query, without replacement and in random order. Where a query has
/// fewer than `c`, all of them come and then again from the first on.
pub fn sample_candidates(
    seed: u64,
    step: u64,
    queries: &[u32],
    counts: &[u32],
    c: usize,
) -> Result<Vec<u32>> {
    if queries.len() != counts.len() {
        let message = format!("{} queries and {} counts", queries.len(), counts.len());
        return Err(Error::shape(message));
    }
    if let Some(at) = counts.iter().position(|count| *count == 0) {
        let message = format!("query {} has no candidates to draw from", queries[at]);
        return Err(Error::shape(message));
    }
    let draw = |(query, count): (&u32, &u32)| {
        let salt = hash(&[CANDIDATES, seed, step, u64::from(*query)]);
        let order = smallest(salt, *count, c);
        (0..c).map(|at| order[at % order.len()]).collect::<Vec<_>>()
    };
    Ok(queries.par_iter().zip(counts).flat_map_iter(draw).collect())
}

/// The numbers `0..n` in an order decided by seed and epoch.
pub fn permutation(seed: u64, epoch: u64, n: u32) -> Vec<u32> {
    let salt = hash(&[PERMUTATION, seed, epoch]);
    let mut keyed: Vec<_> = (0..n)
        .map(|row| (hash(&[salt, u64::from(row)]), row))
        .collect();
    keyed.par_sort_unstable();
    keyed.into_iter().map(|(_, row)| row).collect()
}

/// The numbers below `count` with the smallest hashes, at most `c` of them, smallest hash first.
fn smallest(salt: u64, count: u32, c: usize) -> Vec<u32> {
    let mut keyed: Vec<_> = (0..count)
        .map(|at| (hash(&[salt, u64::from(at)]), at))
        .collect();
    if c < keyed.len() {
        keyed.select_nth_unstable(c);
        keyed.truncate(c);
    }
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, at)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn short_lists_repeat_in_a_cycle() {
        let drawn = sample_candidates(1, 2, &[7], &[2], 5).unwrap();
        assert_ne!(drawn[0], drawn[1]);
        assert_eq!(
            [drawn[2], drawn[3], drawn[4]],
            [drawn[0], drawn[1], drawn[0]]
        );
        assert!(sample_candidates(1, 2, &[7], &[0], 5).is_err());
        assert!(sample_candidates(1, 2, &[7, 8], &[3], 5).is_err());
    }

    #[test]
    fn draws_are_even() {
        let mut seen = [0u32; 10];
        for step in 0..2000 {
            let drawn = sample_candidates(3, step, &[1], &[10], 3).unwrap();
            drawn.iter().for_each(|at| seen[*at as usize] += 1);
        }
        assert!(
            seen.iter().all(|count| (500..700).contains(count)),
            "{seen:?}"
        );
    }

    proptest! {
        #[test]
        fn draws_are_distinct_and_ignore_the_rest_of_the_batch(
            seed: u64, step: u64,
            batch in prop::collection::vec((any::<u32>(), 1u32..120), 1..8),
            c in 1usize..20,
        ) {
            let (queries, counts): (Vec<_>, Vec<_>) = batch.iter().copied().unzip();
            let all = sample_candidates(seed, step, &queries, &counts, c).unwrap();
            for (at, row) in all.chunks(c).enumerate() {
                let alone = sample_candidates(seed, step, &queries[at..=at], &counts[at..=at], c);
                prop_assert_eq!(row, &alone.unwrap()[..]);
                let distinct: HashSet<_> = row.iter().collect();
                prop_assert_eq!(distinct.len(), c.min(counts[at] as usize));
                prop_assert!(row.iter().all(|position| *position < counts[at]));
            }
        }

        #[test]
        fn a_permutation_holds_every_row_once(seed: u64, epoch: u64, n in 0u32..500) {
            let mut rows = permutation(seed, epoch, n);
            prop_assert_eq!(&rows, &permutation(seed, epoch, n));
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..n).collect::<Vec<_>>());
        }
    }
}
