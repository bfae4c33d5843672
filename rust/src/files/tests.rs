//! Files appear whole or not at all.

use super::*;

#[test]
fn a_staged_file_appears_only_when_committed() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("sub/a.bin");
    let mut staged = Staged::create(&place).unwrap();
    staged.write(b"abc").unwrap();
    assert!(!place.exists());
    let written = staged.commit().unwrap();
    assert_eq!(written.size, 3);
    assert_eq!(written.blake3, blake3::hash(b"abc").to_hex().to_string());
    assert_eq!(&*map(&place).unwrap(), b"abc");
}

#[test]
fn a_dropped_file_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut staged = Staged::create(&folder.path().join("a.bin")).unwrap();
    staged.write(b"abc").unwrap();
    drop(staged);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn missing_files_and_folders_are_input_errors() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(map(folder.path()), Err(Error::Input { .. })));
    assert!(matches!(
        map(&folder.path().join("no")),
        Err(Error::Input { .. })
    ));
}

#[test]
fn a_mapped_file_that_shrank_is_refused_before_it_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bin");
    fs::write(&path, vec![1u8; 9000]).unwrap();
    let bytes = map(&path).unwrap();
    assert!(bytes.require_whole().is_ok());
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(10)
        .unwrap();
    match bytes.require_whole() {
        Err(Error::Input { message, .. }) => assert!(message.contains("10 bytes"), "{message}"),
        other => panic!("{other:?}"),
    }
    fs::remove_file(&path).unwrap();
    assert!(
        bytes.require_whole().is_ok(),
        "a file that is gone stays mapped"
    );
}

#[cfg(unix)]
#[test]
fn a_device_is_no_file() {
    let found = open(Path::new("/dev/null"));
    assert!(matches!(found, Err(Error::Input { .. })), "{found:?}");
}
