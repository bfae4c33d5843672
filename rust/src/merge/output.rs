//! Where merged scores go: into memory, or block by block into a NumPy file that appears when it is whole.

use std::path::Path;

use crate::error::Result;
use crate::files::Staged;
use crate::progress::Progress;

use super::BLOCK;

/// Bytes of the header: a multiple of 64 that any shape fits into.
const HEADER: usize = 128;

/// A file that takes the scores.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Its place.
    pub path: &'a Path,
    /// Stores, queries, candidates.
    pub shape: [usize; 3],
}

/// Scores in the order of stores and pairs.
pub enum Output {
    /// All of them, and how many were handed out.
    Memory(Vec<f32>, usize),
    /// The block in work, and the file that has those before it.
    File(Vec<f32>, Box<Staged>),
}

impl Output {
    /// Room for the scores, or the file's header.
    pub fn new(target: Option<Target<'_>>, scores: usize) -> Result<Self> {
        let Some(target) = target else {
            return Ok(Self::Memory(vec![f32::NAN; scores], 0));
        };
        let mut staged = Staged::create(target.path)?;
        staged.write(&header(target.shape))?;
        Ok(Self::File(Vec::new(), Box::new(staged)))
    }

    /// The next `count` scores, all NaN.
    pub fn block(&mut self, count: usize) -> &mut [f32] {
        match self {
            Self::Memory(scores, before) => {
                *before += count;
                &mut scores[*before - count..*before]
            }
            Self::File(block, _) => {
                block.clear();
                block.resize(count, f32::NAN);
                block
            }
        }
    }

    /// Keeps the block that was handed out last.
    pub fn keep(&mut self, progress: &Progress) -> Result<()> {
        let Self::File(block, staged) = self else {
            return Ok(());
        };
        for scores in block.chunks(BLOCK) {
            progress.poll()?;
            let bytes: Vec<u8> = scores.iter().flat_map(|s| s.to_le_bytes()).collect();
            staged.write(&bytes)?;
        }
        Ok(())
    }

    /// The scores, or nothing once they are in the file.
    pub fn finish(self) -> Result<Vec<f32>> {
        match self {
            Self::Memory(scores, _) => Ok(scores),
            Self::File(_, staged) => staged.commit().map(|_| Vec::new()),
        }
    }
}

/// The header of a `.npy` file, version 1.0, of little-endian float32 in C order.
fn header(shape: [usize; 3]) -> Vec<u8> {
    let [stores, queries, k] = shape;
    let dictionary = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({stores}, {queries}, {k}), }}"
    );
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(((HEADER - 10) as u16).to_le_bytes());
    bytes.extend(dictionary.as_bytes());
    bytes.resize(HEADER - 1, b' ');
    bytes.push(b'\n');
    bytes
}
