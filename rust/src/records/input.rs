//! One input file as it is mapped: its name, its bytes, its layout, and errors placed at a line of it.

use std::path::{Path, PathBuf};

use memchr::memchr_iter;
use serde::{Deserialize, Serialize};

use super::fields::{Flaw, Kind};
use super::layout::Layout;
use super::unpack;
use crate::checked::Checked;
use crate::error::{Error, Result};
use crate::files::{self, Bytes, Stamp};
use crate::progress::Progress;

/// What the index keeps about a file: when all of it is unchanged, the offsets still hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// The path as the user gave it.
    pub name: String,
    /// The file that is mapped: the same, or its unpacked copy.
    pub content: PathBuf,
    /// Stamp of the mapped file.
    pub stamp: Stamp,
}

impl InputFile {
    /// Finds the file behind `name`, unpacked where needed (`again`: also where there is a copy). Returns also whether it is a
    /// copy of an earlier call.
    pub fn locate(
        name: &str,
        cache: &Path,
        again: bool,
        progress: &Progress,
    ) -> Result<(Self, bool)> {
        let (content, kept) = unpack::unpacked(Path::new(name), cache, again, progress)?;
        let stamp = Stamp::of(&content)?;
        let content = std::path::absolute(&content).map_err(|error| Error::io(name, error))?;
        let name = name.to_owned();
        let file = Self {
            name,
            content,
            stamp,
        };
        Ok((file, kept))
    }
}

/// A mapped file and the way to read it.
#[derive(Debug)]
pub struct MappedFile {
    /// The path as the user gave it.
    pub name: String,
    /// The content.
    pub content: Checked,
    /// The format.
    pub layout: Layout,
}

impl MappedFile {
    /// Decides the layout of a file's `bytes`; returns also where its first record starts.
    pub fn detect(name: &str, path: PathBuf, bytes: Bytes, kind: Kind) -> Result<(Self, usize)> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(empty(name, kind));
        }
        match Layout::detect(name, kind, &bytes) {
            Ok((layout, from)) => Ok((
                Self {
                    name: name.to_owned(),
                    content: Checked::new(path, bytes),
                    layout,
                },
                from,
            )),
            Err((offset, flaw)) => Err(place(name, &bytes, offset, flaw)),
        }
    }

    /// Maps the file behind `input`, whose layout and checksums are known.
    pub fn reopen(input: &InputFile, layout: Layout, sums: Vec<u32>) -> Result<Self> {
        let bytes = files::map(&input.content)?;
        Ok(Self {
            name: input.name.clone(),
            content: Checked::known(input.content.clone(), bytes, sums)?,
            layout,
        })
    }

    /// The error for a flaw in the record at `offset`.
    pub fn error(&self, offset: usize, flaw: Flaw) -> Error {
        place(&self.name, self.content.all(), offset, flaw)
    }

    /// The line, from 1, on which the byte at `offset` stands.
    pub fn line(&self, offset: usize) -> u64 {
        line_of(self.content.all(), offset)
    }
}

/// The error for a file without records.
pub fn empty(name: &str, kind: Kind) -> Error {
    Error::input(
        format!("{name}: no {kind} in it"),
        "check that the file was written to its end",
    )
}

/// The line, from 1, on which the byte at `offset` stands.
fn line_of(bytes: &[u8], offset: usize) -> u64 {
    memchr_iter(b'\n', &bytes[..offset.min(bytes.len())]).count() as u64 + 1
}

/// The error for a flaw in the record at an offset.
fn place(name: &str, bytes: &[u8], record: usize, flaw: Flaw) -> Error {
    match flaw {
        Flaw::Utf8 { offset } => {
            let at = record + offset;
            let value = bytes.get(at).copied().unwrap_or_default();
            let message = format!("byte {at} of the file (0x{value:02x}) is not valid UTF-8");
            Error::format(
                name,
                line_of(bytes, at),
                message,
                "convert the file to UTF-8",
            )
        }
        Flaw::Other { message, hint } => Error::format(name, line_of(bytes, record), message, hint),
    }
}
