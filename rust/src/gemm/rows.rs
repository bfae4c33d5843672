//! The left side of a product: rows converted to the kind of the weights.

use super::convert::{Code, MIDDLE, bf16_value, pairs, quantise};
use super::{Form, Kind, Matrix};

/// Words between the starts of rows are an odd multiple of this, so that rows do not fall on the same cache sets.
pub(crate) const LINE: usize = 16;
/// Rows [m, K] as a kernel reads them.
pub struct Rows {
    form: Form,
    count: usize,
    stride: usize,
    words: Vec<u32>,
    /// int8: [m, groups] how the codes of a group are read.
    codes: Vec<Code>,
}

impl Rows {
    /// Room for `count` rows, all zero.
    pub fn new(form: Form, count: usize) -> Self {
        let lines = form.inputs.div_ceil(form.kind.per_word()).div_ceil(LINE);
        let stride = (lines | 1) * LINE;
        let (zero, codes) = if form.kind == Kind::Int8 {
            (MIDDLE, count * form.groups())
        } else {
            (0, 0)
        };
        Self {
            form,
            count,
            stride,
            words: vec![zero; stride * count],
            codes: vec![Code::new(0.0, 128); codes],
        }
    }

    /// Room for other rows in the same memory; what they hold is not defined until it is set.
    pub fn reuse(&mut self, form: Form, count: usize) {
        let lines = form.inputs.div_ceil(form.kind.per_word()).div_ceil(LINE);
        (self.form, self.count, self.stride) = (form, count, (lines | 1) * LINE);
        self.words.resize(self.stride * count, 0);
        let codes = if form.kind == Kind::Int8 {
            count * form.groups()
        } else {
            0
        };
        self.codes.resize(codes, Code::new(0.0, 128));
    }

    /// Rows made of f32 values [m, K] in C order.
    pub fn of(form: Form, values: &[f32]) -> Self {
        let mut rows = Self::new(form, values.len() / form.inputs);
        for (at, row) in values.chunks_exact(form.inputs).enumerate() {
            rows.set(at, row);
        }
        rows
    }

    /// Rows in the form of some weights.
    pub fn for_matrix(matrix: &Matrix, values: &[f32]) -> Self {
        Self::of(matrix.form(), values)
    }

    /// Converts one row's K values.
    pub fn set(&mut self, at: usize, values: &[f32]) {
        let words = &mut self.words[at * self.stride..][..self.stride];
        match self.form.kind {
            Kind::F32 => words
                .iter_mut()
                .zip(values)
                .for_each(|(word, value)| *word = value.to_bits()),
            Kind::Bf16 => pairs(words, values),
            Kind::Int8 => {
                let groups = self.form.groups();
                let codes = &mut self.codes[at * groups..][..groups];
                for ((code, some), words) in codes
                    .iter_mut()
                    .zip(values.chunks(self.form.group))
                    .zip(words.chunks_mut(self.form.group.div_ceil(4)))
                {
                    *code = quantise(words, some);
                }
            }
        }
    }

    /// m.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How they are kept.
    pub fn form(&self) -> Form {
        self.form
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) fn words(&self, at: usize) -> &[u32] {
        &self.words[at * self.stride..][..self.stride]
    }

    /// int8: how the codes of a row are read, a group after the other.
    pub(crate) fn codes(&self, at: usize) -> &[Code] {
        let groups = self.form.groups();
        &self.codes[at * groups..][..groups]
    }

    /// The inner product of a row with one output's weights, summed in f64.
    pub fn dot(&self, at: usize, matrix: &Matrix, output: usize) -> f32 {
        let words = self.words(at);
        let value = |input: usize| {
            let word = words[input / self.form.kind.per_word()];
            match self.form.kind {
                Kind::F32 => f32::from_bits(word),
                Kind::Bf16 => bf16_value((word >> (16 * (input % 2))) as u16),
                Kind::Int8 => {
                    let Code { unit, zero, .. } = self.codes(at)[input / self.form.group];
                    (i32::from((word >> (8 * (input % 4))) as u8) - zero) as f32 * unit
                }
            }
        };
        (0..self.form.inputs)
            .map(|input| f64::from(value(input)) * f64::from(matrix.weight(output, input)))
            .sum::<f64>() as f32
    }
}
