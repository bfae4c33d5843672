//! The store against its own manifest, and what must be refused.

use std::fs;
use std::path::{Path, PathBuf};

use super::{TitleMode, TokenOptions, TokenStore};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::records::{Kind, Records};

/// Words split at spaces, `[CLS]`, and `[UNK]` for the rest.
const TOKENIZER: &str = r#"{
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 1], "cls": ["[CLS]", 0]},
    "decoder": null,
    "model": {"type": "WordLevel", "unk_token": "[UNK]",
        "vocab": {"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "a": 3, "b": 4, "c": 5, "query": 6}}
}"#;

struct Set {
    folder: tempfile::TempDir,
    records: Records,
}

impl Set {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.tsv");
        fs::write(&path, "1\ta b c\tc\n2\tb\t\n3\t\t\n").unwrap();
        fs::write(folder.path().join("tokenizer.json"), TOKENIZER).unwrap();
        let paths = [path.to_str().unwrap().to_owned()];
        let cache = folder.path().join("cache");
        let records = Records::open(&paths, Kind::Passages, &cache, &Progress::default()).unwrap();
        Self { folder, records }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn build(&self, title: TitleMode, max_length: usize) -> Result<TokenStore> {
        let prefix = "query ".to_owned();
        let options = TokenOptions {
            prefix,
            title,
            max_length,
            strip_question_mark: false,
        };
        let tokenizer = self.folder.path().join("tokenizer.json");
        let progress = Progress::default();
        TokenStore::build(
            &self.records,
            &tokenizer,
            &self.store(),
            &options,
            &progress,
        )
    }
}

fn ids(store: &TokenStore, row: u32) -> Vec<u32> {
    store.row(row).unwrap().collect()
}

#[test]
fn titles_prefixes_and_truncation() {
    let set = Set::new();
    let store = set.build(TitleMode::Text, 6).unwrap();
    assert_eq!(ids(&store, 0), [0, 6, 5, 3, 4, 1]);
    assert_eq!(ids(&store, 1), [0, 6, 4, 1]);
    assert!(ids(&store, 2).is_empty()); // a blank text
    assert_eq!(store.lengths(&[2, 0]).unwrap(), [0, 6]);
    let pair = Set::new().build(TitleMode::Pair, 20).unwrap();
    assert_eq!(ids(&pair, 0), [0, 6, 5, 1, 3, 4, 5, 1]);
    let none = Set::new().build(TitleMode::None, 20).unwrap();
    assert_eq!(ids(&none, 0), [0, 6, 3, 4, 5, 1]);
}

#[test]
fn batches_are_padded() {
    let store = Set::new().build(TitleMode::None, 20).unwrap();
    let padded = store.gather(&[2, 1], 9).unwrap();
    assert_eq!(padded.width, 4);
    assert_eq!(padded.ids, [9, 9, 9, 9, 0, 6, 4, 1]);
    assert_eq!(padded.mask, [0, 0, 0, 0, 1, 1, 1, 1]);
    assert_eq!(store.gather(&[], 0).unwrap().width, 0);
    assert!(matches!(store.gather(&[3], 0), Err(Error::Shape { .. })));
}

#[test]
fn the_same_is_opened_and_another_refused() {
    let set = Set::new();
    let first = set
        .build(TitleMode::None, 20)
        .unwrap()
        .fingerprint()
        .to_owned();
    assert_eq!(set.build(TitleMode::None, 20).unwrap().fingerprint(), first);
    assert!(matches!(
        set.build(TitleMode::None, 19),
        Err(Error::Mismatch { .. })
    ));
    assert!(matches!(
        Set::new().build(TitleMode::Pair, 3),
        Err(Error::Shape { .. })
    ));
}

#[test]
fn torn_files_are_refused() {
    let set = Set::new();
    set.build(TitleMode::None, 20).unwrap();
    for name in ["tokens.u32", "offsets.u64", "manifest.json"] {
        let path = set.store().join(name);
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let opened = TokenStore::open(&set.store());
            assert!(
                matches!(opened, Err(Error::Storage { .. })),
                "{name} {length}"
            );
        }
        fs::write(&path, &whole).unwrap();
    }
    let offsets = set.store().join("offsets.u64");
    let mut bytes = fs::read(&offsets).unwrap();
    bytes[8] ^= 1;
    fs::write(&offsets, bytes).unwrap();
    assert!(matches!(
        TokenStore::open(&set.store()),
        Err(Error::Storage { .. })
    ));
}

#[test]
fn any_number_of_threads_writes_the_same() {
    let texts: Vec<String> = (0..10_000)
        .map(|row| "a b query c ".repeat(1 + row % 7))
        .collect();
    let ids: Vec<String> = (0..texts.len()).map(|row| row.to_string()).collect();
    let langs = vec![String::new(); texts.len()];
    let written = [1, 3].map(|threads| {
        let mut set = Set::new();
        set.records = Records::from_texts(&ids, &texts, &langs).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let build = || set.build(TitleMode::None, 20).unwrap();
        assert_eq!(pool.build().unwrap().install(build).len(), texts.len());
        ["tokens.u32", "offsets.u64"].map(|name| fs::read(set.store().join(name)).unwrap())
    });
    assert_eq!(written[0], written[1]);
}

#[test]
fn without_a_manifest_there_is_no_store() {
    let set = Set::new();
    set.build(TitleMode::None, 20).unwrap();
    fs::remove_file(set.store().join("manifest.json")).unwrap();
    assert!(matches!(
        TokenStore::open(&set.store()),
        Err(Error::Input { .. })
    ));
    set.build(TitleMode::None, 5).unwrap();
}

#[test]
fn a_stopped_build_leaves_nothing() {
    let set = Set::new();
    let progress = Progress::default();
    progress.stop();
    let options = TokenOptions {
        prefix: String::new(),
        title: TitleMode::None,
        max_length: 9,
        strip_question_mark: false,
    };
    let tokenizer = set.folder.path().join("tokenizer.json");
    let found = TokenStore::build(&set.records, &tokenizer, &set.store(), &options, &progress);
    assert!(matches!(found, Err(Error::Interrupted)));
    assert_eq!(fs::read_dir(set.store()).unwrap().count(), 0);
    let other = TokenStore::build(
        &set.records,
        Path::new("no"),
        &set.store(),
        &options,
        &progress,
    );
    assert!(matches!(other, Err(Error::Input { .. })));
}
