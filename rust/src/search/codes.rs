//! A vector as codes of 8 bits, with what bounds the error of its inner products (the proof is in docs/search.md).
//!
//! A vector y is kept as integers c from -127 to 127 and a unit s, so that s c approximates y.

/// Values in a vector of sums.
const LINE: usize = 16;
/// Units outside of this range could underflow or overflow in f32: such a vector is not screened.
const LEAST: f32 = 1.0 / (1u64 << 40) as f32;
const MOST: f32 = (1u64 << 40) as f32;
/// What subtracting the mean and the codes in f32 can lose, by the norm of the codes (docs/search.md).
const SUBTRACTED: f64 = 8.0 * ROUNDING;
/// Half of the distance from 1 to the next f32.
pub(crate) const ROUNDING: f64 = 1.0 / (1u64 << 24) as f64;

/// What a quantised vector is, apart from its codes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Side {
    /// Value of one unit of a code; 0 where all codes are.
    pub unit: f32,
    /// Sum of the codes.
    pub total: i32,
    /// At least the norm of unit times codes.
    pub norm: f32,
    /// At least the norm of the vector minus unit times codes; infinite where nothing is known.
    pub residual: f32,
}

impl Side {
    /// A vector that nothing is known about.
    pub(crate) const UNKNOWN: Self = Self {
        unit: 0.0,
        total: 0,
        norm: 0.0,
        residual: f32::INFINITY,
    };
}

by_isa! {
    /// Writes the codes of finite values, each as the byte of an i8, and says what they are.
    pub(crate) fn quantise(values: &[f32], codes: &mut [u8]) -> Side = quantise_body;
}

#[inline(always)]
fn quantise_body<const FMA: bool>(values: &[f32], codes: &mut [u8]) -> Side {
    let unit = largest(values) / 127.0;
    if !(LEAST..=MOST).contains(&unit) {
        codes.fill(0);
        // Zero itself is known exactly.
        let zero = values.iter().all(|value| *value == 0.0);
        return if zero { Side::default() } else { Side::UNKNOWN };
    }
    let inverse = 1.0 / unit;
    let mut sums = Sums::default();
    let (lines, rest) = values.as_chunks::<LINE>();
    let (some, last) = codes[..values.len()].as_chunks_mut::<LINE>();
    for (line, codes) in lines.iter().zip(some) {
        sums.add(line, codes, unit, inverse);
    }
    let (mut line, mut bytes) = ([0.0; LINE], [0; LINE]);
    line[..rest.len()].copy_from_slice(rest);
    sums.add(&line, &mut bytes, unit, inverse);
    last.copy_from_slice(&bytes[..rest.len()]);
    sums.side(unit, values.len())
}

#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let (lines, rest) = values.as_chunks::<LINE>();
    let mut most = [0.0f32; LINE];
    for line in lines {
        for at in 0..LINE {
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
    codes: [i32; LINE],
    squares: [i32; LINE],
    differences: [f32; LINE],
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, values: &[f32; LINE], codes: &mut [u8; LINE], unit: f32, inverse: f32) {
        const SHIFT: f32 = 12_582_912.0; // rounds to the nearest integer, ties to even
        for at in 0..LINE {
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
    fn side(&self, unit: f32, dimensions: usize) -> Side {
        let squares: i64 = self.squares.iter().map(|sum| i64::from(*sum)).sum();
        let norm = f64::from(unit) * (squares as f64).sqrt() * (1.0 + ROUNDING);
        let differences: f64 = self.differences.iter().map(|sum| f64::from(*sum)).sum();
        let slack = 1.0 + (dimensions as f64 + LINE as f64) * ROUNDING; // of sums of squares in f32
        let residual = differences.sqrt() * slack + norm * SUBTRACTED;
        Side {
            unit,
            total: self.codes.iter().sum(),
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
    use proptest::prelude::*;

    /// The bounds in f64, dimension after dimension.
    fn slow(values: &[f32], codes: &[u8], unit: f32) -> (f64, f64, i32) {
        let (mut norm, mut residual, mut total) = (0.0f64, 0.0f64, 0);
        for (value, code) in values.iter().zip(codes) {
            let approximate = f64::from(unit) * f64::from(*code as i8);
            norm += approximate * approximate;
            residual += (f64::from(*value) - approximate).powi(2);
            total += i32::from(*code as i8);
        }
        (norm.sqrt(), residual.sqrt(), total)
    }

    #[test]
    fn zeros_are_known_and_extremes_are_not() {
        let mut codes = [7u8; 3];
        assert_eq!(quantise(&[0.0; 3], &mut codes), Side::default());
        assert_eq!(codes, [0; 3]);
        for value in [1e-30, 1e30, f32::MIN_POSITIVE / 4.0] {
            assert_eq!(quantise(&[value, 0.0, 0.0], &mut codes), Side::UNKNOWN);
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
            let side = quantise(&values, &mut codes);
            let (norm, residual, total) = slow(&values, &codes, side.unit);
            prop_assert_eq!(side.total, total);
            prop_assert!(f64::from(side.norm) >= norm && f64::from(side.residual) >= residual);
            prop_assert!(f64::from(side.norm) <= norm * 1.0001 && f64::from(side.residual) <= residual * 1.001 + norm * 1e-5);
            for (value, code) in values.iter().zip(&codes) {
                let off = f64::from(*value) - f64::from(side.unit) * f64::from(*code as i8);
                prop_assert!(off.abs() <= f64::from(side.unit) * 0.501, "{} {} {}", value, *code as i8, side.unit);
            }
        }
    }
}
