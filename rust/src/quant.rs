//! Vectors in 8 bits with a proven bound on the error of their inner products.
//!
//! A vector x is kept as codes c (i8) and one scale s, so that s c approximates x. With the residual r = x - s c,
//! <q, x> = s_q s_x <c_q, c_x> + <r_q, s_x c_x> + <q, r_x>, and the last two are at most |r_q| |s_x c_x| + |q| |r_x|.

use crate::error::{Error, Result};

/// Largest code; -128 stays unused so that codes are symmetric.
const TOP: f64 = 127.0;
/// Widens a norm by more than the rounding of its sum in f64 can shrink it (for up to a million dimensions).
const SLACK: f64 = 1.0 + 1e-9;

/// One quantised vector and what its error bound needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantised {
    /// The codes, each between -127 and 127.
    pub codes: Vec<i8>,
    /// Value of one unit of a code.
    pub scale: f32,
    /// At least the norm of the vector.
    pub norm: f64,
    /// At least the norm of the approximation `scale * codes`.
    pub approximate_norm: f64,
    /// At least the norm of the difference of the two.
    pub residual: f64,
}

impl Quantised {
    /// Quantises a vector with the scale that fits its largest value. Values must be finite.
    pub fn new(vector: &[f32]) -> Result<Self> {
        let largest = vector
            .iter()
            .fold(0.0f32, |largest, value| largest.max(value.abs()));
        if let Some(at) = vector.iter().position(|value| !value.is_finite()) {
            let message = format!("dimension {at} is {}", vector[at]);
            return Err(Error::not_finite(message, "encode again, in bf16 or fp32"));
        }
        let scale = (f64::from(largest) / TOP) as f32;
        let codes: Vec<i8> = vector.iter().map(|value| code(*value, scale)).collect();
        let approximate = |code: &i8| f64::from(*code) * f64::from(scale);
        let differences = vector
            .iter()
            .zip(&codes)
            .map(|(x, c)| f64::from(*x) - approximate(c));
        Ok(Self {
            scale,
            norm: norm(vector.iter().map(|value| f64::from(*value))),
            approximate_norm: norm(codes.iter().map(approximate)),
            residual: norm(differences),
            codes,
        })
    }

    /// The approximate inner product and how far from it the exact one can be.
    pub fn dot(&self, other: &Self) -> (f64, f64) {
        let pairs = self.codes.iter().zip(&other.codes);
        let sum: i64 = pairs
            .map(|(left, right)| i64::from(*left) * i64::from(*right))
            .sum();
        let score = sum as f64 * f64::from(self.scale) * f64::from(other.scale);
        let bound = self.residual * other.approximate_norm + self.norm * other.residual;
        // The last term covers the rounding of the score itself.
        (score, bound * SLACK + score.abs() * 1e-15)
    }
}

fn code(value: f32, scale: f32) -> i8 {
    if scale == 0.0 {
        return 0;
    }
    (f64::from(value) / f64::from(scale))
        .round_ties_even()
        .clamp(-TOP, TOP) as i8
}

/// The Euclidean norm, rounded up.
fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt() * SLACK
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zeros_and_values_that_are_not_finite() {
        let zero = Quantised::new(&[0.0; 4]).unwrap();
        assert_eq!(zero.dot(&zero), (0.0, 0.0));
        assert!(Quantised::new(&[1.0, f32::NAN]).is_err());
    }

    proptest! {
        #[test]
        fn the_exact_product_is_within_the_bound(
            pairs in prop::collection::vec((-1e4f32..1e4, -1.0f32..1.0), 1..300),
        ) {
            let (left, right): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let exact: f64 = left.iter().zip(&right).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            let (l, r) = (Quantised::new(&left).unwrap(), Quantised::new(&right).unwrap());
            let (score, bound) = l.dot(&r);
            prop_assert!((exact - score).abs() <= bound, "{exact} {score} {bound}");
            prop_assert!(bound <= l.norm * r.norm * 2.0);
        }
    }
}
