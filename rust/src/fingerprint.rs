//! Fingerprints of content: BLAKE3 of texts and of files, and the 128-bit keys under which scores are kept.

use std::path::Path;

use crate::error::Result;
use crate::files::map;
use crate::progress::Progress;

/// Bytes hashed between two polls of the stop flag.
const STRIDE: usize = 64 << 20;

/// Stands between title and text in a passage's key, so that moving a word from one to the other changes the key.
const SEPARATOR: u8 = 0x1f;

/// A content key: the first 128 bits of a BLAKE3 digest as two little-endian words.
pub type Key = [u64; 2];

/// BLAKE3-256 of a text, in hexadecimal.
pub fn of_text(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// BLAKE3-256 over the lengths and contents of files in the order given, in hexadecimal; counts files done.
pub fn of_files(paths: &[&Path], progress: &Progress) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for path in paths {
        let bytes = map(path)?;
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        update(&mut hasher, &bytes, progress)?;
        progress.add(1);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// BLAKE3-256 of a file's content, in hexadecimal.
pub fn of_file(path: &Path, progress: &Progress) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    update(&mut hasher, &map(path)?, progress)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Feeds `bytes` to `hasher` over all threads, polling the stop flag in between.
pub fn update(hasher: &mut blake3::Hasher, bytes: &[u8], progress: &Progress) -> Result<()> {
    for part in bytes.chunks(STRIDE) {
        progress.poll()?;
        hasher.update_rayon(part);
    }
    Ok(())
}

/// The key of a passage: title, separator, text.
pub fn passage_key(title: &str, text: &str) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(title.as_bytes())
        .update(&[SEPARATOR])
        .update(text.as_bytes());
    key_of(&hasher.finalize())
}

/// The key of a query: its text alone.
pub fn query_key(text: &str) -> Key {
    key_of(&blake3::hash(text.as_bytes()))
}

/// 64 bits of an id's digest, for the table that finds rows by id.
pub fn id_hash(id: &str) -> u64 {
    key_of(&blake3::hash(id.as_bytes()))[0]
}

fn key_of(digest: &blake3::Hash) -> Key {
    let mut words = [[0u8; 8]; 2];
    words[0].copy_from_slice(&digest.as_bytes()[..8]);
    words[1].copy_from_slice(&digest.as_bytes()[8..16]);
    words.map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_title_from_text() {
        assert_ne!(passage_key("a", "b"), passage_key("ab", ""));
        assert_ne!(passage_key("", "ab"), query_key("ab"));
    }

    #[test]
    fn files_are_hashed_with_their_lengths() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (a, b) = (write("a", "xy"), write("b", "z"));
        let (c, d) = (write("c", "x"), write("d", "yz"));
        let progress = Progress::default();
        let left = of_files(&[&a, &b], &progress).unwrap();
        assert_ne!(left, of_files(&[&c, &d], &progress).unwrap());
        assert_ne!(left, of_files(&[&b, &a], &progress).unwrap());
        assert_eq!(progress.done(), 6);
    }
}
