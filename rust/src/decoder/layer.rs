//! One layer: what is done to rows of states before and after attention.

use std::sync::Arc;

use super::attention::Heads;
use super::linear::Linear;
use super::math::{add, rms_inplace};
use super::products::{Activation, Gate, apply, apply_norm};
use super::rope::Angles;
use crate::gemm::{Form, Kind, Rows, Store};

/// Keys and values of the first tokens of every trunk, computed elsewhere: [n, shared heads x size] each.
pub struct Prefix {
    /// Keys, turned to their positions.
    pub keys: Vec<f32>,
    /// Values.
    pub values: Vec<f32>,
}

/// Weights of a layer. Norms are RMS norms; those behind a block are not in every model.
pub struct Layer {
    /// Before attention: [H].
    pub before_attention: Vec<f32>,
    /// Queries, keys and values.
    pub qkv: Arc<Linear>,
    /// Of each query head: [d].
    pub query_norm: Option<Vec<f32>>,
    /// Of each key head: [d].
    pub key_norm: Option<Vec<f32>>,
    /// Which of the model's angles.
    pub rope: usize,
    /// Tokens that a token sees, itself among them.
    pub window: Option<usize>,
    /// Of the attention's result.
    pub out: Arc<Linear>,
    /// Behind it: [H].
    pub after_attention: Option<Vec<f32>>,
    /// Before the gated block: [H].
    pub before_mlp: Vec<f32>,
    /// Gate and up, sixteen outputs of each in turns.
    pub gate_up: Arc<Linear>,
    /// Back to the states.
    pub down: Arc<Linear>,
    /// Behind it: [H].
    pub after_mlp: Option<Vec<f32>>,
    /// Where the first tokens are known.
    pub prefix: Option<Prefix>,
}

/// Where some rows stand.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    /// [n]
    pub positions: &'a [u32],
    /// [n] which token of the prefix, or -1.
    pub known: &'a [i32],
    pub angles: &'a Angles,
}

/// Memory that one piece after the other is computed in.
pub(crate) struct Scratch {
    rows: Rows,
    values: Vec<f32>,
    result: Vec<f32>,
    hidden: Vec<f32>,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let rows = Rows::new(Form::whole(Kind::F32, 1), 0);
        Self {
            rows,
            values: Vec::new(),
            result: Vec::new(),
            hidden: Vec::new(),
        }
    }
}

/// What all layers share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Common {
    pub width: usize,
    pub heads: Heads,
    pub eps: f32,
    pub scale: f32,
    pub activation: Activation,
}

impl Layer {
    /// Queries, keys and values of some rows.
    ///
    /// # Arguments
    /// * `states`: [n, H].
    /// * `places`: of the rows.
    /// * `to`: [n, width of the heads].
    pub(crate) fn project(
        &self,
        common: Common,
        states: &[f32],
        places: Places<'_>,
        scratch: &mut Scratch,
        to: &mut [f32],
    ) {
        let Places {
            positions,
            known,
            angles,
        } = places;
        let width = common.heads.width();
        let Scratch { rows, values, .. } = scratch;
        let norm = (&self.before_attention[..], common.eps);
        apply_norm(
            &self.qkv,
            norm,
            states,
            (rows, values),
            &mut Store { to, stride: width },
        );
        self.qkv.add_bias(to);
        for ((row, position), known) in to.chunks_exact_mut(width).zip(positions).zip(known) {
            self.place(common, row, *position as usize, angles);
            if let (Some(prefix), Ok(known)) = (&self.prefix, usize::try_from(*known)) {
                let size = common.heads.shared * common.heads.size;
                let (keys, values) =
                    row[common.heads.queries * common.heads.size..].split_at_mut(size);
                keys.copy_from_slice(&prefix.keys[known * size..][..size]);
                values.copy_from_slice(&prefix.values[known * size..][..size]);
            }
        }
    }

    fn place(&self, common: Common, row: &mut [f32], position: usize, angles: &Angles) {
        let Heads {
            queries,
            shared,
            size,
        } = common.heads;
        for (number, head) in row
            .chunks_exact_mut(size)
            .take(queries + shared)
            .enumerate()
        {
            let query = number < queries;
            if let Some(norm) = if query {
                &self.query_norm
            } else {
                &self.key_norm
            } {
                rms_inplace(head, norm, common.eps);
            }
            angles.apply(head, position, if query { common.scale } else { 1.0 });
        }
    }

    /// What comes behind attention, added to the states.
    ///
    /// # Arguments
    /// * `attended`: [n, query heads x size]; changed.
    /// * `states`: [n, H].
    pub(crate) fn finish(
        &self,
        common: Common,
        attended: &mut [f32],
        scratch: &mut Scratch,
        states: &mut [f32],
    ) {
        let (width, inner) = (common.width, self.down.matrix().inputs());
        let Scratch {
            rows,
            values,
            result,
            hidden,
        } = scratch;
        result.resize(states.len(), 0.0);
        hidden.resize(states.len() / width * inner, 0.0);
        apply(
            &self.out,
            attended,
            rows,
            &mut Store {
                to: result,
                stride: width,
            },
        );
        self.out.add_bias(result);
        add_normed(states, result, self.after_attention.as_deref(), common);
        let (bias, activation) = (self.gate_up.bias(), common.activation);
        let mut gate = Gate {
            to: hidden,
            stride: inner,
            bias,
            activation,
        };
        apply_norm(
            &self.gate_up,
            (&self.before_mlp, common.eps),
            states,
            (rows, values),
            &mut gate,
        );
        apply(
            &self.down,
            hidden,
            rows,
            &mut Store {
                to: result,
                stride: width,
            },
        );
        self.down.add_bias(result);
        add_normed(states, result, self.after_mlp.as_deref(), common);
    }
}

fn add_normed(states: &mut [f32], result: &mut [f32], norm: Option<&[f32]>, common: Common) {
    if let Some(norm) = norm {
        result
            .chunks_exact_mut(common.width)
            .for_each(|row| rms_inplace(row, norm, common.eps));
    }
    add(states, result);
}
