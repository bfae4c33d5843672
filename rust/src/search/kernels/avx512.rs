//! The product with AVX-512: the sums of twelve queries and a panel stay in registers.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use super::layout::{PanelCodes, QueryCodes, Sums, TILE};

/// As `product::multiply`.
///
/// # Safety
/// The processor has the instructions, and the queries have as many words as the panel has lines.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(crate) unsafe fn multiply(queries: QueryCodes<'_>, panel: PanelCodes<'_>, sums: &mut Sums) {
    // SAFETY: the caller's promise, passed on for fewer queries.
    unsafe {
        if sums.len() == TILE {
            return rows::<TILE>(queries.words, queries.stride, panel, sums);
        }
        let (fours, rest) = sums.as_chunks_mut::<4>();
        let done = 4 * fours.len();
        for (at, sums) in fours.iter_mut().enumerate() {
            let words = &queries.words[4 * at * queries.stride..];
            rows::<4>(words, queries.stride, panel, sums);
        }
        for (at, sums) in rest.chunks_mut(1).enumerate() {
            let words = &queries.words[(done + at) * queries.stride..];
            rows::<1>(words, queries.stride, panel, sums);
        }
    }
}

#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn rows<const R: usize>(
    queries: &[u32],
    stride: usize,
    panel: PanelCodes<'_>,
    to: &mut Sums,
) {
    let mut sums = [[_mm512_setzero_si512(); 2]; R];
    for (word, line) in panel.iter().enumerate() {
        let line = line.as_ptr().cast::<__m512i>();
        // SAFETY: a line is two vectors long.
        let (low, high) = unsafe { (_mm512_loadu_si512(line), _mm512_loadu_si512(line.add(1))) };
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let query = unsafe { *queries.get_unchecked(row * stride + word) };
            let query = _mm512_set1_epi32(query.cast_signed());
            sums[0] = _mm512_dpbusd_epi32(sums[0], query, low);
            sums[1] = _mm512_dpbusd_epi32(sums[1], query, high);
        }
    }
    for (sums, to) in sums.iter().zip(to) {
        let to = to.as_mut_ptr().cast::<__m512i>();
        // SAFETY: a row of sums is two vectors long.
        unsafe {
            _mm512_storeu_si512(to, sums[0]);
            _mm512_storeu_si512(to.add(1), sums[1]);
        }
    }
}
