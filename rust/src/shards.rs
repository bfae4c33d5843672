//! Embeddings on disk: raw rows of f32 or f16 in memory-mapped files.

use std::path::{Path, PathBuf};

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
    /// Of what is mapped.
    stamp: Stamp,
}

/// A run of rows inside one shard.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// The shard.
    pub part: usize,
    /// The first row, in the shard.
    pub from: usize,
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
            let (bytes, stamp) = files::map_stamped(&spec.path)?;
            check_size(spec, bytes.len(), dtype, dimensions)?;
            let (path, offset, rows) = (spec.path.clone(), spec.offset, spec.rows);
            parts.push(Part {
                path,
                bytes,
                offset,
                rows,
                base,
                stamp,
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

    /// How the values are stored.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Dimensions of a row.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Number of shards.
    pub fn count(&self) -> usize {
        self.parts.len()
    }

    /// Path and rows of a shard.
    pub fn shard(&self, part: usize) -> (&Path, usize) {
        (&self.parts[part].path, self.parts[part].rows)
    }

    /// Size and time of a shard's file when it was mapped.
    pub fn stamp(&self, part: usize) -> Stamp {
        self.parts[part].stamp
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
    pub fn release(&self, part: usize, from: usize, rows: usize) {
        let stride = self.dimensions * self.dtype.size();
        let part = &self.parts[part];
        if let Bytes::Mapped(map) = &part.bytes {
            files::release(map, part.offset + from * stride, rows * stride);
        }
    }

    /// The error that row `at` of a shard is not finite.
    pub fn not_finite(&self, part: usize, at: usize) -> Error {
        let part = &self.parts[part];
        not_finite(&part.path, part.base + at)
    }

    /// Number of a shard's first row among all.
    pub fn base(&self, part: usize) -> usize {
        self.parts[part].base
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
