//! Exact scores of single pairs of queries and passages: the definition of `dot.rs`, a few pairs at once.

use super::kernels::isa::by_isa;
use crate::dot::{LANES, fold};
use crate::error::Result;
use crate::shards::{Dtype, Shards};

/// Pairs whose sums are kept in registers together.
pub(crate) const PAIRS: usize = 4;

/// Some neighbouring rows of a shard as little-endian f32: those of f32 shards where they are mapped, those of f16 shards
/// converted when they are first loaded.
pub(crate) struct Rows<'a> {
    shards: &'a Shards,
    part: usize,
    from: usize,
    converted: Vec<u8>,
    loaded: Vec<bool>,
    values: Vec<f32>,
}

impl<'a> Rows<'a> {
    /// No rows of a shard yet.
    pub(crate) fn new(shards: &'a Shards, part: usize) -> Self {
        Self {
            shards,
            part,
            from: 0,
            converted: Vec::new(),
            loaded: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Turns to the rows from `from` on, and forgets those before.
    pub(crate) fn begin(&mut self, from: usize, count: usize) {
        self.from = from;
        self.loaded.clear();
        self.loaded.resize(count, false);
        if self.shards.dtype() == Dtype::F16 {
            let dimensions = self.shards.dimensions();
            self.converted.resize(count * 4 * dimensions, 0);
            self.values.resize(dimensions, 0.0);
        }
    }

    /// Makes a row ready; a value that is not finite is an error in an f16 shard.
    pub(crate) fn load(&mut self, row: usize) -> Result<()> {
        if self.shards.dtype() == Dtype::F32 || self.loaded[row] {
            return Ok(());
        }
        self.shards
            .read(self.part, self.from + row, &mut self.values)?;
        let words = self.converted.as_chunks_mut::<4>().0;
        let words = &mut words[row * self.values.len()..][..self.values.len()];
        for (word, value) in words.iter_mut().zip(&self.values) {
            *word = value.to_le_bytes();
        }
        self.loaded[row] = true;
        Ok(())
    }

    /// The bytes of a row that was loaded.
    pub(crate) fn bytes(&self, row: usize) -> &[u8] {
        if self.shards.dtype() == Dtype::F32 {
            return self.shards.bytes(self.part, self.from + row);
        }
        let stride = 4 * self.shards.dimensions();
        &self.converted[row * stride..][..stride]
    }
}

type Lanes = [f64; LANES];

/// A query [d] and a passage of the same dimensions, as little-endian f32.
pub(crate) type Pair<'a> = (&'a [f32], &'a [u8]);

by_isa! {
    /// The scores of some pairs, all of the same dimensions.
    pub(crate) fn scores(isa: Isa, pairs: &[Pair<'_>; PAIRS]) -> [f32; PAIRS] = scores_body;
}

#[inline(always)]
fn scores_body<const FMA: bool>(pairs: &[Pair<'_>; PAIRS]) -> [f32; PAIRS] {
    let steps = pairs[0].0.len() / LANES;
    let queries: [&[[f32; LANES]]; PAIRS] =
        std::array::from_fn(|at| &pairs[at].0.as_chunks().0[..steps]);
    let passages: [&[[u8; 4 * LANES]]; PAIRS] =
        std::array::from_fn(|at| &pairs[at].1.as_chunks().0[..steps]);
    let mut sums: [Lanes; PAIRS] = [[0.0; LANES]; PAIRS];
    for step in 0..steps {
        for at in 0..PAIRS {
            add::<FMA>(&mut sums[at], &queries[at][step], &passages[at][step]);
        }
    }
    for (sums, (query, passage)) in sums.iter_mut().zip(pairs) {
        rest(sums, &query[steps * LANES..], &passage[4 * steps * LANES..]);
    }
    sums.map(|lanes| fold(&lanes) + 0.0)
}

#[inline(always)]
fn add<const FMA: bool>(sums: &mut Lanes, query: &[f32; LANES], passage: &[u8; 4 * LANES]) {
    let (words, _) = passage.as_chunks::<4>();
    for lane in 0..LANES {
        let (left, right) = (
            f64::from(query[lane]),
            f64::from(f32::from_le_bytes(words[lane])),
        );
        // The product of two f32 is exact in f64: fused or not, the bits are the same.
        sums[lane] = if FMA {
            left.mul_add(right, sums[lane])
        } else {
            left * right + sums[lane]
        };
    }
}

#[inline(always)]
fn rest(sums: &mut Lanes, query: &[f32], passage: &[u8]) {
    let values = passage.as_chunks::<4>().0.iter();
    for ((sum, left), right) in sums.iter_mut().zip(query).zip(values) {
        *sum += f64::from(*left) * f64::from(f32::from_le_bytes(*right));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dot::dot;
    use crate::search::Isa;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pairs_equal_the_scalar_twin(
            rows in (1usize..70).prop_flat_map(|d| {
                prop::collection::vec(prop::collection::vec(-3e3f32..3e3, d), 2 * PAIRS)
            }),
        ) {
            let bytes: Vec<Vec<u8>> = rows[PAIRS..].iter()
                .map(|row| row.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
            let pairs: [Pair; PAIRS] = std::array::from_fn(|at| (&rows[at][..], &bytes[at][..]));
            for (isa, at) in Isa::all().flat_map(|isa| (0..PAIRS).map(move |at| (isa, at))) {
                let twin = dot(&rows[at], &rows[PAIRS + at]) + 0.0;
                prop_assert_eq!(scores(isa, &pairs)[at].to_bits(), twin.to_bits(), "{:?}", isa);
            }
        }
    }
}
