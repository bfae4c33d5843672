//! The kernels with AVX-512: twelve rows by two vectors of sums stay in registers.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use super::driver::Tile;
use super::{Block, Kind, PANEL, TILE};

/// The kernel of a kind. Only for processors that `Isa::runs` found.
pub(crate) fn tile(kind: Kind) -> Tile {
    match kind {
        Kind::F32 => f32_tile,
        Kind::Bf16 => bf16_tile,
        Kind::Int8 => int8_tile,
    }
}

macro_rules! kernel {
    ($name:ident, $features:literal, $step:expr) => {
        #[target_feature(enable = $features)]
        unsafe fn $name(
            a: *const u32,
            stride: usize,
            rows: usize,
            panel: &[u32],
            block: &mut Block,
        ) {
            #[target_feature(enable = $features)]
            unsafe fn run<const R: usize>(
                a: *const u32,
                stride: usize,
                panel: &[u32],
                block: &mut Block,
            ) {
                let step = $step;
                let mut sums = [[_mm512_setzero_si512(); 2]; R];
                for (word, line) in panel.as_chunks::<PANEL>().0.iter().enumerate() {
                    let line = line.as_ptr().cast::<__m512i>();
                    // SAFETY: a line is two vectors long.
                    let right =
                        unsafe { [_mm512_loadu_si512(line), _mm512_loadu_si512(line.add(1))] };
                    for (row, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: the caller's rows hold at least as many words as the panel has lines.
                        let left =
                            _mm512_set1_epi32(unsafe { *a.add(row * stride + word) }.cast_signed());
                        sums[0] = step(sums[0], left, right[0]);
                        sums[1] = step(sums[1], left, right[1]);
                    }
                }
                for (sums, to) in sums.iter().zip(&mut block.0) {
                    let to = to.as_mut_ptr().cast::<__m512i>();
                    // SAFETY: a row of the block is two vectors long.
                    unsafe {
                        _mm512_storeu_si512(to, sums[0]);
                        _mm512_storeu_si512(to.add(1), sums[1]);
                    }
                }
            }
            // SAFETY: the caller's promise, passed on.
            unsafe {
                match rows {
                    TILE => run::<TILE>(a, stride, panel, block),
                    11 => run::<11>(a, stride, panel, block),
                    10 => run::<10>(a, stride, panel, block),
                    9 => run::<9>(a, stride, panel, block),
                    8 => run::<8>(a, stride, panel, block),
                    7 => run::<7>(a, stride, panel, block),
                    6 => run::<6>(a, stride, panel, block),
                    5 => run::<5>(a, stride, panel, block),
                    4 => run::<4>(a, stride, panel, block),
                    3 => run::<3>(a, stride, panel, block),
                    2 => run::<2>(a, stride, panel, block),
                    _ => run::<1>(a, stride, panel, block),
                }
            }
        }
    };
}

kernel!(
    f32_tile,
    "avx512f",
    |sum: __m512i, a: __m512i, b: __m512i| _mm512_castps_si512(_mm512_fmadd_ps(
        _mm512_castsi512_ps(a),
        _mm512_castsi512_ps(b),
        _mm512_castsi512_ps(sum)
    ))
);
kernel!(
    bf16_tile,
    "avx512f,avx512bf16",
    |sum: __m512i, a: __m512i, b: __m512i| _mm512_castps_si512(
        // SAFETY: the same 64 bytes, read as 32 bf16.
        unsafe {
            _mm512_dpbf16_ps(
                _mm512_castsi512_ps(sum),
                std::mem::transmute::<__m512i, __m512bh>(a),
                std::mem::transmute::<__m512i, __m512bh>(b),
            )
        }
    )
);
kernel!(
    int8_tile,
    "avx512f,avx512vnni",
    |sum: __m512i, a: __m512i, b: __m512i| _mm512_dpbusd_epi32(sum, a, b)
);
