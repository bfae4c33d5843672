//! Segments read in parts through buffers of bounded size, so that not even mapped pages add up.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files;
use crate::scores::{HEADER, RECORD, header};

/// A segment as long as it was when it was opened; what is appended later is not seen.
#[derive(Debug)]
pub struct Segment {
    /// The file.
    pub path: PathBuf,
    /// Whole records, intact or not.
    pub records: u64,
    /// Whether a part of a record, or of the header, ends the file.
    pub tail: bool,
}

impl Segment {
    /// Reads the header. A file cut inside its header is torn and holds nothing. `None` where the first bytes are not those of a
    /// segment of the store: they are damaged, or the file is another's.
    pub fn open(path: &Path, store: &str) -> Result<Option<Self>> {
        let failed = |source| Error::io(path, source);
        let file = files::open(path)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut first = Vec::with_capacity(HEADER);
        file.take((HEADER as u64).min(length))
            .read_to_end(&mut first)
            .map_err(failed)?;
        if !header(store).starts_with(&first) {
            return Ok(None);
        }
        let body = length.saturating_sub(HEADER as u64);
        Ok(Some(Self {
            path: path.to_path_buf(),
            records: body / RECORD as u64,
            tail: length < HEADER as u64 || body % RECORD as u64 != 0,
        }))
    }

    /// The bytes of `count` records from record `from` on, in `buffer`.
    pub fn read<'a>(
        &self,
        from: u64,
        count: usize,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [[u8; RECORD]]> {
        let failed = |source| Error::io(&self.path, source);
        let mut file = File::open(&self.path).map_err(failed)?;
        buffer.resize(count * RECORD, 0);
        file.seek(SeekFrom::Start(HEADER as u64 + from * RECORD as u64))
            .and_then(|_| file.read_exact(buffer))
            .map_err(failed)?;
        Ok(buffer.as_chunks::<RECORD>().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::ScoreLog;

    #[test]
    fn a_torn_tail_of_any_length_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.scores");
        let mut log = ScoreLog::create(&path, "store").unwrap();
        log.append(&[[1, 2], [3, 4]], &[[5, 6], [7, 8]], &[-1.5, -2.5])
            .unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let segment = Segment::open(&path, "store").unwrap().unwrap();
            let kept = length.saturating_sub(HEADER);
            assert_eq!(segment.records, (kept / RECORD) as u64);
            assert_eq!(segment.tail, length < HEADER || kept % RECORD != 0);
        }
    }

    #[test]
    fn other_files_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.scores");
        std::fs::write(&path, "something else").unwrap();
        assert!(Segment::open(&path, "store").unwrap().is_none());
        let other = folder.path().join("b.scores");
        ScoreLog::create(&other, "another").unwrap();
        assert!(Segment::open(&other, "store").unwrap().is_none());
        assert!(Segment::open(&other, "another").unwrap().is_some());
    }
}
