//! The offset table kept in the cache: reused while the files are unchanged, else rebuilt.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::fields::Kind;
use super::input::InputFile;
use super::layout::Layout;
use super::scan::Counts;
use super::table::{ROW_BYTES, Table};
use crate::error::{Error, Result};
use crate::files::{self, Staged};
use crate::fingerprint;
use crate::progress::Progress;

/// First bytes of an index.
const MAGIC: &[u8; 8] = b"UMRINDX2";
/// Magic, length of the header, its CRC-32.
const PREFIX: usize = 16;
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
    /// BLAKE3-256 of the table.
    pub table: String,
}

/// Writes header and table beside `path` and renames them into place.
pub fn save(path: &Path, header: &Header, body: &[u8]) -> Result<()> {
    let mut json = serde_json::to_vec(header).map_err(|error| Error::Internal {
        message: error.to_string(),
    })?;
    // The table starts at a multiple of eight bytes; JSON ends with as many spaces as that takes.
    json.resize((PREFIX + json.len()).next_multiple_of(8) - PREFIX, b' ');
    let mut file = Staged::create(path)?;
    file.write(MAGIC)?;
    file.write(&(json.len() as u32).to_le_bytes())?;
    file.write(&crc32fast::hash(&json).to_le_bytes())?;
    file.write(&json)?;
    file.write(body)?;
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
    let Some((header, skip)) = read_header(&bytes) else {
        return Ok(None);
    };
    let known = header.version == READER_VERSION && header.kind == kind && header.files == files;
    if !known || bytes.len() != skip + header.rows.saturating_mul(ROW_BYTES) {
        return Ok(None);
    }
    let mut hasher = blake3::Hasher::new();
    fingerprint::update(&mut hasher, &bytes[skip..], progress)?;
    if hasher.finalize().to_hex().as_str() != header.table {
        return Ok(None);
    }
    let rows = header.rows;
    Ok(Table::new(bytes, skip, rows).map(|table| (header, table)))
}

fn read_header(bytes: &[u8]) -> Option<(Header, usize)> {
    let word = |at: usize| {
        let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    let skip = PREFIX.checked_add(word(MAGIC.len())? as usize)?;
    let json = bytes.get(PREFIX..skip)?;
    if !bytes.starts_with(MAGIC) || word(MAGIC.len() + 4)? != crc32fast::hash(json) {
        return None;
    }
    Some((serde_json::from_slice(json).ok()?, skip))
}
