//! Factors and turns of inputs: each 128 values times factors, then the Walsh-Hadamard matrix in Sylvester's order.
//!
//! The matrix is not scaled here: who gives the factors divides them by sqrt(128).

/// Values that are turned together.
pub(crate) const TURN: usize = 128;
const LANES: usize = 16;
type Block = [[f32; LANES]; TURN / LANES];

/// Multiplies values by factors and turns each block of 128.
pub(crate) fn turn(values: &mut [f32], factors: &[f32]) {
    let blocks = values
        .as_chunks_mut::<TURN>()
        .0
        .iter_mut()
        .zip(factors.as_chunks::<TURN>().0);
    #[cfg(target_arch = "x86_64")]
    if crate::gemm::isa(crate::gemm::Kind::F32) == crate::gemm::Isa::Avx512 {
        // SAFETY: `isa` found these instructions on this processor.
        blocks.for_each(|(block, factors)| unsafe { wide::turn(block, factors) });
        return;
    }
    blocks.for_each(|(block, factors)| plain(block, factors));
}

fn plain(values: &mut [f32; TURN], factors: &[f32; TURN]) {
    let mut block: Block = [[0.0; LANES]; TURN / LANES];
    for (at, (value, factor)) in values.iter().zip(factors).enumerate() {
        block[at / LANES][at % LANES] = value * factor;
    }
    across(&mut block, |a, b| {
        (
            std::array::from_fn(|at| a[at] + b[at]),
            std::array::from_fn(|at| a[at] - b[at]),
        )
    });
    for line in &mut block {
        for apart in [8, 4, 2, 1] {
            let old = *line;
            *line = std::array::from_fn(|at| {
                old[at ^ apart] + if at & apart == 0 { old[at] } else { -old[at] }
            });
        }
    }
    values
        .iter_mut()
        .zip(block.iter().flatten())
        .for_each(|(value, turned)| *value = *turned);
}

/// The stages whose partners are in different vectors.
#[inline(always)]
fn across<V: Copy>(block: &mut [V; TURN / LANES], butterfly: impl Fn(V, V) -> (V, V)) {
    for apart in [4, 2, 1] {
        for at in 0..TURN / LANES {
            if at & apart == 0 {
                (block[at], block[at + apart]) = butterfly(block[at], block[at + apart]);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::*;

    use super::{LANES, TURN, across};

    #[target_feature(enable = "avx512f")]
    pub(super) fn turn(values: &mut [f32; TURN], factors: &[f32; TURN]) {
        let mut block = [_mm512_setzero_ps(); TURN / LANES];
        for (at, vector) in block.iter_mut().enumerate() {
            // SAFETY: both hold eight vectors of sixteen values.
            let (value, factor) = unsafe {
                (
                    _mm512_loadu_ps(values.as_ptr().add(at * LANES)),
                    _mm512_loadu_ps(factors.as_ptr().add(at * LANES)),
                )
            };
            *vector = _mm512_mul_ps(value, factor);
        }
        across(&mut block, |a, b| {
            (_mm512_add_ps(a, b), _mm512_sub_ps(a, b))
        });
        for (at, vector) in block.iter().enumerate() {
            let turned = within(*vector);
            // SAFETY: as above.
            unsafe { _mm512_storeu_ps(values.as_mut_ptr().add(at * LANES), turned) };
        }
    }

    /// The stages whose partners are in one vector: every value, signed, is added to its partner.
    #[target_feature(enable = "avx512f")]
    fn within(x: __m512) -> __m512 {
        let x = signed(x, 0xff00, _mm512_shuffle_f32x4::<0b01_00_11_10>(x, x));
        let x = signed(x, 0xf0f0, _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x));
        let x = signed(x, 0xcccc, _mm512_permute_ps::<0b01_00_11_10>(x));
        signed(x, 0xaaaa, _mm512_permute_ps::<0b10_11_00_01>(x))
    }

    /// partner + x, or partner - x where the mask says so.
    #[target_feature(enable = "avx512f")]
    fn signed(x: __m512, minus: __mmask16, partner: __m512) -> __m512 {
        _mm512_mask_sub_ps(_mm512_add_ps(partner, x), minus, partner, x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_give_the_same_bits() {
        let value = |at: usize| ((at * 2_654_435_761) % 1_000) as f32 / 500.0 - 1.0;
        let mut values: Vec<f32> = (0..2 * TURN).map(value).collect();
        let factors: Vec<f32> = (0..2 * TURN).map(|at| 1.0 + value(at + 7).abs()).collect();
        let mut twin = values.clone();
        turn(&mut values, &factors);
        for (block, factors) in twin
            .as_chunks_mut::<TURN>()
            .0
            .iter_mut()
            .zip(factors.as_chunks::<TURN>().0)
        {
            plain(block, factors);
        }
        assert_eq!(values, twin);
    }
}
