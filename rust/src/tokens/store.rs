//! Token ids on disk: `offsets.u64` tells where each row's ids stand in `tokens.u32`, `manifest.json` what they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::TokenOptions;
use crate::error::{Error, Result};
use crate::files::{self, Bytes, Written};
use crate::fingerprint;

/// Version of the folder's form.
pub const VERSION: u32 = 3;
/// The version of manifests, as that of `umr.manifest`.
pub const FORMAT: u32 = 2;
/// The value of `kind` in the manifest.
pub const KIND: &str = "tokens";
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
    pub format: u32,
    /// Always [`KIND`].
    pub kind: String,
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
    /// Size and checksum of [`TOKENS`] and [`OFFSETS`].
    pub files: BTreeMap<String, Written>,
}

/// Ragged token ids, memory-mapped.
#[derive(Debug)]
pub struct TokenStore {
    folder: PathBuf,
    manifest: Manifest,
    tokens: Bytes,
    offsets: Bytes,
    /// Set once the tokens were compared with their checksum.
    whole: OnceLock<()>,
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
        let tokens = sized(folder, TOKENS, &manifest)?;
        let offsets = sized(folder, OFFSETS, &manifest)?;
        let store = Self {
            folder: folder.to_path_buf(),
            manifest,
            tokens,
            offsets,
            whole: OnceLock::new(),
        };
        store.check()?;
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

    /// Compares the tokens with their checksum, the first time that one is asked for.
    fn require_whole(&self) -> Result<()> {
        if self.whole.get().is_none() {
            compare(&self.folder, TOKENS, &self.tokens, &self.manifest)?;
            let _ = self.whole.set(()); // by another thread meanwhile, at most
        }
        Ok(())
    }

    /// Tokens of some rows; a row beyond the end is a [`Error::Shape`].
    pub fn lengths(&self, rows: &[u32]) -> Result<Vec<u32>> {
        rows.iter()
            .map(|row| Ok(self.row(*row)?.len() as u32))
            .collect()
    }

    /// The ids of a row; a row beyond the end is a [`Error::Shape`].
    pub fn row(&self, row: u32) -> Result<impl ExactSizeIterator<Item = u32> + '_> {
        self.require_whole()?;
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
    fn check(&self) -> Result<()> {
        let (rows, tokens) = (self.manifest.rows, self.manifest.tokens);
        compare(&self.folder, OFFSETS, &self.offsets, &self.manifest)?;
        let path = self.folder.join(OFFSETS);
        let sizes = self.offsets.len() as u64 == 8 * (rows as u64).saturating_add(1)
            && self.tokens.len() as u64 == tokens.saturating_mul(4);
        if !sizes {
            let message = format!("does not fit {rows} rows of {tokens} tokens");
            return Err(Error::storage(path, message, REBUILD));
        }
        let ascending = (0..rows).all(|row| self.offset(row) <= self.offset(row + 1));
        if !ascending || self.offset(rows) != tokens {
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
    let unreadable = |error| {
        let message = format!("not the manifest of a token store: {error}");
        Error::storage(&path, message, REBUILD)
    };
    let mut value: Map<String, Value> = serde_json::from_slice(&json).map_err(unreadable)?;
    let digest = value.remove("digest");
    if digest != Some(digest_of(&value)) {
        let message = "has changed since it was written, or is of another version of umr";
        return Err(Error::mismatch(path, message, REBUILD));
    }
    let manifest: Manifest = serde_json::from_value(value.into()).map_err(unreadable)?;
    if manifest.kind != KIND || manifest.format != FORMAT || manifest.version != VERSION {
        let found = format!("{} version {}", manifest.kind, manifest.version);
        let message = format!("{found}, expected {KIND} version {VERSION}");
        return Err(Error::mismatch(path, message, REBUILD));
    }
    Ok(Some(manifest))
}

/// A manifest with its digest behind it, as `umr.manifest` writes and compares it: of the JSON with sorted keys, no white space.
pub fn with_digest(manifest: &Manifest) -> serde_json::Result<Vec<u8>> {
    let mut value: Map<String, Value> = serde_json::from_value(serde_json::to_value(manifest)?)?;
    value.insert("digest".into(), digest_of(&value));
    serde_json::to_vec_pretty(&value)
}

fn digest_of(value: &Map<String, Value>) -> Value {
    fingerprint::of_text(&Value::from(value.clone()).to_string()).into()
}

fn sized(folder: &Path, name: &str, manifest: &Manifest) -> Result<Bytes> {
    let path = folder.join(name);
    let Some(expected) = manifest.files.get(name).filter(|_| path.is_file()) else {
        return Err(Error::storage(
            path,
            "missing, or not in the manifest",
            REBUILD,
        ));
    };
    let bytes = files::map(&path)?;
    if bytes.len() as u64 != expected.size {
        let message = format!("{} bytes, the manifest says {}", bytes.len(), expected.size);
        return Err(Error::storage(path, message, REBUILD));
    }
    Ok(bytes)
}

fn compare(folder: &Path, name: &str, bytes: &[u8], manifest: &Manifest) -> Result<()> {
    let digest = blake3::Hasher::new().update_rayon(bytes).finalize();
    let expected = manifest.files.get(name).map(|file| file.blake3.as_str());
    if expected == Some(digest.to_hex().as_str()) {
        return Ok(());
    }
    let message = "not the file that the manifest describes";
    Err(Error::storage(folder.join(name), message, REBUILD))
}
