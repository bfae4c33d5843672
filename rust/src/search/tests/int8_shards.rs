//! Int8 shards are kept, made again and refused.

use super::*;
use crate::search::int8_shard::Int8Shard;
use std::path::PathBuf;

struct Made {
    _folder: tempfile::TempDir,
    specs: Vec<ShardSpec>,
    paths: [PathBuf; 2],
}

impl Made {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let specs = write(folder.path(), &hard(3, 100, 7, 1.0, 0), 7, Dtype::F32);
        let paths = ["a.int8", "b.int8"].map(|name| folder.path().join(name));
        let made = Self {
            _folder: folder,
            specs,
            paths,
        };
        made.write(&made.open()).unwrap();
        made
    }

    fn open(&self) -> Shards {
        Shards::open(&self.specs, Dtype::F32, 7).unwrap()
    }

    fn write(&self, shards: &Shards) -> Result<()> {
        write_int8_shards(shards, &self.paths, 0, &Progress::default())
    }
}

#[test]
fn they_are_written_over_and_torn_ones_are_not_used() {
    let made = Made::new();
    let whole = std::fs::read(&made.paths[0]).unwrap();
    let mut spoiled = whole.clone();
    spoiled[40] ^= 1; // of the mean
    for bytes in [&whole[..whole.len() - 4], &spoiled[..], b"", b"umr-int8"] {
        std::fs::write(&made.paths[0], bytes).unwrap();
        let shards = made.open();
        assert!(Int8Shard::open(&made.paths[0], &shards, 0).is_none());
        made.write(&shards).unwrap();
        assert_eq!(std::fs::read(&made.paths[0]).unwrap(), whole);
        assert!(Int8Shard::open(&made.paths[0], &shards, 0).is_some());
    }
}

#[test]
fn a_shard_that_changes_meanwhile_gets_none() {
    let made = Made::new();
    let shards = made.open();
    std::fs::remove_file(&made.paths[0]).unwrap();
    let size = std::fs::metadata(&made.specs[0].path).unwrap().len();
    std::thread::sleep(std::time::Duration::from_millis(20));
    std::fs::write(&made.specs[0].path, vec![0; size as usize]).unwrap();
    assert!(matches!(made.write(&shards), Err(Error::Storage { .. })));
    assert!(!made.paths[0].exists());
}

#[test]
fn there_is_a_path_for_each_shard() {
    let made = Made::new();
    let progress = Progress::default();
    let outcome = write_int8_shards(&made.open(), &made.paths[..1], 0, &progress);
    assert!(matches!(outcome, Err(Error::Shape { .. })));
}
