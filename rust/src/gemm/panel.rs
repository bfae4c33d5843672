//! One panel of weights while it is packed.

use super::convert::bf16_bits;
use super::{Form, Kind, PANEL};

/// Largest code of an 8-bit weight.
const TOP: f32 = 127.0;
/// The parts of one panel that is being packed.
#[derive(Default)]
pub(crate) struct Panel<'a> {
    pub words: &'a mut [u32],
    pub scales: &'a mut [f32],
    pub sums: &'a mut [f32],
}

impl Panel<'_> {
    /// Writes one output's words into its column.
    pub(crate) fn place(
        &mut self,
        form: Form,
        column: usize,
        values: &[f32],
        units: Option<&[f32]>,
    ) {
        let per = form.kind.per_word();
        let words = self.words.iter_mut().skip(column).step_by(PANEL);
        match form.kind {
            Kind::F32 => words
                .zip(values)
                .for_each(|(word, value)| *word = value.to_bits()),
            Kind::Bf16 => words.zip(values.chunks_exact(2)).for_each(|(word, pair)| {
                *word = u32::from(bf16_bits(pair[0])) | u32::from(bf16_bits(pair[1])) << 16;
            }),
            Kind::Int8 => {
                for (group, some) in values[..form.inputs].chunks(form.group).enumerate() {
                    let unit = units.map_or_else(|| unit_of(some), |units| units[group]);
                    let start = group * form.group / per;
                    self.scales[group * PANEL + column] = unit;
                    self.sums[group * PANEL + column] =
                        unit * codes(some, unit, &mut self.words[start * PANEL + column..]) as f32;
                }
            }
        }
    }
}

fn unit_of(values: &[f32]) -> f32 {
    values
        .iter()
        .fold(0.0f32, |largest, value| largest.max(value.abs()))
        / TOP
}

/// The nearest integer, ties to even, of a value below 2^22.
fn nearest(value: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    value + SHIFT - SHIFT
}

/// Writes codes in fours, every 32 words; returns their sum.
fn codes(values: &[f32], unit: f32, words: &mut [u32]) -> i32 {
    let mut sum = 0;
    for (word, some) in words.iter_mut().step_by(PANEL).zip(values.chunks(4)) {
        let mut bytes = [0u8; 4];
        for (byte, value) in bytes.iter_mut().zip(some) {
            let code = if unit == 0.0 {
                0
            } else {
                nearest(value / unit).clamp(-TOP, TOP) as i8
            };
            sum += i32::from(code);
            *byte = code as u8;
        }
        *word = u32::from_le_bytes(bytes);
    }
    sum
}
