//! Stored rows as little-endian f32: those of f32 shards where they are mapped, those of f16 shards widened once a batch.

use super::batch::{BATCH, Batch};
use crate::error::Result;
use crate::shards::{Dtype, Shards};

/// The rows of a batch as f32, widened when they are asked for.
#[derive(Default)]
pub(crate) struct Wide {
    bytes: Vec<u8>,
    made: Vec<bool>,
    values: Vec<f32>,
}

impl Wide {
    /// Forgets the rows of the batch before.
    pub(crate) fn begin(&mut self, shards: &Shards) {
        self.made.clear();
        self.made.resize(BATCH, false);
        if shards.dtype() == Dtype::F16 {
            self.bytes.resize(BATCH * 4 * shards.dimensions(), 0);
            self.values.resize(shards.dimensions(), 0.0);
        }
    }

    /// Widens a row, once.
    pub(crate) fn read(
        &mut self,
        shards: &Shards,
        part: usize,
        batch: &Batch,
        column: u32,
    ) -> Result<()> {
        let column = column as usize;
        if shards.dtype() == Dtype::F32 || self.made[column] {
            return Ok(());
        }
        shards.read(part, batch.from + column, &mut self.values)?;
        let to = self.bytes.as_chunks_mut::<4>().0;
        let to = &mut to[column * self.values.len()..][..self.values.len()];
        for (to, value) in to.iter_mut().zip(&self.values) {
            *to = value.to_le_bytes();
        }
        self.made[column] = true;
        Ok(())
    }

    /// The bytes of a row that was read.
    pub(crate) fn row<'b>(
        &'b self,
        shards: &'b Shards,
        part: usize,
        batch: &Batch,
        column: u32,
    ) -> &'b [u8] {
        let column = column as usize;
        if shards.dtype() == Dtype::F32 {
            return shards.bytes(part, batch.from + column);
        }
        let stride = 4 * shards.dimensions();
        &self.bytes[column * stride..][..stride]
    }
}
