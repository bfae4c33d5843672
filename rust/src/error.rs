//! One error type for the whole core: what happened, where, what was expected, and apart from it what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Result of every fallible function of the core.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong; the Python boundary maps each variant to one class of `umr.errors`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused to read or write a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file does not have the form that it should have.
    #[error("{}{}: {message}", path.display(), at_line(*line))]
    Format {
        /// The file, as the user named it.
        path: PathBuf,
        /// Line where the record starts, from 1; `None` where a line means nothing.
        line: Option<u64>,
        /// What is wrong and what was expected.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// The input cannot be used: empty, missing, contradictory.
    #[error("{message}")]
    Input {
        /// What is wrong, with the value.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// An argument has the wrong shape, type or range: the call is wrong, not the data.
    #[error("{message}")]
    Shape {
        /// What came and what was expected.
        message: String,
    },
    /// A file written earlier is torn, truncated or damaged.
    #[error("{}: {message}", path.display())]
    Storage {
        /// The file concerned.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// A file on disk was made from other inputs than the ones asked for.
    #[error("{}: {message}", path.display())]
    Mismatch {
        /// The file or folder concerned.
        path: PathBuf,
        /// The two fingerprints or options that differ.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// A value that must be a finite number is not.
    #[error("{message}")]
    NotFinite {
        /// Which value, and in which row.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// The call was stopped before its end.
    #[error("interrupted")]
    Interrupted,
    /// A defect of this library: a worker panicked.
    #[error("internal error: {message}")]
    Internal {
        /// The panic's own message.
        message: String,
    },
}

fn at_line(line: Option<u64>) -> String {
    line.map(|number| format!(":{number}")).unwrap_or_default()
}

impl Error {
    /// An I/O error together with the file that it concerns.
    pub fn io(path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io {
            path: path.as_ref().to_path_buf(),
            source,
        }
    }

    /// A file of the wrong form; `line` counts from 1.
    pub fn format(
        path: impl AsRef<Path>,
        line: impl Into<Option<u64>>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let path = path.as_ref().to_path_buf();
        Self::Format {
            path,
            line: line.into(),
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// Input that cannot be used.
    pub fn input(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Input {
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A wrong argument.
    pub fn shape(message: impl Into<String>) -> Self {
        Self::Shape {
            message: message.into(),
        }
    }

    /// A damaged file.
    pub fn storage(
        path: impl AsRef<Path>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let path = path.as_ref().to_path_buf();
        Self::Storage {
            path,
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A file made from something else.
    pub fn mismatch(
        path: impl AsRef<Path>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let path = path.as_ref().to_path_buf();
        Self::Mismatch {
            path,
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A number that is not finite.
    pub fn not_finite(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::NotFinite {
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// What to do about the error; empty where nothing sensible can be said.
    pub fn hint(&self) -> &str {
        match self {
            Self::Format { hint, .. }
            | Self::Input { hint, .. }
            | Self::Storage { hint, .. }
            | Self::Mismatch { hint, .. }
            | Self::NotFinite { hint, .. } => hint,
            Self::Io { source, .. } => io_hint(source.kind()),
            Self::Internal { .. } => "this is a defect of umr: please report it with the message",
            Self::Shape { .. } | Self::Interrupted => "",
        }
    }
}

fn io_hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free space on the device and run again; what is finished is kept"
        }
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "check the permissions of the file and of its folder",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_error_names_path_and_line() {
        let error = Error::format("a.tsv", 3, "2 columns, expected 3", "check the tabs");
        assert_eq!(error.to_string(), "a.tsv:3: 2 columns, expected 3");
        assert_eq!(error.hint(), "check the tabs");
    }

    #[test]
    fn a_full_disk_has_a_hint() {
        let error = Error::io("x", io::Error::from(io::ErrorKind::StorageFull));
        assert!(error.hint().contains("free space"));
    }
}
