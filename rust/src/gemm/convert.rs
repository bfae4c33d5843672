//! Rows of f32 values as bf16 and as codes of 8 bits.

use super::math::fused;
use super::rows::LINE;

/// int8 values of a line.
const BLOCK: usize = 4 * LINE;
/// The code of zero in a row of zeros.
pub(crate) const MIDDLE: u32 = 0x8080_8080;

/// A code c stands for (c - zero) unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Code {
    pub unit: f32,
    pub zero: i32,
    /// -zero times unit.
    pub shift: f32,
}

impl Code {
    pub(crate) fn new(unit: f32, zero: i32) -> Self {
        Self {
            unit,
            zero,
            shift: -(zero as f32) * unit,
        }
    }
}

/// The bits of the nearest bf16, ties to even; NaN stays NaN.
#[inline(always)]
pub(crate) fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
    if value.is_nan() { 0x7fc0 } else { rounded }
}

#[inline(always)]
pub(crate) fn bf16_value(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

by_isa! {
    pub(crate) fn pairs(words: &mut [u32], values: &[f32]) = pairs_body;
}

#[inline(always)]
fn pairs_body<const FMA: bool>(words: &mut [u32], values: &[f32]) {
    let (blocks, rest) = values.as_chunks::<{ 2 * LINE }>();
    for (words, block) in words.as_chunks_mut::<LINE>().0.iter_mut().zip(blocks) {
        let bits: [u16; 2 * LINE] = std::array::from_fn(|at| bf16_bits(block[at]));
        for (word, pair) in words.iter_mut().zip(bits.as_chunks::<2>().0) {
            *word = u32::from(pair[0]) | u32::from(pair[1]) << 16;
        }
    }
    let words = &mut words[blocks.len() * LINE..];
    for (word, some) in words.iter_mut().zip(rest.chunks(2)) {
        *word = u32::from(bf16_bits(some[0]))
            | some
                .get(1)
                .map_or(0, |value| u32::from(bf16_bits(*value)) << 16);
    }
}

by_isa! {
    pub(crate) fn quantise(words: &mut [u32], values: &[f32]) -> Code = quantise_body;
}

/// Codes from 0 to 255 over the range of the values and zero; a row that is not finite gets a unit that is not.
#[inline(always)]
fn quantise_body<const FMA: bool>(words: &mut [u32], values: &[f32]) -> Code {
    let (low, high) = range::<FMA>(values);
    let unit = (high - low) / 255.0;
    if unit.is_nan() || unit.is_infinite() || unit < f32::MIN_POSITIVE {
        words.fill(MIDDLE);
        return Code::new(if unit.is_finite() { 0.0 } else { f32::NAN }, 128);
    }
    let inverse = 1.0 / unit;
    let zero = (-low * inverse).round_ties_even();
    let (blocks, rest) = values.as_chunks::<BLOCK>();
    for (words, block) in words.as_chunks_mut::<LINE>().0.iter_mut().zip(blocks) {
        encode(words, block, inverse, zero);
    }
    let mut block = [0.0f32; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    let mut last = [0u32; LINE];
    encode(&mut last, &block, inverse, zero);
    words[blocks.len() * LINE..][..rest.len().div_ceil(4)]
        .copy_from_slice(&last[..rest.len().div_ceil(4)]);
    Code::new(unit, zero as i32)
}

/// Least and largest value, zero among them; NaN where a value is NaN.
#[inline(always)]
fn range<const FMA: bool>(values: &[f32]) -> (f32, f32) {
    let (mut low, mut high, mut strange) = ([0.0f32; LINE], [0.0f32; LINE], [0.0f32; LINE]);
    let (lines, rest) = values.as_chunks::<LINE>();
    for line in lines {
        for at in 0..LINE {
            low[at] = if line[at] < low[at] {
                line[at]
            } else {
                low[at]
            };
            high[at] = if line[at] > high[at] {
                line[at]
            } else {
                high[at]
            };
            strange[at] = fused::<FMA>(line[at], 0.0, strange[at]); // of NaN and infinity this is NaN
        }
    }
    let least = low.iter().chain(rest).fold(
        0.0f32,
        |least, value| if *value < least { *value } else { least },
    );
    let most = high.iter().chain(rest).fold(
        0.0f32,
        |most, value| if *value > most { *value } else { most },
    );
    let strange: f32 =
        strange.iter().sum::<f32>() + rest.iter().map(|value| value * 0.0).sum::<f32>();
    (least + strange, most)
}

/// Codes of 64 values.
#[inline(always)]
fn encode(words: &mut [u32; LINE], values: &[f32; BLOCK], inverse: f32, zero: f32) {
    let mut bytes = [0u8; BLOCK];
    for (byte, value) in bytes.iter_mut().zip(values) {
        *byte = code(*value, inverse, zero);
    }
    for (word, quad) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*quad);
    }
}

#[inline(always)]
fn code(value: f32, inverse: f32, zero: f32) -> u8 {
    const SHIFT: f32 = 12_582_912.0; // rounds to the nearest integer, ties to even, and leaves it in the low bits
    let place = value * inverse + zero;
    let place = if place < 0.0 { 0.0 } else { place };
    let place = if place > 255.0 { 255.0 } else { place };
    (place + SHIFT).to_bits() as u8
}
