//! Inner products of blocks of queries and passages, the same bits on every machine.
//!
//! The product of two f32 is exact in f64, so a fused multiply-add equals a product and a sum. The sum runs in eight
//! interleaved lanes (dimension j goes to lane j mod 8), which are added by one fixed tree; the result is rounded to f32.

/// Lanes that accumulate independently.
pub const LANES: usize = 8;
/// Passages that one register tile takes; blocks are padded with zeros to a multiple of it.
pub const PASSAGE_TILE: usize = 4;

type Lanes = [f64; LANES];

/// The instruction set that the kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// x86-64 with AVX-512F.
    Avx512,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// Whatever the target's baseline has.
    Portable,
}

impl Kernel {
    /// The best kernel of this processor.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// Its name, as build reports print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Scores of all pairs: `queries` [q, width] and `passages` [p, width] in f64 with `width` a multiple of
    /// [`LANES`] and p of [`PASSAGE_TILE`]; `scores` [q, p] is overwritten.
    pub fn block(self, queries: &[f64], passages: &[f64], width: usize, scores: &mut [f32]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if is_x86_feature_detected!("avx512f") => {
                // SAFETY: the processor has the feature that the function is compiled for.
                unsafe { block_avx512(queries, passages, width, scores) }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") => {
                // SAFETY: the processor has the features that the function is compiled for.
                unsafe { block_avx2(queries, passages, width, scores) }
            }
            _ => block::<1, false>(queries, passages, width, scores),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn block_avx512(queries: &[f64], passages: &[f64], width: usize, scores: &mut [f32]) {
    block::<4, true>(queries, passages, width, scores);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn block_avx2(queries: &[f64], passages: &[f64], width: usize, scores: &mut [f32]) {
    block::<1, true>(queries, passages, width, scores);
}

/// All pairs, `Q` queries at a time while they last and then one by one.
#[inline(always)]
fn block<const Q: usize, const FMA: bool>(
    queries: &[f64],
    passages: &[f64],
    width: usize,
    scores: &mut [f32],
) {
    let (columns, steps) = (passages.len() / width, width / LANES);
    let (query_lanes, _) = queries.as_chunks::<LANES>();
    let (passage_lanes, _) = passages.as_chunks::<LANES>();
    let rows = query_lanes.len() / steps;
    let mut first = 0;
    while first < rows {
        let size = if first + Q <= rows { Q } else { 1 };
        let span = &query_lanes[first * steps..(first + size) * steps];
        let out = &mut scores[first * columns..(first + size) * columns];
        for (at, tile) in passage_lanes.chunks_exact(PASSAGE_TILE * steps).enumerate() {
            if size == Q {
                write_tile::<Q, FMA>(span, tile, steps, out, columns, at * PASSAGE_TILE);
            } else {
                write_tile::<1, FMA>(span, tile, steps, out, columns, at * PASSAGE_TILE);
            }
        }
        first += size;
    }
}

#[inline(always)]
fn write_tile<const Q: usize, const FMA: bool>(
    queries: &[Lanes],
    passages: &[Lanes],
    steps: usize,
    scores: &mut [f32],
    columns: usize,
    first: usize,
) {
    let sums = tile::<Q, FMA>(queries, passages, steps);
    for (query, row) in sums.iter().enumerate() {
        for (passage, lanes) in row.iter().enumerate() {
            scores[query * columns + first + passage] = fold(lanes);
        }
    }
}

/// The lane sums of `Q` queries with [`PASSAGE_TILE`] passages, all kept in registers.
#[inline(always)]
fn tile<const Q: usize, const FMA: bool>(
    queries: &[Lanes],
    passages: &[Lanes],
    steps: usize,
) -> [[Lanes; PASSAGE_TILE]; Q] {
    let mut sums = [[[0.0; LANES]; PASSAGE_TILE]; Q];
    let queries: [&[Lanes]; Q] = std::array::from_fn(|at| &queries[at * steps..][..steps]);
    let passages: [&[Lanes]; PASSAGE_TILE] =
        std::array::from_fn(|at| &passages[at * steps..][..steps]);
    for step in 0..steps {
        for (query, row) in queries.iter().zip(&mut sums) {
            for (passage, sum) in passages.iter().zip(row) {
                accumulate::<FMA>(sum, &query[step], &passage[step]);
            }
        }
    }
    sums
}

#[inline(always)]
fn accumulate<const FMA: bool>(sums: &mut Lanes, left: &Lanes, right: &Lanes) {
    for lane in 0..LANES {
        sums[lane] = if FMA {
            left[lane].mul_add(right[lane], sums[lane])
        } else {
            left[lane] * right[lane] + sums[lane]
        };
    }
}

/// The fixed tree: lanes four apart, then two, then one; rounded once to f32.
#[inline(always)]
fn fold(lanes: &Lanes) -> f32 {
    let [a, b, c, d, e, f, g, h] = *lanes;
    (((a + e) + (c + g)) + ((b + f) + (d + h))) as f32
}

/// The scalar twin: one pair, dimension after dimension.
pub fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    for (at, (x, y)) in left.iter().zip(right).enumerate() {
        lanes[at % LANES] += f64::from(*x) * f64::from(*y);
    }
    fold(&lanes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn widen(rows: &[Vec<f32>], padded: usize, width: usize) -> Vec<f64> {
        let mut out = vec![0.0; padded * width];
        for (row, values) in rows.iter().enumerate() {
            for (at, value) in values.iter().enumerate() {
                out[row * width + at] = f64::from(*value);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn every_kernel_equals_the_scalar_twin(
            (queries, passages) in (1usize..40).prop_flat_map(|d| {
                let row = prop::collection::vec(-3e3f32..3e3, d);
                (prop::collection::vec(row.clone(), 1..10), prop::collection::vec(row, 1..10))
            }),
        ) {
            let width = queries[0].len().next_multiple_of(LANES);
            let columns = passages.len().next_multiple_of(PASSAGE_TILE);
            let left = widen(&queries, queries.len(), width);
            let right = widen(&passages, columns, width);
            for kernel in [Kernel::Avx512, Kernel::Avx2, Kernel::Portable] {
                let mut scores = vec![0.0; queries.len() * columns];
                kernel.block(&left, &right, width, &mut scores);
                for (q, query) in queries.iter().enumerate() {
                    for (p, passage) in passages.iter().enumerate() {
                        let expected = dot(query, passage).to_bits();
                        prop_assert_eq!(scores[q * columns + p].to_bits(), expected);
                    }
                }
            }
        }
    }
}
