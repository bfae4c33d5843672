//! The product with NEON's dot products: the sums of three queries and a panel stay in registers.
//!
//! It compiles for such processors and is tested where one runs the tests; the machines that built it so far had none.

#![cfg(target_arch = "aarch64")]

use std::arch::aarch64::*;
use std::arch::asm;

use super::layout::{PANEL, PanelCodes, QueryCodes, Sums};

/// Sums of a vector.
const LANES: usize = 4;
/// Vectors of a line of a panel.
const VECTORS: usize = PANEL / LANES;
/// Queries whose sums stay in registers.
const ROWS: usize = 3;

type Line = [int32x4_t; VECTORS];

/// As `product::multiply`.
///
/// # Safety
/// The processor has the instructions, and the queries have as many words as the panel has lines.
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn multiply(queries: QueryCodes<'_>, panel: PanelCodes<'_>, sums: &mut Sums) {
    // There is a product of signed codes only: a query's codes are moved down by 128, which takes 128 times the sum of the
    // panel's codes away.
    let mut less = [vdupq_n_s32(0); VECTORS];
    for line in panel {
        for (less, codes) in less.iter_mut().zip(load(line)) {
            *less = dot(*less, vdupq_n_s8(-128), codes);
        }
    }
    for (at, sums) in sums.chunks_mut(ROWS).enumerate() {
        let words = &queries.words[ROWS * at * queries.stride..];
        // SAFETY: the caller's promise, passed on for fewer queries.
        unsafe {
            match sums.len() {
                3 => rows::<3>(words, queries.stride, panel, &less, sums),
                2 => rows::<2>(words, queries.stride, panel, &less, sums),
                _ => rows::<1>(words, queries.stride, panel, &less, sums),
            }
        }
    }
}

#[target_feature(enable = "neon,dotprod")]
unsafe fn rows<const R: usize>(
    queries: &[u32],
    stride: usize,
    panel: PanelCodes<'_>,
    less: &Line,
    to: &mut Sums,
) {
    let mut sums = [[vdupq_n_s32(0); VECTORS]; R];
    for (word, line) in panel.iter().enumerate() {
        let codes = load(line);
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let query = unsafe { *queries.get_unchecked(row * stride + word) } ^ 0x8080_8080;
            let query = vreinterpretq_s8_u32(vdupq_n_u32(query));
            for (sum, codes) in sums.iter_mut().zip(codes) {
                *sum = dot(*sum, query, codes);
            }
        }
    }
    for (sums, to) in sums.iter().zip(to) {
        for ((sum, less), to) in sums.iter().zip(less).zip(to.as_chunks_mut::<LANES>().0) {
            // SAFETY: a chunk is one vector long.
            unsafe { vst1q_s32(to.as_mut_ptr(), vsubq_s32(*sum, *less)) };
        }
    }
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn load(line: &[u32; PANEL]) -> [int8x16_t; VECTORS] {
    // SAFETY: a line is `VECTORS` vectors long.
    std::array::from_fn(|at| {
        vreinterpretq_s8_u32(unsafe { vld1q_u32(line.as_ptr().add(at * LANES)) })
    })
}

/// Adds to each sum four products of signed bytes.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot(sum: int32x4_t, left: int8x16_t, right: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: the instruction reads and writes these registers and nothing else; the function is compiled for it.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {left:v}.16b, {right:v}.16b",
            sum = inout(vreg) sum, left = in(vreg) left, right = in(vreg) right,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
