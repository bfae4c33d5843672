//! The kernels with AVX2: tiles of four rows by two vectors of eight sums, four times over a panel.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use super::driver::Tile;
use super::{Block, Kind, PANEL};

/// Words in a vector.
const WIDTH: usize = 8;

/// The kernel of a kind. Only for processors that `Isa::runs` found.
pub(crate) fn tile(kind: Kind) -> Tile {
    match kind {
        Kind::F32 => f32_tile,
        Kind::Bf16 => bf16_tile,
        Kind::Int8 => int8_tile,
    }
}

macro_rules! kernel {
    ($name:ident, $step:expr) => {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn $name(
            a: *const u32,
            stride: usize,
            rows: usize,
            panel: &[u32],
            block: &mut Block,
        ) {
            #[target_feature(enable = "avx2,fma")]
            unsafe fn run<const R: usize>(
                a: *const u32,
                stride: usize,
                panel: &[u32],
                from: usize,
                to: &mut [[u32; PANEL]],
            ) {
                let step = $step;
                let mut sums = [[_mm256_setzero_si256(); 2]; R];
                for (word, line) in panel.as_chunks::<PANEL>().0.iter().enumerate() {
                    let line = line[from..from + 2 * WIDTH].as_ptr().cast::<__m256i>();
                    // SAFETY: the slice is two vectors long.
                    let low = unsafe { _mm256_loadu_si256(line) };
                    // SAFETY: as above.
                    let high = unsafe { _mm256_loadu_si256(line.add(1)) };
                    let right = [low, high];
                    for (row, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: the caller's rows hold at least as many words as the panel has lines.
                        let left = unsafe { *a.add(row * stride + word) };
                        let left = _mm256_set1_epi32(left.cast_signed());
                        sums[0] = step(sums[0], left, right[0]);
                        sums[1] = step(sums[1], left, right[1]);
                    }
                }
                for (sums, to) in sums.iter().zip(to) {
                    let to = to[from..from + 2 * WIDTH].as_mut_ptr().cast::<__m256i>();
                    // SAFETY: the slice is two vectors long.
                    unsafe {
                        _mm256_storeu_si256(to, sums[0]);
                        _mm256_storeu_si256(to.add(1), sums[1]);
                    }
                }
            }
            for (at, to) in block.0[..rows].chunks_mut(4).enumerate() {
                for from in (0..PANEL).step_by(2 * WIDTH) {
                    // SAFETY: the caller's promise, passed on.
                    unsafe {
                        let a = a.add(4 * at * stride);
                        match to.len() {
                            4 => run::<4>(a, stride, panel, from, to),
                            3 => run::<3>(a, stride, panel, from, to),
                            2 => run::<2>(a, stride, panel, from, to),
                            _ => run::<1>(a, stride, panel, from, to),
                        }
                    }
                }
            }
        }
    };
}

kernel!(f32_tile, |sum: __m256i, a: __m256i, b: __m256i| {
    _mm256_castps_si256(_mm256_fmadd_ps(
        _mm256_castsi256_ps(a),
        _mm256_castsi256_ps(b),
        _mm256_castsi256_ps(sum),
    ))
});
kernel!(bf16_tile, |sum: __m256i, a: __m256i, b: __m256i| {
    let high = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
    let low = |x| _mm256_castsi256_ps(_mm256_slli_epi32(x, 16));
    let top = |x| _mm256_castsi256_ps(_mm256_and_si256(x, high));
    let first = _mm256_fmadd_ps(low(a), low(b), _mm256_castsi256_ps(sum));
    _mm256_castps_si256(_mm256_fmadd_ps(top(a), top(b), first))
});
kernel!(int8_tile, |sum: __m256i, a: __m256i, b: __m256i| {
    // Bytes at even and odd places widened to 16 bits: 255 x 127 x 2 fits the 32-bit sums that pairs are added in.
    let bytes = _mm256_set1_epi16(0xff);
    let even = _mm256_madd_epi16(
        _mm256_and_si256(a, bytes),
        _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8),
    );
    let odd = _mm256_madd_epi16(_mm256_srli_epi16(a, 8), _mm256_srai_epi16(b, 8));
    _mm256_add_epi32(sum, _mm256_add_epi32(even, odd))
});
