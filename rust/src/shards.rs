//! Embeddings on disk: raw rows of f32 or f16 in memory-mapped files, widened to f64 block by block.

use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::error::{Error, Result};
use crate::files::{self, Bytes};

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit floats, little-endian.
    F32,
    /// 16-bit floats, little-endian.
    F16,
}

impl Dtype {
    /// Reads "f32" or "f16".
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            other => Err(Error::shape(format!(
                "dtype: expected \"f32\" or \"f16\", got {other:?}"
            ))),
        }
    }

    fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// Where a shard's rows are.
#[derive(Clone, Debug)]
pub struct ShardSpec {
    /// The file.
    pub path: PathBuf,
    /// Bytes in front of the rows.
    pub offset: usize,
    /// Number of rows; they reach to the end of the file.
    pub rows: usize,
}

/// All shards of a collection; rows count on from shard to shard.
pub struct Shards {
    dtype: Dtype,
    dimensions: usize,
    parts: Vec<Part>,
    rows: usize,
}

struct Part {
    path: PathBuf,
    bytes: Bytes,
    offset: usize,
    rows: usize,
    /// Number of the first row among all shards.
    base: usize,
}

/// A run of rows inside one shard.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    part: usize,
    from: usize,
    /// Number of the first row among all shards.
    pub row: usize,
    /// Number of rows.
    pub rows: usize,
}

impl Shards {
    /// Maps the shards. A file whose size is not `offset + rows * dimensions * size` is refused.
    pub fn open(specs: &[ShardSpec], dtype: Dtype, dimensions: usize) -> Result<Self> {
        let mut parts = Vec::with_capacity(specs.len());
        let mut base = 0usize;
        for spec in specs {
            let bytes = files::map(&spec.path)?;
            check_size(spec, bytes.len(), dtype, dimensions)?;
            let (path, offset, rows) = (spec.path.clone(), spec.offset, spec.rows);
            parts.push(Part {
                path,
                bytes,
                offset,
                rows,
                base,
            });
            base += rows;
        }
        if base >= u32::MAX as usize {
            return Err(Error::shape(format!(
                "{base} rows, expected fewer than {}",
                u32::MAX
            )));
        }
        Ok(Self {
            dtype,
            dimensions,
            parts,
            rows: base,
        })
    }

    /// Rows over all shards.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// All rows in runs of at most `size`.
    pub fn panels(&self, size: usize) -> Vec<Panel> {
        let cut = |(part, shard): (usize, &Part)| {
            let (rows, base) = (shard.rows, shard.base);
            (0..rows)
                .step_by(size)
                .map(move |from| Panel {
                    part,
                    from,
                    row: base + from,
                    rows: size.min(rows - from),
                })
                .collect::<Vec<_>>()
        };
        self.parts.iter().enumerate().flat_map(cut).collect()
    }

    /// Widens `rows` rows of a panel, from its row `first` on, into `out` [.., width]; columns beyond the dimensions
    /// are left as they are. A value that is not finite is an error that names the row.
    pub fn widen(&self, panel: Panel, first: usize, rows: usize, out: &mut Block) -> Result<()> {
        let part = &self.parts[panel.part];
        let stride = self.dimensions * self.dtype.size();
        for at in 0..rows {
            let from = part.offset + (panel.from + first + at) * stride;
            let bytes = &part.bytes[from..from + stride];
            let target = &mut out.values[at * out.width..][..self.dimensions];
            match self.dtype {
                Dtype::F32 => widen_f32(bytes, target),
                Dtype::F16 => widen_f16(bytes, &mut out.half, &mut out.single, target),
            }
            if !all_finite(target) {
                return Err(not_finite(&part.path, panel.row + first + at));
            }
        }
        Ok(())
    }
}

/// Room for a block of widened rows.
pub struct Block {
    /// The rows [rows, width].
    pub values: Vec<f64>,
    width: usize,
    half: Vec<f16>,
    single: Vec<f32>,
}

impl Block {
    /// A block of zeros.
    pub fn new(rows: usize, width: usize) -> Self {
        let half = vec![f16::ZERO; width];
        Self {
            values: vec![0.0; rows * width],
            width,
            half,
            single: vec![0.0; width],
        }
    }
}

fn widen_f32(bytes: &[u8], target: &mut [f64]) {
    let (words, _) = bytes.as_chunks::<4>();
    for (value, word) in target.iter_mut().zip(words) {
        *value = f64::from(f32::from_le_bytes(*word));
    }
}

fn widen_f16(bytes: &[u8], half: &mut [f16], single: &mut [f32], target: &mut [f64]) {
    let size = target.len();
    let (words, _) = bytes.as_chunks::<2>();
    for (value, word) in half.iter_mut().zip(words) {
        *value = f16::from_le_bytes(*word);
    }
    half[..size].convert_to_f32_slice(&mut single[..size]);
    for (value, narrow) in target.iter_mut().zip(&single[..size]) {
        *value = f64::from(*narrow);
    }
}

/// Whether every value is finite: zero times anything else is not zero.
fn all_finite(values: &[f64]) -> bool {
    values
        .iter()
        .fold(true, |fine, value| fine & (value * 0.0 == 0.0))
}

fn not_finite(path: &Path, row: usize) -> Error {
    let message = format!(
        "{}: passage row {row} holds a value that is not finite",
        path.display()
    );
    Error::not_finite(
        message,
        "encode the passages again, in bf16 or fp32 rather than fp16",
    )
}

fn check_size(spec: &ShardSpec, size: usize, dtype: Dtype, dimensions: usize) -> Result<()> {
    let data = spec.rows.checked_mul(dimensions * dtype.size());
    if data.and_then(|data| data.checked_add(spec.offset)) == Some(size) {
        return Ok(());
    }
    let message = format!(
        "{size} bytes do not hold {} rows of {dimensions} {dtype:?} values behind {} bytes",
        spec.rows, spec.offset
    );
    let hint = "the file is truncated, or the queries have other dimensions than the passages";
    Err(Error::storage(&spec.path, message, hint))
}
