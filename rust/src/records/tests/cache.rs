//! Unpacked copies and the kept index: reused, rebuilt, refused.

use std::io::Write;
use std::path::Path;

use super::{Folder, rows};
use crate::error::Error;
use crate::records::Kind;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(content).unwrap();
    out.finish().unwrap()
}

#[test]
fn gzip_is_unpacked_once_and_names_no_other_content() {
    let folder = Folder::new();
    let text = "1\ta\tT\n2\tb\tU\n";
    let plain = folder.file("a.tsv", text);
    let two_members = [gzip(b"1\ta\tT\n"), gzip(b"2\tb\tU\n")].concat();
    let packed = folder.file("b.tsv.gz", &two_members);
    let left = folder.open(Kind::Passages, &[plain]).unwrap();
    let right = folder
        .open(Kind::Passages, std::slice::from_ref(&packed))
        .unwrap();
    assert_eq!(rows(&left), rows(&right));
    assert_eq!(left.fingerprint(), right.fingerprint());
    assert_eq!(right.locate(1).unwrap(), (&*packed, 2));
    let kept = || {
        let files = std::fs::read_dir(folder.path("cache/unpacked")).unwrap();
        let changed = |file: std::fs::DirEntry| (file.path(), file.metadata().unwrap().modified());
        let files = files.map(|file| changed(file.unwrap()));
        files
            .map(|(path, time)| (path, time.unwrap()))
            .collect::<Vec<_>>()
    };
    let before = kept();
    folder
        .open(Kind::Passages, std::slice::from_ref(&packed))
        .unwrap();
    assert_eq!(kept(), before);
    std::fs::write(&packed, gzip(b"9\tz\tT\n")).unwrap();
    let changed = folder.open(Kind::Passages, &[packed]).unwrap();
    assert_eq!(rows(&changed)[0][0], "9");
    assert_eq!(kept().len(), 1);
    assert_ne!(kept(), before);
}

#[test]
fn broken_gzip_names_the_file() {
    let folder = Folder::new();
    let whole = gzip("1\tabc\tT\n".repeat(50).as_bytes());
    for length in [3, 10, whole.len() / 2, whole.len() - 1] {
        let path = folder.file("a.tsv.gz", &whole[..length]);
        match folder.open(Kind::Passages, std::slice::from_ref(&path)) {
            Err(Error::Format {
                path: named,
                message,
                ..
            }) => {
                assert_eq!(named, Path::new(&path));
                assert!(message.contains("truncated"), "{message}");
            }
            other => panic!("{length}: {other:?}"),
        }
    }
    let fake = folder.file("b.tsv.gz", "1\ta\tT\n");
    let found = folder.open(Kind::Passages, &[fake]);
    assert!(matches!(found, Err(Error::Format { .. })), "{found:?}");
}

#[test]
fn the_index_is_reused_and_rebuilt_when_in_doubt() {
    let folder = Folder::new();
    let path = folder.file("a.tsv", "1\ta\tT\n2\tb\tU\n");
    let paths = [path.clone()];
    let first = folder.open(Kind::Passages, &paths).unwrap();
    let kept = folder.path("cache/passages.index");
    let whole = std::fs::read(&kept).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&kept, &whole[..length]).unwrap();
        assert_eq!(
            rows(&folder.open(Kind::Passages, &paths).unwrap()),
            rows(&first)
        );
    }
    for at in 0..whole.len() {
        let mut broken = whole.clone();
        broken[at] ^= 4;
        std::fs::write(&kept, &broken).unwrap();
        let again = folder.open(Kind::Passages, &paths).unwrap();
        assert_eq!(rows(&again), rows(&first));
    }
    let reused = folder.open(Kind::Passages, &paths).unwrap();
    assert_eq!(reused.fingerprint(), first.fingerprint());
    assert_eq!(reused.find("2").unwrap(), Some(1));
    std::fs::write(&path, "3\tlonger text\tT\n").unwrap();
    let changed = folder.open(Kind::Passages, &paths).unwrap();
    assert_eq!(changed.len(), 1);
    assert_ne!(changed.fingerprint(), first.fingerprint());
}
