//! Score segments: append-only files of (query key, passage key, score), each record with its own checksum.
//!
//! A process that is killed leaves at worst a torn last record, which readers notice and drop.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fingerprint::Key;

/// First bytes of a segment.
pub const MAGIC: &[u8; 8] = b"UMRSCOR1";
/// Bytes of the header: magic, u32 version 2, u32 record size, the first 16 bytes of the BLAKE3 of the store's name.
pub const HEADER: usize = 32;
/// Bytes of a record: query key 16, passage key 16, score f32, CRC-32 of the 36 bytes before it.
pub const RECORD: usize = 40;

const VERSION: u32 = 2;

/// The header of every segment of a store: it is read as part of no other.
pub fn header(store: &str) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&(RECORD as u32).to_le_bytes());
    bytes[16..].copy_from_slice(&blake3::hash(store.as_bytes()).as_bytes()[..16]);
    bytes
}

/// A pair of content keys: query, passage.
pub type Pair = (Key, Key);

/// The 40 bytes of a record.
pub fn encode(pair: Pair, score: f32) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    let words = [pair.0[0], pair.0[1], pair.1[0], pair.1[1]];
    for (target, word) in bytes.chunks_exact_mut(8).zip(words) {
        target.copy_from_slice(&word.to_le_bytes());
    }
    bytes[32..36].copy_from_slice(&score.to_le_bytes());
    let check = crc32fast::hash(&bytes[..36]);
    bytes[36..].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// The pair and score of a record, or `None` when its checksum does not hold.
pub fn decode(bytes: &[u8; RECORD]) -> Option<(Pair, f32)> {
    let (words, _) = bytes.as_chunks::<4>();
    if u32::from_le_bytes(words[9]) != crc32fast::hash(&bytes[..36]) {
        return None;
    }
    let (keys, _) = bytes.as_chunks::<8>();
    let key = |at: usize| {
        [
            u64::from_le_bytes(keys[at]),
            u64::from_le_bytes(keys[at + 1]),
        ]
    };
    Some(((key(0), key(2)), f32::from_le_bytes(words[8])))
}

/// A segment open for appending.
#[derive(Debug)]
pub struct ScoreLog {
    path: PathBuf,
    file: Option<File>,
    size: u64,
}

impl ScoreLog {
    /// Starts a new segment of the store of a name; one that exists is never opened again.
    pub fn create(path: &Path, store: &str) -> Result<Self> {
        let made = OpenOptions::new().write(true).create_new(true).open(path);
        let file = made.map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => {
                let message = "exists already; a segment is written by one process only";
                Error::storage(path, message, "give the new segment another name")
            }
            _ => Error::io(path, source),
        })?;
        let mut log = Self {
            path: path.to_path_buf(),
            file: Some(file),
            size: 0,
        };
        log.write(&header(store))?;
        Ok(log)
    }

    /// Appends scores of pairs, all or none, and returns once the device has them. All scores must be finite.
    pub fn append(&mut self, queries: &[Key], passages: &[Key], scores: &[f32]) -> Result<()> {
        if queries.len() != scores.len() || passages.len() != scores.len() {
            let (q, p, s) = (queries.len(), passages.len(), scores.len());
            let message = format!("{q} query keys, {p} passage keys and {s} scores");
            return Err(Error::shape(message));
        }
        if let Some(at) = scores.iter().position(|score| !score.is_finite()) {
            let message = format!("score {at} is {}", scores[at]);
            return Err(Error::not_finite(
                message,
                "score again in bf16 or fp32 rather than fp16",
            ));
        }
        let pairs = queries.iter().zip(passages).zip(scores);
        let bytes: Vec<u8> = pairs
            .flat_map(|((q, p), score)| encode((*q, *p), *score))
            .collect();
        self.write(&bytes)
    }

    /// Closes the file; appending afterwards is an error, closing again is not.
    pub fn close(&mut self) {
        self.file = None;
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(file) = &mut self.file else {
            return Err(Error::shape(format!(
                "{}: the score log is closed",
                self.path.display()
            )));
        };
        if let Err(source) = file.write_all(bytes).and_then(|()| file.sync_data()) {
            // Without this, records appended later would stand behind a torn one and be lost.
            let _ = file.set_len(self.size);
            let _ = file.seek(SeekFrom::Start(self.size));
            return Err(Error::io(&self.path, source));
        }
        self.size += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_byte_is_noticed() {
        let record = encode(([1, 2], [3, 4]), 0.5);
        assert_eq!(decode(&record), Some((([1, 2], [3, 4]), 0.5)));
        for at in 0..RECORD {
            let mut broken = record;
            broken[at] ^= 1;
            assert_eq!(decode(&broken), None);
        }
    }

    #[test]
    fn what_must_be_refused_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.scores");
        let mut log = ScoreLog::create(&path, "store").unwrap();
        assert!(matches!(
            ScoreLog::create(&path, "store"),
            Err(Error::Storage { .. })
        ));
        let refused = log.append(&[[0, 0]], &[[0, 0]], &[f32::NAN]);
        assert!(matches!(refused, Err(Error::NotFinite { .. })));
        assert!(matches!(
            log.append(&[[0, 0]], &[], &[]),
            Err(Error::Shape { .. })
        ));
        log.close();
        assert!(matches!(
            log.append(&[], &[], &[]),
            Err(Error::Shape { .. })
        ));
    }
}
