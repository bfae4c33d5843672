//! Weights, packed once for the kernels.

use rayon::prelude::*;

use super::convert::bf16_value;
use super::panel::Panel;
use super::{Form, Kind, PANEL};
use crate::error::{Error, Result};

/// Panels that are worth a task of their own.
const LEAST: usize = 8;

/// Weights [N, K] in panels of 32 outputs: panel p holds, for each word of K, the words of its 32 outputs.
pub struct Matrix {
    form: Form,
    outputs: usize,
    words: usize,
    panels: Vec<u32>,
    /// int8: [panels, groups, 32] the value of one unit of a code.
    scales: Vec<f32>,
    /// int8: [panels, groups, 32] the sum of the codes, as a value.
    sums: Vec<f32>,
}

impl Matrix {
    /// Packs weights; an output of int8 weights is scaled so that its largest one gets the largest code.
    ///
    /// # Arguments
    /// * `kind`: what they are kept as.
    /// * `outputs`, `inputs`: N and K.
    /// * `row`: writes the K weights of an output, in f32.
    pub fn pack(
        kind: Kind,
        outputs: usize,
        inputs: usize,
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Self> {
        Self::pack_as(Form::whole(kind, inputs), outputs, None, row)
    }

    /// Packs weights in any form.
    ///
    /// # Arguments
    /// * `form`: what they are kept as.
    /// * `outputs`: N.
    /// * `units`: int8: [N, groups] the value of one unit of a code, or None to find them.
    /// * `row`: writes the K weights of an output, in f32.
    pub fn pack_as(
        form: Form,
        outputs: usize,
        units: Option<&[f32]>,
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Self> {
        let (kind, inputs, groups) = (form.kind, form.inputs, form.groups());
        let aligned = groups == 1 || form.group.is_multiple_of(kind.per_word());
        if outputs == 0
            || inputs == 0
            || !aligned
            || units.is_some_and(|units| units.len() != outputs * groups)
        {
            let message = format!(
                "weights of shape [{outputs}, {inputs}] in groups of {}",
                form.group
            );
            return Err(Error::input(
                message,
                "give at least one output and one input, groups of whole words, and a unit a group",
            ));
        }
        let words = inputs.div_ceil(kind.per_word());
        let count = outputs.div_ceil(PANEL);
        let side = if kind == Kind::Int8 {
            count * groups * PANEL
        } else {
            0
        };
        let mut made = Self {
            form,
            outputs,
            words,
            panels: vec![0; count * words * PANEL],
            scales: vec![0.0; side],
            sums: vec![0.0; side],
        };
        let mut panels: Vec<_> = made
            .panels
            .chunks_mut(words * PANEL)
            .map(|panel| Panel {
                words: panel,
                ..Panel::default()
            })
            .collect();
        let sides = made
            .scales
            .chunks_mut(groups * PANEL)
            .zip(made.sums.chunks_mut(groups * PANEL));
        for (panel, (scales, sums)) in panels.iter_mut().zip(sides) {
            (panel.scales, panel.sums) = (scales, sums);
        }
        let finite = panels
            .into_par_iter()
            .with_min_len(LEAST)
            .enumerate()
            .map(|(number, mut panel)| {
                let mut values = vec![0.0f32; words * kind.per_word()];
                let mut finite = true;
                for column in 0..PANEL.min(outputs - number * PANEL) {
                    let output = number * PANEL + column;
                    row(output, &mut values[..inputs]);
                    finite &= values.iter().all(|value| value.is_finite());
                    panel.place(
                        form,
                        column,
                        &values,
                        units.map(|units| &units[output * groups..][..groups]),
                    );
                }
                finite
            })
            .reduce(|| true, |left, right| left && right);
        if finite {
            Ok(made)
        } else {
            Err(Error::not_finite(
                "a weight is not finite".to_owned(),
                "load the model again in fp32",
            ))
        }
    }

    /// How rows have to be kept to be multiplied with the weights.
    pub fn form(&self) -> Form {
        self.form
    }

    /// What the weights are kept as.
    pub fn kind(&self) -> Kind {
        self.form.kind
    }

    /// N.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// K.
    pub fn inputs(&self) -> usize {
        self.form.inputs
    }

    /// Number of panels.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(PANEL)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        4 * (self.panels.len() + self.scales.len() + self.sums.len())
    }

    /// The words of a panel.
    pub(crate) fn panel(&self, number: usize) -> &[u32] {
        &self.panels[number * self.words * PANEL..][..self.words * PANEL]
    }

    /// Words of a group of inputs.
    pub(crate) fn step(&self) -> usize {
        self.form.group.div_ceil(self.form.kind.per_word())
    }

    /// int8: units and sums of codes of a panel, a group after the other.
    pub(crate) fn side(&self, panel: usize) -> (&[[f32; PANEL]], &[[f32; PANEL]]) {
        let groups = self.form.groups();
        let range = panel * groups..(panel + 1) * groups;
        (
            &self.scales.as_chunks::<PANEL>().0[range.clone()],
            &self.sums.as_chunks::<PANEL>().0[range],
        )
    }

    /// One weight, as the product takes it.
    pub fn weight(&self, output: usize, input: usize) -> f32 {
        let per = self.form.kind.per_word();
        let word =
            self.panels[(output / PANEL * self.words + input / per) * PANEL + output % PANEL];
        match self.form.kind {
            Kind::F32 => f32::from_bits(word),
            Kind::Bf16 => bf16_value((word >> (16 * (input % per))) as u16),
            Kind::Int8 => {
                let unit = self.side(output / PANEL).0[input / self.form.group][output % PANEL];
                f32::from((word >> (8 * (input % per))) as u8 as i8) * unit
            }
        }
    }
}
