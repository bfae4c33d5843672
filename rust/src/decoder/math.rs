//! Arithmetic on rows of f32, in vector code where the processor has it.

use crate::gemm::{exp, fused};

const LANES: usize = 16;

by_isa! {
    /// Multiplies values by factors.
    pub(crate) fn scale(values: &mut [f32], by: &[f32]) = scale_body;
}

#[inline(always)]
fn scale_body<const FMA: bool>(values: &mut [f32], by: &[f32]) {
    values
        .iter_mut()
        .zip(by)
        .for_each(|(value, by)| *value *= by);
}

by_isa! {
    /// x / sqrt(mean(x^2) + eps) * weight into `to`.
    pub(crate) fn rms(values: &[f32], weight: &[f32], eps: f32, to: &mut [f32]) = rms_body;
}

#[inline(always)]
fn rms_body<const FMA: bool>(values: &[f32], weight: &[f32], eps: f32, to: &mut [f32]) {
    let factor = 1.0 / (dot_body::<FMA>(values, values) / values.len() as f32 + eps).sqrt();
    for ((to, value), weight) in to.iter_mut().zip(values).zip(weight) {
        *to = value * factor * weight;
    }
}

by_isa! {
    /// x / sqrt(mean(x^2) + eps) * weight in place.
    pub(crate) fn rms_inplace(values: &mut [f32], weight: &[f32], eps: f32) = rms_inplace_body;
}

#[inline(always)]
fn rms_inplace_body<const FMA: bool>(values: &mut [f32], weight: &[f32], eps: f32) {
    let factor = 1.0 / (dot_body::<FMA>(values, values) / values.len() as f32 + eps).sqrt();
    for (value, weight) in values.iter_mut().zip(weight) {
        *value = *value * factor * weight;
    }
}

#[inline(always)]
fn dot_body<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for at in 0..LANES {
            sums[at] = fused::<FMA>(a[at], b[at], sums[at]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

by_isa! {
    /// Adds values.
    pub(crate) fn add(to: &mut [f32], values: &[f32]) = add_body;
}

#[inline(always)]
fn add_body<const FMA: bool>(to: &mut [f32], values: &[f32]) {
    to.iter_mut()
        .zip(values)
        .for_each(|(to, value)| *to += value);
}

by_isa! {
    /// Turns a head by the angles of its position, and multiplies it: halves (a, b) become (a cos - b sin, b cos + a sin).
    pub(crate) fn turn(head: &mut [f32], cos: &[f32], sin: &[f32], by: f32) = turn_body;
}

#[inline(always)]
fn turn_body<const FMA: bool>(head: &mut [f32], cos: &[f32], sin: &[f32], by: f32) {
    let half = cos.len();
    let (low, high) = head.split_at_mut(half);
    for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        let (x, y) = (*a, *b);
        *a = (x * cos - y * sin) * by;
        *b = (y * cos + x * sin) * by;
    }
}

by_isa! {
    /// Exponentials of scores below the largest visible one, 0 where not visible; returns their sum.
    ///
    /// `within` is the visible range of `near`; `sees` says which of `far` are visible.
    pub(crate) fn softmax(near: &mut [f32], from: usize, to: usize, far: &mut [f32], sees: &[bool]) -> f32 = softmax_body;
}

#[inline(always)]
fn softmax_body<const FMA: bool>(
    near: &mut [f32],
    from: usize,
    to: usize,
    far: &mut [f32],
    sees: &[bool],
) -> f32 {
    for (score, sees) in far.iter_mut().zip(sees) {
        *score = if *sees { *score } else { f32::NEG_INFINITY };
    }
    let top = largest(&near[from..to]).max(largest(far));
    near[..from].fill(0.0);
    near[to..].fill(0.0);
    exponentials::<FMA>(&mut near[from..to], top) + exponentials::<FMA>(far, top)
}

#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let mut tops = [f32::NEG_INFINITY; LANES];
    let (lines, rest) = values.as_chunks::<LANES>();
    for line in lines {
        for at in 0..LANES {
            tops[at] = if line[at] > tops[at] {
                line[at]
            } else {
                tops[at]
            };
        }
    }
    tops.iter().chain(rest).fold(
        f32::NEG_INFINITY,
        |top, value| if *value > top { *value } else { top },
    )
}

#[inline(always)]
fn exponentials<const FMA: bool>(values: &mut [f32], top: f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (lines, rest) = values.as_chunks_mut::<LANES>();
    for line in lines {
        for at in 0..LANES {
            line[at] = weight::<FMA>(line[at], top);
            sums[at] += line[at];
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for value in rest {
        *value = weight::<FMA>(*value, top);
        sum += *value;
    }
    sum
}

#[inline(always)]
fn weight<const FMA: bool>(score: f32, top: f32) -> f32 {
    let value = exp::<FMA>(score - top);
    if score == f32::NEG_INFINITY {
        0.0
    } else {
        value
    }
}

/// x / (1 + e^-x).
#[inline(always)]
pub(crate) fn silu_of<const FMA: bool>(x: f32) -> f32 {
    x / (1.0 + exp::<FMA>(-x))
}

/// GELU by its tanh formula: x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3).
#[inline(always)]
pub(crate) fn gelu_of<const FMA: bool>(x: f32) -> f32 {
    const ROOT: f32 = 0.797_884_6;
    let u = ROOT * fused::<FMA>(0.044_715 * x * x, x, x);
    x / (1.0 + exp::<FMA>(-2.0 * u))
}
