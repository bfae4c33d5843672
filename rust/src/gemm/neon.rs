//! The kernel for codes with NEON's dot products: tiles of three rows by eight vectors of four sums.
//!
//! It compiles for such processors and is tested where one runs the tests; the machines that built it so far had none.

#![cfg(target_arch = "aarch64")]

use std::arch::aarch64::*;
use std::arch::asm;

use super::{Block, PANEL};

/// Sums of a vector.
const LANES: usize = 4;
/// Vectors of a panel's line.
const COUNT: usize = PANEL / LANES;

type Sums = [int32x4_t; COUNT];

/// Multiplies up to twelve rows of codes (u8) with one panel of codes (i8).
///
/// # Safety
/// As for every `Tile`: the rows and the panel hold the words that are asked for, and the processor has the instructions.
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn int8_tile(
    a: *const u32,
    stride: usize,
    rows: usize,
    panel: &[u32],
    block: &mut Block,
) {
    // There is a product of signed codes only: a row's codes are moved down by 128, which takes 128 times the sum of the
    // panel's codes away.
    let mut less = [vdupq_n_s32(0); COUNT];
    for line in panel.as_chunks::<PANEL>().0 {
        for (less, codes) in less.iter_mut().zip(load(line)) {
            *less = dot(*less, vdupq_n_s8(-128), codes);
        }
    }
    for (at, to) in block.0[..rows].chunks_mut(3).enumerate() {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            let a = a.add(3 * at * stride);
            match to.len() {
                3 => run::<3>(a, stride, panel, &less, to),
                2 => run::<2>(a, stride, panel, &less, to),
                _ => run::<1>(a, stride, panel, &less, to),
            }
        }
    }
}

#[target_feature(enable = "neon,dotprod")]
unsafe fn run<const R: usize>(
    a: *const u32,
    stride: usize,
    panel: &[u32],
    less: &Sums,
    to: &mut [[u32; PANEL]],
) {
    let mut sums = [[vdupq_n_s32(0); COUNT]; R];
    for (word, line) in panel.as_chunks::<PANEL>().0.iter().enumerate() {
        let codes = load(line);
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's rows hold at least as many words as the panel has lines.
            let left = unsafe { *a.add(row * stride + word) } ^ 0x8080_8080;
            let left = vreinterpretq_s8_u32(vdupq_n_u32(left));
            for (sum, codes) in sums.iter_mut().zip(codes) {
                *sum = dot(*sum, left, codes);
            }
        }
    }
    for (sums, to) in sums.iter().zip(to) {
        for ((sum, less), to) in sums.iter().zip(less).zip(to.as_chunks_mut::<LANES>().0) {
            let sum = vreinterpretq_u32_s32(vsubq_s32(*sum, *less));
            // SAFETY: a chunk is one vector long.
            unsafe { vst1q_u32(to.as_mut_ptr(), sum) };
        }
    }
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn load(line: &[u32; PANEL]) -> [int8x16_t; COUNT] {
    // SAFETY: a line is `COUNT` vectors long.
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
