//! What fuzzing found, and what it begins with: `fuzz/corpus/records`, each file opened as the fuzzer opens it.

use crate::error::Result;
use crate::progress::Progress;
use crate::records::{Kind, Records};

include!("../../../../fuzz/open_any.rs");

#[test]
fn the_corpus_of_the_fuzzer_is_read_or_refused() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/records");
    let (mut read, mut refused) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        match open_any(&std::fs::read(entry.unwrap().path()).unwrap()) {
            Some(_) => read += 1,
            None => refused += 1,
        }
    }
    assert!(read > 5 && refused > 5, "{read} read, {refused} refused");
}
