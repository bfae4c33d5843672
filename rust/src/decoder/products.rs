//! The products of a layer, their inputs prepared and their results taken.

use super::linear::Linear;
use super::math::{gelu_of, rms, silu_of};
use crate::gemm::{PANEL, Rows, Sink, multiply};

/// The function of a gate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Activation {
    /// x / (1 + e^-x).
    Silu,
    /// The tanh formula of GELU.
    GeluTanh,
}

/// A product of inputs [n, K], which are changed.
pub(crate) fn apply<S: Sink>(linear: &Linear, inputs: &mut [f32], rows: &mut Rows, sink: &mut S) {
    let inner = linear.matrix().inputs();
    let count = inputs.len() / inner;
    rows.reuse(linear.matrix().form(), count);
    for (at, values) in inputs.chunks_exact_mut(inner).enumerate() {
        linear.set(rows, at, values);
    }
    multiply(
        rows,
        0..count,
        linear.matrix(),
        0..linear.matrix().panels(),
        sink,
    );
}

/// A product of states [n, H] behind a norm (its weights and eps).
pub(crate) fn apply_norm<S: Sink>(
    linear: &Linear,
    norm: (&[f32], f32),
    states: &[f32],
    memory: (&mut Rows, &mut Vec<f32>),
    sink: &mut S,
) {
    let (rows, values) = memory;
    let count = states.len() / norm.0.len();
    rows.reuse(linear.matrix().form(), count);
    values.resize(norm.0.len(), 0.0);
    for (at, row) in states.chunks_exact(norm.0.len()).enumerate() {
        rms(row, norm.0, norm.1, values);
        linear.set(rows, at, values);
    }
    multiply(
        rows,
        0..count,
        linear.matrix(),
        0..linear.matrix().panels(),
        sink,
    );
}

/// Writes activation(gate) * up: half a panel of values for each panel of products.
pub(crate) struct Gate<'a> {
    pub to: &'a mut [f32],
    pub stride: usize,
    pub bias: Option<&'a [f32]>,
    pub activation: Activation,
}

impl Sink for Gate<'_> {
    #[inline(always)]
    fn take<const FMA: bool>(
        &mut self,
        row: usize,
        column: usize,
        _width: usize,
        values: &[f32; PANEL],
    ) {
        const HALF: usize = PANEL / 2;
        let mut values = *values;
        if let Some(bias) = self.bias {
            values
                .iter_mut()
                .zip(&bias[column..])
                .for_each(|(value, bias)| *value += bias);
        }
        let made: [f32; HALF] = match self.activation {
            Activation::Silu => {
                std::array::from_fn(|at| silu_of::<FMA>(values[at]) * values[HALF + at])
            }
            Activation::GeluTanh => {
                std::array::from_fn(|at| gelu_of::<FMA>(values[at]) * values[HALF + at])
            }
        };
        let at = column / 2;
        let width = HALF.min(self.stride - at);
        self.to[row * self.stride + at..][..width].copy_from_slice(&made[..width]);
    }
}
