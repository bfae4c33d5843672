//! Compressed inputs are unpacked once into the cache, so that every later read is a memory map.

use std::fs;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::{self, Staged, Stamp, Written};
use crate::fingerprint;
use crate::progress::Progress;

const VERSION: u32 = 1;
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What an unpacked file was made from.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    source: PathBuf,
    stamp: Stamp,
    unpacked: Written,
}

/// The file to map for `path`: itself, or its unpacked copy under `cache`.
pub fn unpacked(path: &Path, cache: &Path, progress: &Progress) -> Result<PathBuf> {
    let mut head = [0u8; 2];
    let filled = files::open(path)?
        .read(&mut head)
        .map_err(|source| Error::io(path, source))?;
    let named = path.extension().is_some_and(|ending| ending == "gz");
    if filled == 2 && head == MAGIC {
        return copy_of(path, cache, progress);
    }
    if named && filled > 0 {
        let hint = "rename the file, or fetch it again";
        return Err(Error::format(
            path,
            None,
            "named .gz but not compressed by gzip",
            hint,
        ));
    }
    Ok(path.to_path_buf())
}

fn copy_of(path: &Path, cache: &Path, progress: &Progress) -> Result<PathBuf> {
    let source = fs::canonicalize(path).map_err(|error| Error::io(path, error))?;
    let stamp = Stamp::of(path)?;
    let place = cache.join("unpacked").join(name_for(&source));
    let manifest_at = manifest_of(&place);
    if is_fresh(&manifest_at, &place, &source, stamp) {
        return Ok(place);
    }
    let unpacked = unpack(path, &place, progress)?;
    let manifest = Manifest {
        version: VERSION,
        source,
        stamp,
        unpacked,
    };
    let mut file = Staged::create(&manifest_at)?;
    file.write(&serde_json::to_vec_pretty(&manifest).map_err(internal)?)?;
    file.commit()?;
    Ok(place)
}

fn internal(error: serde_json::Error) -> Error {
    Error::Internal {
        message: error.to_string(),
    }
}

fn manifest_of(place: &Path) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(".json");
    PathBuf::from(name)
}

/// A name that tells two sources of the same base name apart.
fn name_for(source: &Path) -> String {
    let digest = fingerprint::of_text(&source.to_string_lossy());
    let base = source.file_stem().unwrap_or_default().to_string_lossy();
    format!("{}-{base}", &digest[..16])
}

fn is_fresh(manifest_at: &Path, place: &Path, source: &Path, stamp: Stamp) -> bool {
    let manifest = fs::read(manifest_at)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let size = fs::metadata(place).map(|meta| meta.len()).ok();
    manifest.is_some_and(|found: Manifest| {
        found.version == VERSION
            && found.source == source
            && found.stamp == stamp
            && Some(found.unpacked.size) == size
    })
}

fn unpack(path: &Path, place: &Path, progress: &Progress) -> Result<Written> {
    let mut reader = MultiGzDecoder::new(BufReader::with_capacity(1 << 20, files::open(path)?));
    let mut staged = Staged::create(place)?;
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        progress.poll()?;
        match reader.read(&mut buffer) {
            Ok(0) => return staged.commit(),
            Ok(filled) => staged.write(&buffer[..filled])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(bad_gzip(path, &error)),
        }
    }
}

fn bad_gzip(path: &Path, error: &std::io::Error) -> Error {
    let message = match error.kind() {
        ErrorKind::UnexpectedEof => "the gzip stream is truncated".to_owned(),
        _ => format!("the gzip stream is damaged: {error}"),
    };
    Error::format(path, None, message, "fetch or compress the file again")
}
