//! The test with AVX2.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::{
    _mm256_add_epi32 as add, _mm256_cvtepi32_ps as convert, _mm256_fmadd_ps as fused,
    _mm256_loadu_ps as load_floats, _mm256_loadu_si256 as load_integers, _mm256_mul_ps as multiply,
    _mm256_set1_ps as set, *,
};

use super::vector::vector_test;

vector_test!("avx2,fma", __m256, __m256i, 8);

/// A bit for each value that is not below the limit, or is no number.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn not_below(values: __m256, limit: __m256) -> u32 {
    _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(values, limit)).cast_unsigned()
}
