//! Compressed inputs are unpacked once into the cache, so that every later read is a memory map.

use std::fs;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};
use crate::files::{self, Staged, Stamp};
use crate::fingerprint;
use crate::progress::Progress;

/// First bytes of a gzip file.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The file to map for `path`: itself, or its unpacked copy under `cache`, made `again` or where there is none. Returns also
/// whether it is a copy of an earlier call.
pub fn unpacked(
    path: &Path,
    cache: &Path,
    again: bool,
    progress: &Progress,
) -> Result<(PathBuf, bool)> {
    let mut head = [0u8; 2];
    let filled = files::open(path)?
        .read(&mut head)
        .map_err(|source| Error::io(path, source))?;
    let named = path.extension().is_some_and(|ending| ending == "gz");
    if filled == 2 && head == MAGIC {
        return copy_of(path, cache, again, progress);
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
    Ok((path.to_path_buf(), false))
}

/// The unpacked copy, whose name tells path, size and time of the file that it was made from.
fn copy_of(path: &Path, cache: &Path, again: bool, progress: &Progress) -> Result<(PathBuf, bool)> {
    let source = fs::canonicalize(path).map_err(|error| Error::io(path, error))?;
    let stamp = Stamp::of(path)?;
    let folder = cache.join("unpacked");
    let of_path = start_of_digest(&source.to_string_lossy());
    let of_stamp = start_of_digest(&format!("{} {}", stamp.size, stamp.mtime_ns));
    let base = source.file_stem().unwrap_or_default().to_string_lossy();
    let place = folder.join(format!("{of_path}-{of_stamp}-{base}"));
    let kept = !again && place.exists();
    if !kept {
        unpack(path, &place, progress)?;
        remove_older(&folder, &of_path, &place);
    }
    Ok((place, kept))
}

fn start_of_digest(text: &str) -> String {
    fingerprint::of_text(text)[..16].to_owned()
}

/// Removes copies of the file as it was before it changed.
fn remove_older(folder: &Path, of_path: &str, place: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let unfinished = name.ends_with(".partial"); // Perhaps of another process, which goes on.
        if name.starts_with(of_path) && !unfinished && entry.path() != place {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn unpack(path: &Path, place: &Path, progress: &Progress) -> Result<()> {
    let mut reader = MultiGzDecoder::new(BufReader::with_capacity(1 << 20, files::open(path)?));
    let mut staged = Staged::create(place)?;
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        progress.poll()?;
        match reader.read(&mut buffer) {
            Ok(0) => return staged.commit().map(|_| ()),
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
