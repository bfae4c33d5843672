//! Token ids on disk: `offsets.u64` tells where each row's ids stand in `tokens.u32`, `manifest.json` what they are.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::options::TokenOptions;
use crate::error::{Error, Result};
use crate::files::{self, Bytes, Written};

/// Version of the folder's form.
pub const VERSION: u32 = 2;
/// The value of `format` in the manifest.
pub const FORMAT: &str = "umr-tokens";
/// Name of the manifest; a folder without it holds no store.
pub const MANIFEST: &str = "manifest.json";
/// Name of the file of ids.
pub const TOKENS: &str = "tokens.u32";
/// Name of the file of offsets.
pub const OFFSETS: &str = "offsets.u64";

const REBUILD: &str = "remove the folder and tokenise again";

/// What a store is and was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: String,
    /// Version of the form.
    pub version: u32,
    /// Number of rows.
    pub rows: usize,
    /// Number of tokens over all rows.
    pub tokens: u64,
    /// Fingerprint of records, tokenizer and options together.
    pub fingerprint: String,
    /// Fingerprint of the records.
    pub records: String,
    /// BLAKE3-256 of tokenizer.json.
    pub tokenizer: String,
    /// The options.
    pub options: TokenOptions,
    /// Size and checksum of `tokens.u32`.
    pub tokens_file: Written,
    /// Size and checksum of `offsets.u64`.
    pub offsets_file: Written,
}

/// Ragged token ids, memory-mapped.
#[derive(Debug)]
pub struct TokenStore {
    manifest: Manifest,
    tokens: Bytes,
    offsets: Bytes,
}

impl TokenStore {
    /// Opens a finished store; a torn or truncated one is refused.
    pub fn open(folder: &Path) -> Result<Self> {
        let manifest = read_manifest(folder)?.ok_or_else(|| {
            let message = format!("{}: no token store in this folder", folder.display());
            Error::input(
                message,
                "tokenise first; a store is finished once its manifest.json exists",
            )
        })?;
        let tokens = sized(folder.join(TOKENS), &manifest.tokens_file)?;
        let offsets = sized(folder.join(OFFSETS), &manifest.offsets_file)?;
        let store = Self {
            manifest,
            tokens,
            offsets,
        };
        store.check(folder)?;
        Ok(store)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.manifest.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fingerprint of records, tokenizer and options.
    pub fn fingerprint(&self) -> &str {
        &self.manifest.fingerprint
    }

    /// Tokens of some rows; a row beyond the end is a [`Error::Shape`].
    pub fn lengths(&self, rows: &[u32]) -> Result<Vec<u32>> {
        rows.iter()
            .map(|row| Ok(self.row(*row)?.len() as u32))
            .collect()
    }

    /// The ids of a row; a row beyond the end is a [`Error::Shape`].
    pub fn row(&self, row: u32) -> Result<impl ExactSizeIterator<Item = u32> + '_> {
        let at = row as usize;
        if at >= self.len() {
            return Err(Error::shape(format!(
                "row {row}: there are only {} rows",
                self.len()
            )));
        }
        let (from, to) = (
            self.offset(at) as usize * 4,
            self.offset(at + 1) as usize * 4,
        );
        let words = self.tokens[from..to].chunks_exact(4);
        Ok(words.map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])))
    }

    fn offset(&self, at: usize) -> u64 {
        let mut word = [0u8; 8];
        word.copy_from_slice(&self.offsets[8 * at..8 * at + 8]);
        u64::from_le_bytes(word)
    }

    /// Offsets are the map to everything else: they must be those that were written, and fit the tokens.
    fn check(&self, folder: &Path) -> Result<()> {
        let rows = self.manifest.rows;
        let path = folder.join(OFFSETS);
        let digest = blake3::Hasher::new().update_rayon(&self.offsets).finalize();
        let sizes = self.offsets.len() == 8 * (rows + 1)
            && self.tokens.len() as u64 == 4 * self.manifest.tokens;
        if !sizes || digest.to_hex().as_str() != self.manifest.offsets_file.blake3 {
            return Err(Error::storage(
                path,
                "not the file that the manifest describes",
                REBUILD,
            ));
        }
        let ascending = (0..rows).all(|row| self.offset(row) <= self.offset(row + 1));
        if !ascending || self.offset(rows) != self.manifest.tokens {
            return Err(Error::storage(
                path,
                "the offsets do not fit the tokens",
                REBUILD,
            ));
        }
        Ok(())
    }
}

/// The manifest of a folder, or `None` when there is none.
pub fn read_manifest(folder: &Path) -> Result<Option<Manifest>> {
    let path = folder.join(MANIFEST);
    if !path.is_file() {
        return Ok(None);
    }
    let json = fs::read(&path).map_err(|source| Error::io(&path, source))?;
    let manifest: Manifest = serde_json::from_slice(&json).map_err(|error| {
        Error::storage(
            &path,
            format!("not the manifest of a token store: {error}"),
            REBUILD,
        )
    })?;
    if manifest.format != FORMAT || manifest.version != VERSION {
        let found = format!("{} version {}", manifest.format, manifest.version);
        let message = format!("{found}, expected {FORMAT} version {VERSION}");
        return Err(Error::mismatch(path, message, REBUILD));
    }
    Ok(Some(manifest))
}

fn sized(path: PathBuf, expected: &Written) -> Result<Bytes> {
    if !path.is_file() {
        return Err(Error::storage(
            path,
            "missing, although the manifest names it",
            REBUILD,
        ));
    }
    let bytes = files::map(&path)?;
    if bytes.len() as u64 != expected.size {
        let message = format!("{} bytes, the manifest says {}", bytes.len(), expected.size);
        return Err(Error::storage(path, message, REBUILD));
    }
    Ok(bytes)
}
