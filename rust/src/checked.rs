//! Bytes of a mapped file that are compared with their checksums, a block at a time, when they are first used.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::files::Bytes;

/// Bytes of a block: reading one record costs reading so many.
pub const BLOCK: usize = 1 << 18;

/// A file, the CRC-32 of each of its blocks, and which of them were compared.
#[derive(Debug)]
pub struct Checked {
    path: PathBuf,
    bytes: Bytes,
    sums: Vec<u32>,
    seen: Vec<AtomicBool>,
}

impl Checked {
    /// Takes the checksums of a file that is read for the first time.
    pub fn new(path: PathBuf, bytes: Bytes) -> Self {
        let sums: Vec<u32> = bytes.par_chunks(BLOCK).map(crc32fast::hash).collect();
        let seen = sums.iter().map(|_| AtomicBool::new(true)).collect();
        Self {
            path,
            bytes,
            sums,
            seen,
        }
    }

    /// A file whose checksums are known.
    pub fn known(path: PathBuf, bytes: Bytes, sums: Vec<u32>) -> Result<Self> {
        let seen: Vec<_> = sums.iter().map(|_| AtomicBool::new(false)).collect();
        let checked = Self {
            path,
            bytes,
            sums,
            seen,
        };
        if checked.bytes.len().div_ceil(BLOCK) == checked.sums.len() {
            Ok(checked)
        } else {
            Err(checked.changed())
        }
    }

    /// The checksums of the blocks.
    pub fn sums(&self) -> &[u32] {
        &self.sums
    }

    /// All bytes, unchecked.
    pub fn all(&self) -> &[u8] {
        &self.bytes
    }

    /// Refuses to go on where the file is shorter than it was when it was mapped.
    pub fn require_whole(&self) -> Result<()> {
        self.bytes.require_whole()
    }

    /// Some bytes; an error names the file where they are not those that the checksums were taken of.
    pub fn get(&self, range: Range<usize>) -> Result<&[u8]> {
        let last = range.end.max(range.start + 1);
        for block in range.start / BLOCK..last.div_ceil(BLOCK).min(self.sums.len()) {
            if !self.seen[block].load(Ordering::Relaxed) {
                self.check(block)?;
            }
        }
        Ok(&self.bytes[range])
    }

    /// Compares every block.
    pub fn verify(&self) -> Result<()> {
        let blocks = (0..self.sums.len()).into_par_iter();
        blocks.try_for_each(|block| self.check(block))
    }

    fn check(&self, block: usize) -> Result<()> {
        let end = self.bytes.len().min((block + 1) * BLOCK);
        if crc32fast::hash(&self.bytes[block * BLOCK..end]) != self.sums[block] {
            return Err(self.changed());
        }
        self.seen[block].store(true, Ordering::Relaxed);
        Ok(())
    }

    fn changed(&self) -> Error {
        let message = "has changed since it was read, though its size and time are the same";
        let hint =
            "restore the file; a copy under corpus/unpacked may be removed: it is unpacked again";
        Error::mismatch(&self.path, message, hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_compared_before_it_is_used() {
        let bytes: Vec<u8> = (0..3 * BLOCK + 5).map(|at| (at % 251) as u8).collect();
        let sums = Checked::new("a".into(), Bytes::Owned(bytes.clone()))
            .sums
            .clone();
        assert_eq!(sums.len(), 4);
        let mut spoiled = bytes.clone();
        spoiled[2 * BLOCK] ^= 1;
        let file = Checked::known("a".into(), Bytes::Owned(spoiled), sums.clone()).unwrap();
        assert_eq!(file.get(0..2 * BLOCK).unwrap(), &bytes[..2 * BLOCK]);
        assert_eq!(file.get(3 * BLOCK..3 * BLOCK + 5).unwrap().len(), 5);
        for range in [
            2 * BLOCK..2 * BLOCK + 1,
            BLOCK + 7..bytes.len(),
            2 * BLOCK + 9..3 * BLOCK,
        ] {
            assert!(matches!(file.get(range), Err(Error::Mismatch { .. })));
        }
        assert!(file.verify().is_err());
        let file = Checked::known("a".into(), Bytes::Owned(bytes.clone()), sums.clone()).unwrap();
        assert!(file.verify().is_ok());
        let shorter = Bytes::Owned(bytes[..BLOCK].to_vec());
        assert!(Checked::known("a".into(), shorter, sums).is_err());
    }
}
