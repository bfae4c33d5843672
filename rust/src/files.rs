//! Files on disk: opening them, telling whether they changed, and writing them beside their place before renaming.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

mod map;

pub use map::{Bytes, expect, map, map_stamped, release};

/// A partial file that nobody has written to for this long belongs to a process that was killed.
const STALE: Duration = Duration::from_secs(3600);

/// Opens a file for reading, with the message a user needs when it is missing, a folder or a pipe.
pub fn open(path: &Path) -> Result<File> {
    if path.is_dir() {
        let message = format!("{} is a folder, expected a file", path.display());
        return Err(Error::input(message, "name the files inside it"));
    }
    if path.exists() && !path.is_file() {
        let message = format!(
            "{} is no regular file but a pipe or a device, which can be read only once",
            path.display()
        );
        return Err(Error::input(message, "write it to a file first"));
    }
    match File::open(path) {
        Ok(file) => Ok(file),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Err(Error::input(
            format!("{}: no such file", path.display()),
            "check the path",
        )),
        Err(source) => Err(Error::io(path, source)),
    }
}

/// Size and time of the last change of a file: equal stamps mean that nobody touched it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Size in bytes.
    pub size: u64,
    /// Last modification, nanoseconds since 1970.
    pub mtime_ns: u64,
}

impl Stamp {
    /// Reads the stamp of the file at `path`.
    pub fn of(path: &Path) -> Result<Self> {
        Self::of_file(&open(path)?, path)
    }

    pub(crate) fn of_file(file: &File, path: &Path) -> Result<Self> {
        let meta = file.metadata().map_err(|source| Error::io(path, source))?;
        let time = meta.modified().map_err(|source| Error::io(path, source))?;
        let age = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            size: meta.len(),
            mtime_ns: age.as_nanos() as u64,
        })
    }
}

/// A file being written beside its place; [`Staged::commit`] puts it there, dropping it removes it.
#[derive(Debug)]
pub struct Staged {
    place: PathBuf,
    beside: PathBuf,
    writer: Option<BufWriter<File>>,
    hasher: blake3::Hasher,
    written: u64,
}

impl Staged {
    /// Starts writing the file that will stand at `place`; makes the folder where needed.
    pub fn create(place: &Path) -> Result<Self> {
        let folder = place.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|source| Error::io(folder, source))?;
        let name = place
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        sweep(folder, &name);
        let (beside, file) = create_beside(folder, &name)?;
        let writer = Some(BufWriter::with_capacity(1 << 20, file));
        Ok(Self {
            place: place.to_path_buf(),
            beside,
            writer,
            hasher: blake3::Hasher::new(),
            written: 0,
        })
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        match &mut self.writer {
            Some(writer) => writer
                .write_all(bytes)
                .map_err(|source| Error::io(&self.place, source)),
            None => Err(Error::Internal {
                message: "write after commit".into(),
            }),
        }
    }

    /// Flushes to the device and renames into place. Returns size and checksum of what was written.
    pub fn commit(mut self) -> Result<Written> {
        let failed = |source| Error::io(&self.place, source);
        if let Some(writer) = self.writer.take() {
            let file = writer
                .into_inner()
                .map_err(|error| failed(error.into_error()))?;
            file.sync_all().map_err(failed)?;
        }
        fs::rename(&self.beside, &self.place).map_err(failed)?;
        sync_folder(&self.place);
        Ok(Written {
            size: self.written,
            blake3: self.hasher.finalize().to_hex().to_string(),
        })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a commit the partial name no longer exists and this does nothing.
        let _ = fs::remove_file(&self.beside);
    }
}

/// What a manifest keeps about a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Size in bytes.
    pub size: u64,
    /// BLAKE3-256 of the content, in hexadecimal.
    pub blake3: String,
}

/// A new file that nobody else writes: not another thread, nor a process of the same number on another machine.
fn create_beside(folder: &Path, name: &str) -> Result<(PathBuf, File)> {
    for number in 0u32.. {
        let beside = folder.join(format!("{name}.{}-{number}.partial", std::process::id()));
        match File::options().write(true).create_new(true).open(&beside) {
            Ok(file) => return Ok((beside, file)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(Error::io(&beside, source)),
        }
    }
    Err(Error::Internal {
        message: format!("no name is free beside {name}"),
    })
}

/// Makes a rename durable where the system allows folders to be synchronised; elsewhere it is a no-op.
fn sync_folder(place: &Path) {
    let named = place
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Ok(folder) = File::open(named.unwrap_or(Path::new("."))) {
        let _ = folder.sync_all();
    }
}

/// Removes what a killed process left beside `name`.
fn sweep(folder: &Path, name: &str) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let ours = file.starts_with(&format!("{name}.")) && file.ends_with(".partial");
        if ours && is_stale(&entry) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_stale(entry: &fs::DirEntry) -> bool {
    let changed = entry.metadata().and_then(|meta| meta.modified());
    changed.is_ok_and(|time| {
        SystemTime::now()
            .duration_since(time)
            .is_ok_and(|age| age > STALE)
    })
}

#[cfg(test)]
mod tests;
