//! Quantised queries, and from which approximate score on a passage may be among their best.

use rayon::prelude::*;

use super::kernels::isa::Isa;
use super::kernels::layout::{QueryCodes, words};
use super::quantise::{Quantised, ROUNDING, quantise, up};
use crate::error::Result;
use crate::progress::Progress;

/// Words in a cache line: queries start an odd number of lines apart, so that they do not fall on the same cache sets.
const LINE: usize = 16;
/// Four codes of zero, moved up by 128.
const ZERO_CODES: u32 = 0x8080_8080;
/// With more dimensions sums of products of two codes could leave an i32, and the norm of a residual exceed that of the codes.
const MAX_DIMENSIONS: usize = 60_000;
/// Far below any score that matters and far above what f32 loses below its smallest normal number.
const TINY: f32 = 1e-30;
/// What rounding a score to f32 can move it, four times over.
const SCORE_LOSS: f64 = 4.0 * ROUNDING;
/// Widens what rounding in f64 can have moved in a sum of up to [`MAX_DIMENSIONS`] products.
const F64_LOSS: f64 = 1e-9;
/// What f32 can lose in a test is at most sixteen roundings of its terms.
const TEST_LOSS: f64 = 16.0 * ROUNDING;

/// Queries [rows, dimensions] with their codes.
pub(crate) struct QuantisedQueries<'a> {
    /// Dimensions of each.
    pub dimensions: usize,
    values: &'a [f32],
    stride: usize,
    codes: Vec<u32>,
    bounds: Vec<ErrorBound>,
}

/// What bounds the error of a query's approximate scores. Scores are counted in units of the query.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ErrorBound {
    /// Value of a unit; 0 where the query cannot be screened.
    unit: f64,
    /// At least its norm.
    norm: f64,
    /// Error by the norm of a passage's approximation.
    pub by_norm: f32,
    /// Error by the norm of a passage's residual.
    pub by_residual: f32,
}

impl<'a> QuantisedQueries<'a> {
    /// Quantises finite queries.
    pub(crate) fn new(
        isa: Isa,
        values: &'a [f32],
        dimensions: usize,
        progress: &Progress,
    ) -> Result<Self> {
        let stride = stride(dimensions);
        let mut codes = vec![ZERO_CODES; stride * (values.len() / dimensions)];
        let one = |bytes: &mut Vec<u8>, (row, codes): (&[f32], &mut [u32])| {
            progress.poll()?;
            let quantised = quantise(isa, row, bytes);
            for (word, code) in codes.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*code) ^ ZERO_CODES;
            }
            Ok(ErrorBound::new(quantised, dimensions))
        };
        let bounds = values
            .par_chunks(dimensions)
            .zip(codes.par_chunks_mut(stride))
            .map_init(|| vec![0; 4 * words(dimensions)], one)
            .collect::<Result<_>>()?;
        Ok(Self {
            dimensions,
            values,
            stride,
            codes,
            bounds,
        })
    }

    /// Bytes of working memory that a query takes.
    pub(crate) fn bytes(dimensions: usize) -> usize {
        4 * stride(dimensions) + size_of::<ErrorBound>()
    }

    /// Number of queries.
    pub(crate) fn len(&self) -> usize {
        self.bounds.len()
    }

    /// The codes of the queries from one on.
    #[inline(always)]
    pub(crate) fn codes(&self, query: usize) -> QueryCodes<'_> {
        QueryCodes {
            words: &self.codes[query * self.stride..],
            stride: self.stride,
        }
    }

    /// The values of a query.
    #[inline(always)]
    pub(crate) fn row(&self, query: usize) -> &[f32] {
        &self.values[query * self.dimensions..][..self.dimensions]
    }

    /// Its bound.
    #[inline(always)]
    pub(crate) fn bound(&self, query: usize) -> &ErrorBound {
        &self.bounds[query]
    }
}

/// Words between the starts of two queries.
fn stride(dimensions: usize) -> usize {
    (words(dimensions).div_ceil(LINE) | 1) * LINE
}

impl ErrorBound {
    fn new(quantised: Quantised, dimensions: usize) -> Self {
        let unit = f64::from(quantised.unit);
        if unit == 0.0 || dimensions > MAX_DIMENSIONS {
            return Self::default();
        }
        let (norm, residual) = (f64::from(quantised.norm), f64::from(quantised.residual));
        Self {
            unit,
            norm: norm + residual,
            by_norm: up((residual + TEST_LOSS * norm) * (1.0 + TEST_LOSS) / unit),
            by_residual: up((norm + residual) * (1.0 + TEST_LOSS) / unit),
        }
    }

    /// The least sum, in units of the query, that a passage scoring at least `threshold` can have.
    ///
    /// # Arguments
    /// * `threshold`: the score that is to be reached.
    /// * `mean`: the inner product of the query with the mean that was subtracted from the passages.
    /// * `largest_norm`: at least the norm of every passage that is tested plus that of the mean.
    pub(crate) fn limit(&self, threshold: f32, mean: f64, largest_norm: f64) -> f32 {
        let (threshold, reach) = (f64::from(threshold), self.norm * largest_norm);
        // Past the range of f32 an exact score may overflow, which only computing it can tell.
        let fits = reach < f64::from(f32::MAX) / 4.0;
        if self.unit == 0.0 || threshold == f64::NEG_INFINITY || !fits {
            return f32::NEG_INFINITY;
        }
        let least = threshold - threshold.abs() * SCORE_LOSS - mean - F64_LOSS * reach;
        ((least / self.unit) as f32).next_down() - TINY
    }
}
