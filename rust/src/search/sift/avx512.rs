//! The test with AVX-512.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::{
    _mm512_add_epi32 as add, _mm512_cvtepi32_ps as convert, _mm512_fmadd_ps as fused,
    _mm512_loadu_ps as load_floats, _mm512_loadu_si512 as load_integers, _mm512_mul_ps as multiply,
    _mm512_set1_ps as set, *,
};

use super::vector::vector_test;

vector_test!(
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    __m512,
    __m512i,
    16
);

/// A bit for each value that is not below the limit, or is no number.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn not_below(values: __m512, limit: __m512) -> u32 {
    u32::from(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(values, limit))
}
