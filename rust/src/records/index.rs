//! The offset table kept in the cache: reused while the files are unchanged, else rebuilt.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::fields::Kind;
use super::input::{InputFile, MappedFile};
use super::layout::Layout;
use super::scan::Counts;
use super::table::{ROW_BYTES, Table};
use crate::error::{Error, Result};
use crate::files::{self, Staged};
use crate::fingerprint;
use crate::progress::Progress;

/// First bytes of an index.
const MAGIC: &[u8; 8] = b"UMRINDX2";
/// Magic, BLAKE3-256 of everything behind it, header length.
const PREFIX: usize = 44;
/// Where the digest ends.
const DIGESTED: usize = 40;
/// Changes whenever the same bytes would be read as other records.
pub const READER_VERSION: u32 = 3;

/// The JSON in front of the table.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the reader that made the table.
    pub version: u32,
    /// Passages or queries.
    pub kind: Kind,
    /// The files, in order.
    pub files: Vec<InputFile>,
    /// Their formats.
    pub layouts: Vec<Layout>,
    /// Number of records.
    pub rows: usize,
    /// Fingerprint of kind, reader and content.
    pub fingerprint: String,
    /// What the records are like.
    pub counts: Counts,
    /// CRC-32 of the blocks of each file.
    pub sums: Vec<Vec<u32>>,
}

/// Writes header and table beside `path` and renames them into place.
pub fn save(path: &Path, header: &Header, body: &[u8]) -> Result<()> {
    let mut json = serde_json::to_vec(header).map_err(|error| Error::Internal {
        message: error.to_string(),
    })?;
    // The table starts at a multiple of eight bytes; JSON ends with as many spaces as that takes.
    json.resize((PREFIX + json.len()).next_multiple_of(8) - PREFIX, b' ');
    let length = (json.len() as u32).to_le_bytes();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&length).update(&json).update_rayon(body);
    let digest = hasher.finalize();
    let mut file = Staged::create(path)?;
    for part in [&MAGIC[..], digest.as_bytes(), &length[..], &json, body] {
        file.write(part)?;
    }
    file.commit().map(|_| ())
}

/// The kept table, when it was made by this reader from exactly these files and is whole.
pub fn load(
    path: &Path,
    kind: Kind,
    files: &[InputFile],
    progress: &Progress,
) -> Result<Option<(Header, Table)>> {
    if fs::metadata(path).map(|meta| meta.len()).unwrap_or(0) < PREFIX as u64 {
        return Ok(None);
    }
    let bytes = files::map(path)?;
    let mut hasher = blake3::Hasher::new();
    fingerprint::update(&mut hasher, &bytes[DIGESTED..], progress)?;
    if bytes[MAGIC.len()..DIGESTED] != *hasher.finalize().as_bytes() {
        return Ok(None);
    }
    let Some((header, skip)) = read_header(&bytes) else {
        return Ok(None);
    };
    let known = header.version == READER_VERSION && header.kind == kind && header.files == files;
    if !known || bytes.len() != skip + header.rows.saturating_mul(ROW_BYTES) {
        return Ok(None);
    }
    let rows = header.rows;
    Ok(Table::new(bytes, skip, rows).map(|table| (header, table)))
}

fn read_header(bytes: &[u8]) -> Option<(Header, usize)> {
    let mut length = [0u8; 4];
    length.copy_from_slice(
        bytes
            .strip_prefix(MAGIC)?
            .get(DIGESTED - MAGIC.len()..)?
            .get(..4)?,
    );
    let skip = PREFIX.checked_add(u32::from_le_bytes(length) as usize)?;
    let header = serde_json::from_slice(bytes.get(PREFIX..skip)?).ok()?;
    Some((header, skip))
}

/// The name of a collection: of kind, reader and content.
pub fn content_fingerprint(
    kind: Kind,
    files: &[MappedFile],
    progress: &Progress,
) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("umr records {READER_VERSION} {kind}\n").as_bytes());
    for file in files {
        let bytes = file.content.all();
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        fingerprint::update(&mut hasher, bytes, progress)?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}
