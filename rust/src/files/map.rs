//! Files mapped for reading.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::{Stamp, open};
use crate::error::{Error, Result};

/// Read-only bytes: a mapped file, or memory.
#[derive(Debug)]
pub enum Bytes {
    /// A memory-mapped file, and where it lies.
    Mapped(Mmap, PathBuf),
    /// Bytes that live in memory, or an empty file (which cannot be mapped).
    Owned(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map, _) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Bytes {
    /// Refuses a mapped file that is shorter by now: whoever touches the part that has gone is killed (SIGBUS). A file
    /// that shrinks behind this check is not noticed, so it belongs before every pass.
    pub fn require_whole(&self) -> Result<()> {
        let Self::Mapped(map, path) = self else {
            return Ok(());
        };
        let size = fs::metadata(path).map_or(map.len() as u64, |meta| meta.len());
        if size >= map.len() as u64 {
            return Ok(());
        }
        let message = format!(
            "{} shrank while it was read: {size} bytes, it had {}",
            path.display(),
            map.len()
        );
        Err(Error::input(
            message,
            "restore the file and run again; inputs must not change while they are used",
        ))
    }
}

/// Maps a file for reading; a missing file or a folder is the user's error and says so.
pub fn map(path: &Path) -> Result<Bytes> {
    map_stamped(path).map(|(bytes, _)| bytes)
}

/// Maps a file for reading, with the stamp of what was mapped.
pub fn map_stamped(path: &Path) -> Result<(Bytes, Stamp)> {
    let file = open(path)?;
    let stamp = Stamp::of_file(&file, path)?;
    if stamp.size == 0 {
        return Ok((Bytes::Owned(Vec::new()), stamp));
    }
    // SAFETY: the mapping is read-only. Changing or truncating the file while it is mapped is outside the contract of
    // every reader here, as the documentation of the file formats states.
    let mapped = unsafe { Mmap::map(&file) }.map_err(|source| Error::io(path, source))?;
    Ok((Bytes::Mapped(mapped, path.to_path_buf()), stamp))
}

/// Asks the system to read a part of a mapped file, which is needed soon. A hint: nothing depends on it.
pub fn expect(map: &Mmap, at: usize, length: usize) {
    #[cfg(unix)]
    let _ = map.advise_range(memmap2::Advice::WillNeed, at, length);
    #[cfg(not(unix))]
    let _ = (map, at, length);
}

/// Gives the memory of a part of a mapped file back to the system, which reads it again when it is used.
pub fn release(map: &Mmap, at: usize, length: usize) {
    // SAFETY: the mapping is of a file, shared and read-only: what is dropped is read again from the file.
    #[cfg(unix)]
    let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, at, length) };
    #[cfg(not(unix))]
    let _ = (map, at, length);
}
