//! The score: an inner product with the same bits on every machine.
//!
//! The product of two f32 is exact in f64, so a fused multiply-add equals a product and a sum. The sum runs in eight
//! interleaved lanes (dimension j goes to lane j mod 8), which are added by one fixed tree; the result is rounded to f32.

/// Lanes that accumulate independently.
pub const LANES: usize = 8;

/// The fixed tree: lanes four apart, then two, then one; rounded once to f32.
#[inline(always)]
pub fn fold(lanes: &[f64; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h] = *lanes;
    (((a + e) + (c + g)) + ((b + f) + (d + h))) as f32
}

/// The scalar twin: one pair, dimension after dimension.
pub fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    for (at, (x, y)) in left.iter().zip(right).enumerate() {
        lanes[at % LANES] += f64::from(*x) * f64::from(*y);
    }
    fold(&lanes)
}

/// An inner product in f64, for bounds: in no defined order.
pub fn dot_f64(left: &[f32], right: &[f32]) -> f64 {
    let products = left
        .iter()
        .zip(right)
        .map(|(x, y)| f64::from(*x) * f64::from(*y));
    products.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_go_round_the_lanes_and_are_rounded_once() {
        let left: Vec<f32> = (0..19u8).map(f32::from).collect();
        assert_eq!(dot(&left, &left), 2109.0);
        assert_eq!(dot(&[], &[]), 0.0);
        // In f32 the small product would be lost before the large ones cancel.
        assert_eq!(dot(&[1e8, 1.0, -1e8], &[1e8, 1e-3, 1e8]), 1e-3);
    }
}
