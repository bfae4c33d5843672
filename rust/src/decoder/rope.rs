//! Rotary positions.

use super::math::turn;

/// Angles of positions: cosines and sines of `position * frequency`, times a factor that some models put on both.
pub struct Rope {
    frequencies: Vec<f32>,
    factor: f32,
}

/// Cosines and sines of the first positions.
pub(crate) struct Angles {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rope {
    /// # Arguments
    /// * `frequencies`: [d / 2] radians a position.
    /// * `factor`: of cosines and sines.
    pub fn new(frequencies: Vec<f32>, factor: f32) -> Self {
        Self {
            frequencies,
            factor,
        }
    }

    /// d / 2.
    pub(crate) fn half(&self) -> usize {
        self.frequencies.len()
    }

    /// The angles of positions 0 to `count` - 1; the product is taken in f32, as models are trained with.
    pub(crate) fn angles(&self, count: usize) -> Angles {
        let angles = (0..count).flat_map(|position| {
            self.frequencies
                .iter()
                .map(move |f| f64::from(position as f32 * f))
        });
        let (sin, cos): (Vec<f32>, Vec<f32>) = angles
            .map(f64::sin_cos)
            .map(|(sin, cos)| (sin as f32 * self.factor, cos as f32 * self.factor))
            .unzip();
        Angles {
            half: self.frequencies.len(),
            cos,
            sin,
        }
    }
}

impl Angles {
    /// Turns a head to its position and multiplies it.
    pub(crate) fn apply(&self, head: &mut [f32], position: usize, by: f32) {
        let at = position * self.half;
        turn(
            head,
            &self.cos[at..at + self.half],
            &self.sin[at..at + self.half],
            by,
        );
    }
}
