//! Queries as the kernels read them, and from which approximate score on a passage may be among their best.

use rayon::prelude::*;

use super::codes::{ROUNDING, Side, quantise, up};
use super::panel::words;
use crate::error::Result;
use crate::progress::Progress;

/// Words in a cache line: rows start an odd number of lines apart, so that they do not fall on the same cache sets.
const LINE: usize = 16;
/// Codes of zero, moved up by 128.
const MIDDLE: u32 = 0x8080_8080;
/// Sums of more products of two codes could leave an i32, and the norm of what codes leave out that of the codes.
const WIDEST: usize = 60_000;
/// Far below any score that matters and far above what f32 loses below its smallest normal number.
const TINY: f32 = 1e-30;
/// What rounding a score to f32 can move it, four times over.
const SCORE: f64 = 4.0 * ROUNDING;
/// Widens what rounding in f64 can have moved in a sum of up to [`WIDEST`] products.
const EXACT: f64 = 1e-9;

/// Queries [rows, dimensions] with their codes.
pub(crate) struct Asked<'a> {
    /// The values, row after row.
    pub values: &'a [f32],
    /// Dimensions of each.
    pub dimensions: usize,
    /// Words between the starts of rows of codes.
    pub stride: usize,
    codes: Vec<u32>,
    queries: Vec<Bound>,
}

/// What bounds the error of a query's approximate scores. Scores are counted in units of the query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// Value of a unit; 0 where the query cannot be screened.
    unit: f64,
    /// At least its norm.
    norm: f64,
    /// Error by the norm of a passage's approximation.
    pub by_norm: f32,
    /// Error by the norm of a passage's residual.
    pub by_residual: f32,
}

impl<'a> Asked<'a> {
    /// Quantises finite queries.
    pub(crate) fn new(values: &'a [f32], dimensions: usize, progress: &Progress) -> Result<Self> {
        let rows = values.len() / dimensions;
        let stride = (words(dimensions).div_ceil(LINE) | 1) * LINE;
        let mut codes = vec![MIDDLE; stride * rows];
        let one = |bytes: &mut Vec<u8>, (row, codes): (&[f32], &mut [u32])| {
            progress.poll()?;
            let side = quantise(row, bytes);
            for (word, code) in codes.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*code) ^ MIDDLE;
            }
            Ok(Bound::new(side, dimensions))
        };
        let queries = values
            .par_chunks(dimensions)
            .zip(codes.par_chunks_mut(stride))
            .map_init(|| vec![0; 4 * words(dimensions)], one)
            .collect::<Result<_>>()?;
        Ok(Self {
            values,
            dimensions,
            stride,
            codes,
            queries,
        })
    }

    /// Bytes of working memory that a query takes.
    pub(crate) fn bytes(dimensions: usize) -> usize {
        4 * (words(dimensions).div_ceil(LINE) | 1) * LINE + size_of::<Bound>()
    }

    /// Number of queries.
    pub(crate) fn len(&self) -> usize {
        self.queries.len()
    }

    /// The codes from a query on.
    #[inline(always)]
    pub(crate) fn codes(&self, query: usize) -> &[u32] {
        &self.codes[query * self.stride..]
    }

    /// The values of a query.
    #[inline(always)]
    pub(crate) fn row(&self, query: usize) -> &[f32] {
        &self.values[query * self.dimensions..][..self.dimensions]
    }

    /// Its bound.
    #[inline(always)]
    pub(crate) fn bound(&self, query: usize) -> &Bound {
        &self.queries[query]
    }
}

impl Bound {
    fn new(side: Side, dimensions: usize) -> Self {
        let unit = f64::from(side.unit);
        let (norm, residual) = (f64::from(side.norm), f64::from(side.residual));
        if unit == 0.0 || dimensions > WIDEST {
            return Self {
                unit: 0.0,
                norm: 0.0,
                by_norm: 0.0,
                by_residual: 0.0,
            };
        }
        // What f32 can lose in a test is at most sixteen roundings of its terms.
        let lost = 16.0 * ROUNDING;
        Self {
            unit,
            norm: norm + residual,
            by_norm: up((residual + lost * norm) * (1.0 + lost) / unit),
            by_residual: up((norm + residual) * (1.0 + lost) / unit),
        }
    }

    /// The least sum, in units of the query, that a passage scoring at least `floor` can have.
    ///
    /// # Arguments
    /// * `floor`: what is to be reached.
    /// * `mean`: the inner product of the query with the mean that was subtracted from the passages.
    /// * `longest`: at least the norm of every passage that is tested and of the mean.
    pub(crate) fn limit(&self, floor: f32, mean: f64, longest: f64) -> f32 {
        let (floor, reach) = (f64::from(floor), self.norm * longest);
        // Past the range of f32 an exact score may overflow, which only computing it can tell.
        let fits = reach < f64::from(f32::MAX) / 4.0;
        if self.unit == 0.0 || floor == f64::NEG_INFINITY || !fits {
            return f32::NEG_INFINITY;
        }
        let least = floor - floor.abs() * SCORE - mean - EXACT * reach;
        ((least / self.unit) as f32).next_down() - TINY
    }
}
