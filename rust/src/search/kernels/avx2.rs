//! The product with AVX2: the sums of four queries and half of a panel stay in registers.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use super::layout::{PANEL, PanelCodes, QueryCodes, Sums};

/// Queries whose sums stay in registers.
const ROWS: usize = 4;
/// Passages of two vectors of sums.
const COLUMNS: usize = 16;

/// As `product::multiply`.
///
/// # Safety
/// The processor has the instructions, and the queries have as many words as the panel has lines.
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn multiply(queries: QueryCodes<'_>, panel: PanelCodes<'_>, sums: &mut Sums) {
    let stride = queries.stride;
    for (at, sums) in sums.chunks_mut(ROWS).enumerate() {
        let words = &queries.words[ROWS * at * stride..];
        for column in (0..PANEL).step_by(COLUMNS) {
            // SAFETY: the caller's promise, passed on for fewer queries.
            unsafe {
                match sums.len() {
                    4 => rows::<4>(words, stride, panel, column, sums),
                    3 => rows::<3>(words, stride, panel, column, sums),
                    2 => rows::<2>(words, stride, panel, column, sums),
                    _ => rows::<1>(words, stride, panel, column, sums),
                }
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn rows<const R: usize>(
    queries: &[u32],
    stride: usize,
    panel: PanelCodes<'_>,
    column: usize,
    to: &mut Sums,
) {
    let mut sums = [[_mm256_setzero_si256(); 2]; R];
    for (word, line) in panel.iter().enumerate() {
        let line = line[column..column + COLUMNS].as_ptr().cast::<__m256i>();
        // SAFETY: the slice is two vectors long.
        let (low, high) = unsafe { (_mm256_loadu_si256(line), _mm256_loadu_si256(line.add(1))) };
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let query = unsafe { *queries.get_unchecked(row * stride + word) };
            let query = _mm256_set1_epi32(query.cast_signed());
            sums[0] = _mm256_add_epi32(sums[0], four(query, low));
            sums[1] = _mm256_add_epi32(sums[1], four(query, high));
        }
    }
    for (sums, to) in sums.iter().zip(to) {
        let to = to[column..column + COLUMNS].as_mut_ptr();
        // SAFETY: the slice is two vectors long.
        unsafe {
            _mm256_storeu_si256(to.cast(), sums[0]);
            _mm256_storeu_si256(to.cast::<__m256i>().add(1), sums[1]);
        }
    }
}

/// Four products of an unsigned and a signed byte in each word.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn four(query: __m256i, passage: __m256i) -> __m256i {
    // Bytes at even and odd places are widened to 16 bits: two products of at most 255 x 128 are added in 32 bits.
    let even = _mm256_madd_epi16(
        _mm256_and_si256(query, _mm256_set1_epi16(0xff)),
        _mm256_srai_epi16(_mm256_slli_epi16(passage, 8), 8),
    );
    let odd = _mm256_madd_epi16(_mm256_srli_epi16(query, 8), _mm256_srai_epi16(passage, 8));
    _mm256_add_epi32(even, odd)
}
