//! Weights of a layer with what has to be done to its inputs first.

use super::math::scale;
use super::turn::{TURN, turn};
use crate::error::{Error, Result};
use crate::gemm::{Form, Matrix, PANEL, Rows, bf16_value};

/// y = W R (s x) + b: s are factors of the inputs, R a turn of blocks of 128 inputs (Walsh-Hadamard, orthonormal).
pub struct Linear {
    matrix: Matrix,
    bias: Option<Vec<f32>>,
    smooth: Option<Vec<f32>>,
    turned: bool,
}

impl Linear {
    /// Puts the parts together.
    ///
    /// # Arguments
    /// * `matrix`: W, [N, K].
    /// * `bias`: b, [N].
    /// * `smooth`: s, [K].
    /// * `turned`: whether there is an R; K must then be a multiple of 128.
    pub fn new(
        matrix: Matrix,
        bias: Option<Vec<f32>>,
        smooth: Option<Vec<f32>>,
        turned: bool,
    ) -> Result<Self> {
        let (n, k) = (matrix.outputs(), matrix.inputs());
        if bias.as_ref().is_some_and(|b| b.len() != n)
            || smooth.as_ref().is_some_and(|s| s.len() != k)
        {
            return Err(Error::shape(format!(
                "a bias must have {n} values and the factors of inputs {k}"
            )));
        }
        if turned && !k.is_multiple_of(TURN) {
            return Err(Error::shape(format!(
                "{k} inputs are no multiple of {TURN}, so they cannot be turned"
            )));
        }
        let smooth = if turned {
            Some(spread_turn(smooth, k))
        } else {
            smooth
        };
        Ok(Self {
            matrix,
            bias,
            smooth,
            turned,
        })
    }

    /// W.
    pub fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    /// Room for rows of inputs.
    pub(crate) fn rows(&self, count: usize) -> Rows {
        Rows::new(self.matrix.form(), count)
    }

    /// Puts inputs [K] into a row; they are changed on the way.
    pub(crate) fn set(&self, rows: &mut Rows, at: usize, values: &mut [f32]) {
        match &self.smooth {
            Some(smooth) if self.turned => turn(values, smooth),
            Some(smooth) => scale(values, smooth),
            None => {}
        }
        rows.set(at, values);
    }

    /// Adds b to products [m, N].
    pub(crate) fn add_bias(&self, to: &mut [f32]) {
        if let Some(bias) = &self.bias {
            for row in to.chunks_exact_mut(bias.len()) {
                row.iter_mut().zip(bias).for_each(|(value, b)| *value += b);
            }
        }
    }

    /// b of a column, where there is one.
    pub(crate) fn bias(&self) -> Option<&[f32]> {
        self.bias.as_deref()
    }
}

/// Factors with the scale that makes a turn orthonormal.
fn spread_turn(smooth: Option<Vec<f32>>, inputs: usize) -> Vec<f32> {
    let scale = (TURN as f32).sqrt().recip();
    smooth
        .unwrap_or_else(|| vec![1.0; inputs])
        .iter()
        .map(|factor| factor * scale)
        .collect()
}

/// Rows of weights [n, K], as they come.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// The bits of bf16 ones.
    Bf16(&'a [u16]),
}

impl Source<'_> {
    fn rows(self, inputs: usize) -> usize {
        let values = match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        };
        values / inputs.max(1)
    }

    fn copy(self, row: usize, to: &mut [f32]) {
        let range = row * to.len()..(row + 1) * to.len();
        match self {
            Self::F32(values) => to.copy_from_slice(&values[range]),
            Self::Bf16(values) => to
                .iter_mut()
                .zip(&values[range])
                .for_each(|(to, bits)| *to = bf16_value(*bits)),
        }
    }
}

/// Packs matrices that lie one below the other.
///
/// # Arguments
/// * `form`: what they are kept as.
/// * `sources`: of K columns each.
/// * `units`: int8: [N, groups] see `Matrix::pack_as`.
/// * `paired`: two matrices of as many rows; each panel gets sixteen outputs of the one, then sixteen of the other.
pub fn stack(
    form: Form,
    sources: &[Source<'_>],
    units: Option<&[f32]>,
    paired: bool,
) -> Result<Matrix> {
    let rows: Vec<_> = sources
        .iter()
        .map(|source| source.rows(form.inputs))
        .collect();
    let total = rows.iter().sum::<usize>();
    if paired && (rows.len() != 2 || rows[0] != rows[1]) {
        return Err(Error::shape(format!(
            "a pair of matrices must have as many rows each, not {rows:?}"
        )));
    }
    let copy = |mut row: usize, to: &mut [f32]| {
        for (source, rows) in sources.iter().zip(&rows) {
            if row < *rows {
                return source.copy(row, to);
            }
            row -= rows;
        }
    };
    if !paired {
        return Matrix::pack_as(form, total, units, copy);
    }
    let (inner, groups) = (rows[0], form.groups());
    let units = units.map(|units| spread(units, groups, inner));
    Matrix::pack_as(
        form,
        paired_outputs(inner),
        units.as_deref(),
        |output, to| match paired_row(output, inner) {
            Some(row) => copy(row, to),
            None => to.fill(0.0),
        },
    )
}

/// Values [2 inner, columns] of stacked rows in the order of their outputs, zero where there is padding.
pub fn spread(values: &[f32], columns: usize, inner: usize) -> Vec<f32> {
    let zeros = vec![0.0; columns];
    let row = |output| {
        paired_row(output, inner).map_or(&zeros[..], |row| &values[row * columns..][..columns])
    };
    (0..paired_outputs(inner)).flat_map(row).copied().collect()
}

/// Outputs of two interleaved matrices of `inner` rows, padded to whole panels.
pub fn paired_outputs(inner: usize) -> usize {
    inner.next_multiple_of(PANEL / 2) * 2
}

/// The stacked row at an output of the interleaved matrix, or None where it is padding.
fn paired_row(output: usize, inner: usize) -> Option<usize> {
    let (panel, column) = (output / PANEL, output % PANEL);
    let within = panel * (PANEL / 2) + column % (PANEL / 2);
    (within < inner).then_some(within + if column < PANEL / 2 { 0 } else { inner })
}
