//! The kernels with AVX-512: twelve rows by two vectors of sums stay in registers.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use super::convert::Code;
use super::driver::Tile;
use super::{Block, Kind, PANEL, TILE};

/// Values of a vector.
const LANES: usize = 16;

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
                    let low = unsafe { _mm512_loadu_si512(line) };
                    // SAFETY: as above.
                    let high = unsafe { _mm512_loadu_si512(line.add(1)) };
                    let right = [low, high];
                    for (row, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: the caller's rows hold at least as many words as the panel has lines.
                        let left = unsafe { *a.add(row * stride + word) };
                        let left = _mm512_set1_epi32(left.cast_signed());
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

/// What turns sums of codes into values: words of a group, units and sums of codes of the panel, a group after the other.
pub(crate) struct Side<'a> {
    pub step: usize,
    pub units: &'a [[f32; PANEL]],
    pub totals: &'a [[f32; PANEL]],
}

/// Rows whose sums, and values where there is more than one group, stay in registers.
pub(crate) fn rows_at_once(groups: usize) -> usize {
    if groups == 1 { TILE } else { TILE / 2 }
}

/// Codes of some rows times those of a panel, as values.
///
/// # Safety
/// The rows (as many as `values`, `stride` words apart) hold at least as many words as the panel has lines of 32, `rows` holds
/// a code a group for each, and the processor has the instructions.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(crate) unsafe fn codes(
    a: *const u32,
    stride: usize,
    panel: &[u32],
    side: &Side<'_>,
    rows: &[&[Code]],
    values: &mut [[f32; PANEL]],
) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match values.len() {
            12 => run_codes::<12>(a, stride, panel, side, rows, values),
            11 => run_codes::<11>(a, stride, panel, side, rows, values),
            10 => run_codes::<10>(a, stride, panel, side, rows, values),
            9 => run_codes::<9>(a, stride, panel, side, rows, values),
            8 => run_codes::<8>(a, stride, panel, side, rows, values),
            7 => run_codes::<7>(a, stride, panel, side, rows, values),
            6 => run_codes::<6>(a, stride, panel, side, rows, values),
            5 => run_codes::<5>(a, stride, panel, side, rows, values),
            4 => run_codes::<4>(a, stride, panel, side, rows, values),
            3 => run_codes::<3>(a, stride, panel, side, rows, values),
            2 => run_codes::<2>(a, stride, panel, side, rows, values),
            _ => run_codes::<1>(a, stride, panel, side, rows, values),
        }
    }
}

#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn run_codes<const R: usize>(
    a: *const u32,
    stride: usize,
    panel: &[u32],
    side: &Side<'_>,
    rows: &[&[Code]],
    values: &mut [[f32; PANEL]],
) {
    let mut made = [[_mm512_setzero_ps(); 2]; R];
    for (group, lines) in panel.as_chunks::<PANEL>().0.chunks(side.step).enumerate() {
        let mut sums = [[_mm512_setzero_si512(); 2]; R];
        for (word, line) in lines.iter().enumerate() {
            let line = line.as_ptr().cast::<__m512i>();
            // SAFETY: a line is two vectors long.
            let low = unsafe { _mm512_loadu_si512(line) };
            // SAFETY: as above.
            let high = unsafe { _mm512_loadu_si512(line.add(1)) };
            let right = [low, high];
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's rows hold at least as many words as the panel has lines.
                let left = unsafe { *a.add(row * stride + group * side.step + word) };
                let left = _mm512_set1_epi32(left.cast_signed());
                sums[0] = _mm512_dpbusd_epi32(sums[0], left, right[0]);
                sums[1] = _mm512_dpbusd_epi32(sums[1], left, right[1]);
            }
        }
        let (units, totals) = (pair(&side.units[group]), pair(&side.totals[group]));
        for ((made, sums), codes) in made.iter_mut().zip(&sums).zip(rows) {
            let (unit, shift) = (
                _mm512_set1_ps(codes[group].unit),
                _mm512_set1_ps(codes[group].shift),
            );
            for half in 0..2 {
                let by = _mm512_mul_ps(unit, units[half]);
                made[half] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[half]), by, made[half]);
                made[half] = _mm512_fmadd_ps(shift, totals[half], made[half]);
            }
        }
    }
    for (made, to) in made.iter().zip(values) {
        let to = to.as_mut_ptr();
        // SAFETY: a row of values is two vectors long.
        unsafe {
            _mm512_storeu_ps(to, made[0]);
            _mm512_storeu_ps(to.add(LANES), made[1]);
        }
    }
}

#[target_feature(enable = "avx512f")]
fn pair(values: &[f32; PANEL]) -> [__m512; 2] {
    let from = values.as_ptr();
    // SAFETY: 32 values are two vectors long.
    unsafe { [_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(LANES))] }
}
