//! Embeddings on disk: raw rows of f32 or f16 in memory-mapped files.

use std::ops::Range;
use std::path::PathBuf;

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::error::{Error, Result};
use crate::files::{self, Bytes, Stamp};

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

    /// Bytes of a value.
    pub fn size(self) -> usize {
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

/// A shard that is mapped.
pub struct Part {
    /// The file.
    pub path: PathBuf,
    /// Number of rows.
    pub rows: usize,
    /// Number of the first row among all shards.
    pub base: usize,
    /// Size and time of the file when it was mapped.
    pub stamp: Stamp,
    bytes: Bytes,
    offset: usize,
}

/// All shards of a collection; rows count on from shard to shard.
pub struct Shards {
    dtype: Dtype,
    dimensions: usize,
    parts: Vec<Part>,
    rows: usize,
}

impl Shards {
    /// Maps the shards. A file whose size is not `offset + rows * dimensions * size` is refused.
    pub fn open(specs: &[ShardSpec], dtype: Dtype, dimensions: usize) -> Result<Self> {
        let mut parts = Vec::with_capacity(specs.len());
        let mut base = 0usize;
        for spec in specs {
            let (bytes, stamp) = files::map_stamped(&spec.path)?;
            check_size(spec, bytes.len(), dtype, dimensions)?;
            parts.push(Part {
                path: spec.path.clone(),
                rows: spec.rows,
                base,
                stamp,
                bytes,
                offset: spec.offset,
            });
            base += spec.rows;
        }
        if base >= u32::MAX as usize {
            let message = format!("{base} rows, expected fewer than {}", u32::MAX);
            return Err(Error::shape(message));
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

    /// How the values are stored.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Dimensions of a row.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The shards in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The stored bytes of row `at` of a shard.
    #[inline(always)]
    pub fn bytes(&self, part: usize, at: usize) -> &[u8] {
        let stride = self.dimensions * self.dtype.size();
        let part = &self.parts[part];
        &part.bytes[part.offset + at * stride..][..stride]
    }

    /// Reads row `at` of a shard. A value that is not finite is an error that names the row.
    pub fn read(&self, part: usize, at: usize, out: &mut [f32]) -> Result<()> {
        let bytes = self.bytes(part, at);
        match self.dtype {
            Dtype::F32 => from_f32(bytes, out),
            Dtype::F16 => from_f16(bytes, out),
        }
        if all_finite(out) {
            Ok(())
        } else {
            Err(self.not_finite(part, at))
        }
    }

    /// Gives back the memory of rows that are not needed soon.
    pub fn release(&self, part: usize, rows: Range<usize>) {
        let stride = self.dimensions * self.dtype.size();
        let part = &self.parts[part];
        if let Bytes::Mapped(map, _) = &part.bytes {
            let start = part.offset + rows.start * stride;
            files::release(map, start, rows.len() * stride);
        }
    }

    /// The error that row `at` of a shard is not finite.
    fn not_finite(&self, part: usize, at: usize) -> Error {
        let part = &self.parts[part];
        let (path, row) = (part.path.display(), part.base + at);
        let message = format!("{path}: passage row {row} holds a value that is not finite");
        let hint = "encode the passages again, in bf16 or fp32 rather than fp16";
        Error::not_finite(message, hint)
    }
}

fn from_f32(bytes: &[u8], out: &mut [f32]) {
    for (value, word) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *value = f32::from_le_bytes(*word);
    }
}

fn from_f16(bytes: &[u8], out: &mut [f32]) {
    const RUN: usize = 256;
    let mut halves = [f16::ZERO; RUN];
    for (out, bytes) in out.chunks_mut(RUN).zip(bytes.chunks(2 * RUN)) {
        for (half, word) in halves.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *half = f16::from_le_bytes(*word);
        }
        halves[..out.len()].convert_to_f32_slice(out);
    }
}

/// Whether every value is finite: its exponent is not the largest one.
fn all_finite(values: &[f32]) -> bool {
    let most = values
        .iter()
        .fold(0, |most, value| most.max(value.to_bits() & 0x7fff_ffff));
    most < 0x7f80_0000
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
