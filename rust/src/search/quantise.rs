//! A vector as codes of 8 bits, with what bounds the error of its inner products (the proof is in docs/search.md).
//!
//! A vector y is kept as integers c from -127 to 127 and a unit s, so that s c approximates y.

use super::kernels::isa::by_isa;

/// Sums that run side by quantised.
const LANES: usize = 16;
/// Units outside of this range could underflow or overflow in f32: such a vector is not screened.
const MIN_UNIT: f32 = 1.0 / (1u64 << 40) as f32;
const MAX_UNIT: f32 = (1u64 << 40) as f32;
/// Half of the distance from 1 to the next f32.
pub(crate) const ROUNDING: f64 = 1.0 / (1u64 << 24) as f64;
/// What subtracting the mean and the codes in f32 can lose, by the norm of the codes (docs/search.md).
const SUBTRACTION_LOSS: f64 = 8.0 * ROUNDING;

/// A quantised vector, apart from its codes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Quantised {
    /// Value of one unit of a code; 0 where all codes are.
    pub unit: f32,
    /// Sum of the codes.
    pub code_sum: i32,
    /// At least the norm of unit times codes.
    pub norm: f32,
    /// At least the norm of the vector minus unit times codes; infinite where nothing is known.
    pub residual: f32,
}

impl Quantised {
    /// A vector that nothing is known about.
    pub(crate) const UNKNOWN: Self = Self {
        unit: 0.0,
        code_sum: 0,
        norm: 0.0,
        residual: f32::INFINITY,
    };
}

by_isa! {
    /// Writes the codes of finite values, each as the byte of an i8; every instruction set gives the same bits.
    pub(crate) fn quantise(isa: Isa, values: &[f32], codes: &mut [u8]) -> Quantised = quantise_body;
}

#[inline(always)]
fn quantise_body<const FMA: bool>(values: &[f32], codes: &mut [u8]) -> Quantised {
    let unit = largest(values) / 127.0;
    if !(MIN_UNIT..=MAX_UNIT).contains(&unit) {
        codes.fill(0);
        // Zero itself is known exactly.
        let zero = values.iter().all(|value| *value == 0.0);
        return if zero {
            Quantised::default()
        } else {
            Quantised::UNKNOWN
        };
    }
    let inverse = 1.0 / unit;
    let mut sums = Sums::default();
    let (lines, rest) = values.as_chunks::<LANES>();
    let (some, last) = codes[..values.len()].as_chunks_mut::<LANES>();
    for (line, codes) in lines.iter().zip(some) {
        sums.add(line, codes, unit, inverse);
    }
    let (mut line, mut bytes) = ([0.0; LANES], [0; LANES]);
    line[..rest.len()].copy_from_slice(rest);
    sums.add(&line, &mut bytes, unit, inverse);
    last.copy_from_slice(&bytes[..rest.len()]);
    sums.finish(unit, values.len())
}

#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let (lines, rest) = values.as_chunks::<LANES>();
    let mut most = [0.0f32; LANES];
    for line in lines {
        for at in 0..LANES {
            let value = line[at].abs();
            most[at] = if value > most[at] { value } else { most[at] };
        }
    }
    let all = most
        .iter()
        .copied()
        .chain(rest.iter().map(|value| value.abs()));
    all.fold(0.0, |most, value| if value > most { value } else { most })
}

#[derive(Default)]
struct Sums {
    codes: [i32; LANES],
    squares: [i32; LANES],
    differences: [f32; LANES],
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, values: &[f32; LANES], codes: &mut [u8; LANES], unit: f32, inverse: f32) {
        const SHIFT: f32 = 12_582_912.0; // rounds to the nearest integer, ties to even
        for at in 0..LANES {
            let shifted = values[at] * inverse + SHIFT;
            let rounded = shifted - SHIFT;
            let code = shifted.to_bits().cast_signed() - SHIFT.to_bits().cast_signed();
            codes[at] = code as u8;
            self.codes[at] += code;
            self.squares[at] += code * code;
            let difference = values[at] - rounded * unit;
            self.differences[at] += difference * difference;
        }
    }

    /// The bounds: every sum, product and root is widened by more than its rounding can have lost.
    #[inline(always)]
    fn finish(&self, unit: f32, dimensions: usize) -> Quantised {
        let squares: i64 = self.squares.iter().map(|sum| i64::from(*sum)).sum();
        let norm = f64::from(unit) * (squares as f64).sqrt() * (1.0 + ROUNDING);
        let differences: f64 = self.differences.iter().map(|sum| f64::from(*sum)).sum();
        let slack = 1.0 + (dimensions as f64 + LANES as f64) * ROUNDING; // of sums of squares in f32
        let residual = differences.sqrt() * slack + norm * SUBTRACTION_LOSS;
        Quantised {
            unit,
            code_sum: self.codes.iter().sum(),
            norm: up(norm),
            residual: up(residual),
        }
    }
}

/// The next f32 that is not below a value.
pub(crate) fn up(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) < value {
        near.next_up()
    } else {
        near
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Isa;
    use proptest::prelude::*;

    /// The bounds in f64, dimension after dimension.
    fn slow(values: &[f32], codes: &[u8], unit: f32) -> (f64, f64, i32) {
        let (mut norm, mut residual, mut code_sum) = (0.0f64, 0.0f64, 0);
        for (value, code) in values.iter().zip(codes) {
            let approximate = f64::from(unit) * f64::from(*code as i8);
            norm += approximate * approximate;
            residual += (f64::from(*value) - approximate).powi(2);
            code_sum += i32::from(*code as i8);
        }
        (norm.sqrt(), residual.sqrt(), code_sum)
    }

    #[test]
    fn zeros_are_known_and_extremes_are_not() {
        for isa in Isa::all() {
            let mut codes = [7u8; 3];
            assert_eq!(quantise(isa, &[0.0; 3], &mut codes), Quantised::default());
            assert_eq!(codes, [0; 3]);
            for value in [1e-30, 1e30, f32::MIN_POSITIVE / 4.0] {
                assert_eq!(
                    quantise(isa, &[value, 0.0, 0.0], &mut codes),
                    Quantised::UNKNOWN
                );
            }
        }
    }

    proptest! {
        #[test]
        fn codes_are_nearest_and_bounds_hold(
            values in prop::collection::vec(-1.0f32..1.0, 1..200), power in -30i32..30,
        ) {
            let scale = 2.0f32.powi(power);
            let values: Vec<f32> = values.iter().map(|value| value * scale).collect();
            let mut codes = vec![0; values.len()];
            let quantised = quantise(Isa::best(), &values, &mut codes);
            for isa in Isa::all() {
                let mut other = vec![0; values.len()];
                prop_assert_eq!(quantise(isa, &values, &mut other), quantised, "{:?}", isa);
                prop_assert_eq!(&other, &codes, "{:?}", isa);
            }
            let (norm, residual, code_sum) = slow(&values, &codes, quantised.unit);
            prop_assert_eq!(quantised.code_sum, code_sum);
            prop_assert!(f64::from(quantised.norm) >= norm && f64::from(quantised.residual) >= residual);
            prop_assert!(f64::from(quantised.norm) <= norm * 1.0001 && f64::from(quantised.residual) <= residual * 1.001 + norm * 1e-5);
            for (value, code) in values.iter().zip(&codes) {
                let off = f64::from(*value) - f64::from(quantised.unit) * f64::from(*code as i8);
                prop_assert!(off.abs() <= f64::from(quantised.unit) * 0.501, "{} {} {}", value, *code as i8, quantised.unit);
            }
        }
    }
}
