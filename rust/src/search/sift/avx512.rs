//! The test with AVX-512.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use super::Bound;
use crate::gemm::PANEL;
use crate::search::panel::Panel;

/// Values of a vector.
const LANES: usize = 16;
/// Vectors of a panel.
const COUNT: usize = PANEL / LANES;

/// A panel's numbers in AVX-512 registers.
pub(crate) struct Test {
    units: [__m512; COUNT],
    starts: [__m512i; COUNT],
    norms: [__m512; COUNT],
    residuals: [__m512; COUNT],
}

impl super::Test for Test {
    #[inline(always)]
    fn new(panel: &Panel<'_>) -> Self {
        // SAFETY: only called where `Isa::runs` found the instructions.
        unsafe { new(panel) }
    }

    #[inline(always)]
    fn passing(&self, sums: &[u32; PANEL], bound: &Bound, limit: f32) -> u32 {
        // SAFETY: as above.
        unsafe { passing(self, sums, bound, limit) }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn new(panel: &Panel<'_>) -> Test {
    Test {
        units: floats(&panel.units()),
        starts: integers(&panel.starts().map(i32::cast_unsigned)),
        norms: floats(&panel.norms()),
        residuals: floats(&panel.residuals()),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn passing(test: &Test, sums: &[u32; PANEL], bound: &Bound, limit: f32) -> u32 {
    let (by_norm, by_residual) = (
        _mm512_set1_ps(bound.by_norm),
        _mm512_set1_ps(bound.by_residual),
    );
    let (sums, limit) = (integers(sums), _mm512_set1_ps(limit));
    let mut bits = 0;
    for (at, sum) in sums.into_iter().enumerate() {
        let sum = _mm512_cvtepi32_ps(_mm512_add_epi32(sum, test.starts[at]));
        let error = _mm512_mul_ps(by_norm, test.norms[at]);
        let error = _mm512_fmadd_ps(by_residual, test.residuals[at], error);
        let most = _mm512_fmadd_ps(sum, test.units[at], error);
        let passing = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(most, limit);
        bits |= u32::from(passing) << (at * LANES);
    }
    bits
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn floats(values: &[f32; PANEL]) -> [__m512; COUNT] {
    // SAFETY: a panel is `COUNT` vectors long.
    std::array::from_fn(|at| unsafe { _mm512_loadu_ps(values.as_ptr().add(at * LANES)) })
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn integers(values: &[u32; PANEL]) -> [__m512i; COUNT] {
    // SAFETY: as above.
    std::array::from_fn(|at| unsafe { _mm512_loadu_si512(values.as_ptr().add(at * LANES).cast()) })
}
