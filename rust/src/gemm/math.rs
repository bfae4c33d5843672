//! Elementary functions that the compiler turns into vector code where they are inlined.

/// a b + c, fused where the caller's instruction set fuses.
#[inline(always)]
pub(crate) fn fused<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// e^x to about 2e-7 relative; below -87 the value at -87, above 88 that at 88, NaN stays NaN.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0; // 1.5 x 2^23: adding it rounds to an integer and keeps that in the low bits
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = fused::<FMA>(x, std::f32::consts::LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    let r = fused::<FMA>(n, -LN2_LOW, fused::<FMA>(n, -LN2_HIGH, x));
    let mut p = 1.987_569_1e-4;
    for c in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
        1.0,
        1.0,
    ] {
        p = fused::<FMA>(p, r, c);
    }
    let power = (shifted.to_bits().wrapping_sub(SHIFT.to_bits())) << 23;
    f32::from_bits(p.to_bits().wrapping_add(power))
}

/// 2^x for x up to 100, to about 3e-6 relative; below -126 the value at -126, NaN stays NaN.
#[inline(always)]
pub(crate) fn power<const FMA: bool>(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0; // its low bits are zero, so that shifting the sum's bits leaves the integer alone
    let x = if x < -126.0 { -126.0 } else { x };
    let shifted = x + SHIFT;
    let r = x - (shifted - SHIFT);
    let mut p = 0.0095701;
    for c in [0.05591786, 0.24024744, 0.6931218, 0.9999993] {
        p = fused::<FMA>(p, r, c);
    }
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_is_near_the_exact_one() {
        for step in -12_600..=10_000 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).exp2();
            for found in [power::<true>(x), power::<false>(x)] {
                assert!(
                    (f64::from(found) / exact - 1.0).abs() < 5e-6,
                    "{x}: {found} {exact}"
                );
            }
        }
        assert!(power::<false>(f32::NAN).is_nan());
        assert!(power::<false>(-1e30) < 2e-38);
    }

    #[test]
    fn exp_is_near_the_exact_one() {
        for step in -8_700..8_800 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).exp();
            for found in [exp::<true>(x), exp::<false>(x)] {
                assert!(
                    (f64::from(found) / exact - 1.0).abs() < 4e-7,
                    "{x}: {found} {exact}"
                );
            }
        }
        assert!(exp::<false>(f32::NAN).is_nan());
        assert!(exp::<false>(-1e30) < 2e-38);
    }
}
