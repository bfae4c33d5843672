//! What a model is made of, checked once.

use std::sync::Arc;

use super::attention::Heads;
use super::layer::{Common, Layer};
use super::linear::{Linear, paired_outputs};
use super::products::Activation;
use super::rope::Rope;
use crate::error::{Error, Result};
use crate::gemm::Kind;

/// Sizes and constants of a model.
pub struct Shape {
    /// H.
    pub width: usize,
    /// Query heads.
    pub heads: usize,
    /// Heads of keys and values.
    pub shared: usize,
    /// Values of a head.
    pub size: usize,
    /// Added to the mean square of a norm.
    pub eps: f32,
    /// Factor of attention scores.
    pub scale: f32,
    /// Of the gated blocks.
    pub activation: Activation,
    /// Logits become cap tanh(logit / cap).
    pub cap: Option<f32>,
    /// What products of attention are made in: bf16 unless this is f32.
    pub kind: Kind,
    /// Angles that layers choose from.
    pub ropes: Vec<Rope>,
    /// The last norm: [H].
    pub norm: Vec<f32>,
}

/// A causal language model.
pub struct Decoder {
    pub(crate) shape: Shape,
    pub(crate) common: Common,
    pub(crate) layers: Vec<Layer>,
    pub(crate) head: Arc<Linear>,
}

impl Decoder {
    /// Puts a model together and checks that its parts fit.
    pub fn new(shape: Shape, layers: Vec<Layer>, head: Arc<Linear>) -> Result<Self> {
        let heads = Heads {
            queries: shape.heads,
            shared: shape.shared,
            size: shape.size,
        };
        let common = Common {
            width: shape.width,
            heads,
            eps: shape.eps,
            scale: shape.scale,
            activation: shape.activation,
        };
        if shape.shared == 0
            || !shape.heads.is_multiple_of(shape.shared)
            || !shape.size.is_multiple_of(2)
            || layers.is_empty()
        {
            let message = format!(
                "{} heads, {} of keys, {} values each, {} layers",
                shape.heads,
                shape.shared,
                shape.size,
                layers.len()
            );
            return Err(Error::shape(message));
        }
        let whole = Self {
            common,
            layers,
            head,
            shape,
        };
        for (number, layer) in whole.layers.iter().enumerate() {
            whole.check(number, layer)?;
        }
        let last = (whole.head.matrix().inputs(), whole.shape.norm.len());
        if last != (whole.shape.width, whole.shape.width) {
            return Err(Error::shape(format!(
                "a head of {} inputs and a norm of {} for states of {}",
                last.0, last.1, whole.shape.width
            )));
        }
        Ok(whole)
    }

    fn check(&self, number: usize, layer: &Layer) -> Result<()> {
        let (h, heads) = (self.shape.width, self.common.heads);
        let sides = |linear: &Linear| (linear.matrix().outputs(), linear.matrix().inputs());
        let inner = sides(&layer.down).1;
        let mut wrong = sides(&layer.qkv) != (heads.width(), h)
            || sides(&layer.out) != (h, heads.queries * heads.size);
        wrong |= sides(&layer.gate_up) != (paired_outputs(inner), h) || sides(&layer.down).0 != h;
        let norms = [
            Some(&layer.before_attention),
            Some(&layer.before_mlp),
            layer.after_attention.as_ref(),
            layer.after_mlp.as_ref(),
        ];
        wrong |= norms.into_iter().flatten().any(|norm| norm.len() != h);
        wrong |= [&layer.query_norm, &layer.key_norm]
            .into_iter()
            .flatten()
            .any(|norm| norm.len() != heads.size);
        wrong |= self
            .shape
            .ropes
            .get(layer.rope)
            .is_none_or(|rope| 2 * rope.half() != heads.size)
            || layer.window == Some(0);
        if wrong {
            Err(Error::shape(format!(
                "the weights of layer {number} do not fit together"
            )))
        } else {
            Ok(())
        }
    }

    #[cfg(test)]
    pub(crate) fn set_prefix(&mut self, layer: usize, prefix: super::layer::Prefix) {
        self.layers[layer].prefix = Some(prefix);
    }

    /// Bytes of its weights.
    pub fn bytes(&self) -> usize {
        let of = |layer: &Layer| {
            [&layer.qkv, &layer.out, &layer.gate_up, &layer.down]
                .map(|linear| linear.matrix().bytes())
                .iter()
                .sum::<usize>()
        };
        self.layers.iter().map(of).sum::<usize>() + self.head.matrix().bytes()
    }
}
