//! Keys and values as packed weights, and the scores that queries get against them.

use crate::gemm::{Add, Matrix, Rows, Store, multiply};

/// Keys [n, d] and values [d, n] as weights.
pub(crate) struct Packed {
    pub keys: Matrix,
    pub values: Matrix,
}

/// Scores of queries against packed keys: [rows, keys].
pub(crate) struct Scores {
    keys: usize,
    rows: usize,
    values: Vec<f32>,
}

impl Scores {
    pub(crate) fn of(
        queries: &Rows,
        packed: Option<&Packed>,
        panels: std::ops::Range<usize>,
    ) -> Self {
        let keys = packed.map_or(0, |packed| packed.keys.outputs());
        let mut made = Self {
            keys,
            rows: queries.count(),
            values: vec![0.0; queries.count() * keys],
        };
        if let Some(packed) = packed {
            multiply(
                queries,
                0..queries.count(),
                &packed.keys,
                panels,
                &mut Store {
                    to: &mut made.values,
                    stride: keys,
                },
            );
        }
        made
    }

    pub(crate) fn row(&mut self, at: usize) -> &mut [f32] {
        &mut self.values[at * self.keys..(at + 1) * self.keys]
    }

    /// Adds weights times values to `to` [rows, d].
    pub(crate) fn add_values(&self, packed: Option<&Packed>, to: &mut [f32]) {
        if let Some(Packed { values, .. }) = packed {
            let rows = Rows::of(values.form(), &self.values);
            multiply(
                &rows,
                0..self.rows,
                values,
                0..values.panels(),
                &mut Add {
                    to,
                    stride: values.outputs(),
                },
            );
        }
    }
}
