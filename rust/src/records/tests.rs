//! What is read from each format, and every flaw that a file can have.

mod cache;
mod twins;

use std::path::PathBuf;

use super::{Kind, Records};
use crate::error::{Error, Result};
use crate::progress::Progress;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self, kind: Kind, paths: &[String]) -> Result<Records> {
        Records::open(paths, kind, &self.path("cache"), &Progress::default())
    }
}

fn one(kind: Kind, name: &str, content: impl AsRef<[u8]>) -> Result<Records> {
    let folder = Folder::new();
    let path = folder.file(name, content);
    folder.open(kind, &[path])
}

fn rows(records: &Records) -> Vec<[String; 4]> {
    let fields = (0..records.len() as u32).map(|row| records.get(row).unwrap());
    fields
        .map(|f| [f.id, f.title, f.text, f.lang].map(|field| field.into_owned()))
        .collect()
}

fn flaw(kind: Kind, name: &str, content: impl AsRef<[u8]>) -> (Option<u64>, String) {
    match one(kind, name, content) {
        Err(Error::Format {
            line,
            message,
            hint,
            ..
        }) => {
            assert!(!hint.is_empty());
            (line, message)
        }
        other => panic!("expected a format error, got {other:?}"),
    }
}

#[test]
fn dpr_passages_with_header_quotes_and_newlines() {
    let text = "\u{feff}id\ttext\ttitle\r\n1\t\"a \"\"b\"\"\n\tc\"\tT\r\n\r\n2\tplain \"q\"\tU";
    let records = one(Kind::Passages, "a.tsv", text).unwrap();
    assert_eq!(rows(&records)[0], ["1", "T", "a \"b\"\n\tc", ""]);
    assert_eq!(rows(&records)[1], ["2", "U", "plain \"q\"", ""]);
    assert_eq!(records.locate(1).unwrap().1, 5);
}

#[test]
fn columns_follow_the_header_or_the_default_order() {
    let named = one(
        Kind::Passages,
        "a.tsv",
        "id\ttitle\textra\ttext\n1\tT\tx\tbody\n",
    )
    .unwrap();
    assert_eq!(rows(&named)[0], ["1", "T", "body", ""]);
    let plain = one(Kind::Passages, "a.tsv", "1\tbody\tT\n").unwrap();
    assert_eq!(rows(&plain)[0], ["1", "T", "body", ""]);
    let queries = one(Kind::Queries, "a", "qid\tlang\tquery\nq\tfi\tkuka?\n").unwrap();
    assert_eq!(rows(&queries)[0], ["q", "", "kuka?", "fi"]);
    let topics = one(
        Kind::Queries,
        "topics.tsv",
        "7\twho \"is\" it\n8\thei\t fi\n",
    )
    .unwrap();
    assert_eq!(rows(&topics)[0], ["7", "", "who \"is\" it", ""]);
    assert_eq!(rows(&topics)[1], ["8", "", "hei", "fi"]);
    assert_eq!(topics.repairs().lang_trimmed, 1);
}

#[test]
fn json_lines_by_alias() {
    let lines = "{\"docid\": -12345678901234567890123, \"contents\": \"c\\u00e9\", \"title\": null}\n\n\
                 {\"text\": \"\", \"_id\": \"b\", \"docid\": \"other\", \"language\": \"fi\"}";
    let records = one(Kind::Passages, "a.jsonl", lines).unwrap();
    assert_eq!(
        rows(&records)[0],
        ["-12345678901234567890123", "", "cé", ""]
    );
    assert_eq!(rows(&records)[1], ["b", "", "", "fi"]);
    assert_eq!(records.repairs().empty_passages, 1);
    let line = "{\"id\":\"q\",\"question\":\"who\",\"lang\":\" ar\",\"answers\":[\"x\"]}\n";
    let queries = one(Kind::Queries, "sniffed", line).unwrap();
    assert_eq!(rows(&queries)[0], ["q", "", "who", "ar"]);
    assert_eq!(queries.repairs().lang_trimmed, 1);
}

#[test]
fn flaws_name_their_line() {
    let unclosed = flaw(Kind::Passages, "a.tsv", "1\ta\tb\n2\t\"open\tc\n3\td\te\n");
    assert_eq!(unclosed.0, Some(2));
    let columns = flaw(Kind::Passages, "a.tsv", "1\ta\tb\n2\tonly\n");
    assert_eq!(columns, (Some(2), "2 columns, expected 3".to_owned()));
    let swallowed = flaw(Kind::Passages, "a.tsv", "1\t\"a\n2\tb\tc\n3\t\"d\tT\n");
    assert_eq!(swallowed.0, Some(1));
    let utf8 = flaw(Kind::Passages, "a.tsv", b"1\ta\tb\n2\t\"x\n\xff\"\tc\n");
    assert_eq!(
        utf8,
        (
            Some(3),
            "byte 11 of the file (0xff) is not valid UTF-8".to_owned()
        )
    );
    let json = flaw(
        Kind::Queries,
        "a.jsonl",
        "{\"id\":\"1\",\"query\":\"a\"}\n{\"id\":",
    );
    assert_eq!(json.0, Some(2));
    let key = flaw(Kind::Queries, "a.jsonl", "{\"id\":\"1\",\"frage\":\"a\"}\n");
    assert!(
        key.1.contains("question, query, text") && key.1.contains("frage"),
        "{}",
        key.1
    );
    let id = flaw(Kind::Queries, "a.jsonl", "{\"id\":\"\",\"query\":\"a\"}\n");
    assert_eq!(id, (Some(1), "the id is empty".to_owned()));
    let blank = flaw(Kind::Queries, "a.tsv", "1\ta\n2\t  \n");
    assert!(blank.0 == Some(2) && blank.1.contains("\"2\""));
    let list = flaw(
        Kind::Queries,
        "a.jsonl",
        "{\"id\":\"1\",\"query\":[\"a\"]}\n",
    );
    assert!(list.1.contains("expected a string"));
    assert_eq!(flaw(Kind::Queries, "a.json", "[{\"id\":1}]").0, Some(1));
    assert_eq!(
        flaw(Kind::Passages, "a.tsv", "id\tbody text\n1\ta\n").0,
        Some(1)
    );
}

#[test]
fn duplicates_name_both_places() {
    let folder = Folder::new();
    let a = folder.file("a.tsv", "1\tx\tT\n2\ty\tT\n");
    let b = folder.file(
        "b.jsonl",
        "{\"id\":\"3\",\"text\":\"z\"}\n{\"id\":2,\"text\":\"z\"}\n",
    );
    match folder.open(Kind::Passages, &[a.clone(), b.clone()]) {
        Err(Error::Format {
            path,
            line,
            message,
            ..
        }) => {
            assert_eq!((path, line), (PathBuf::from(b), Some(2)));
            assert!(message.contains(&format!("{a}:2")), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn empty_and_missing_files_are_input_errors() {
    let folder = Folder::new();
    for content in ["", "\n \r\n", "\u{feff}", "id\ttext\ttitle\n"] {
        let path = folder.file("a.tsv", content);
        let found = folder.open(Kind::Passages, &[path]);
        assert!(
            matches!(found, Err(Error::Input { .. })),
            "{content:?} {found:?}"
        );
    }
    let missing = folder.open(Kind::Passages, &["no/such".into()]);
    assert!(matches!(missing, Err(Error::Input { .. })));
    let inside = folder.path("").to_str().unwrap().to_owned();
    match folder.open(Kind::Passages, &[inside]) {
        Err(Error::Input { message, .. }) => assert!(message.contains("folder")),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        folder.open(Kind::Queries, &[]),
        Err(Error::Input { .. })
    ));
}

#[test]
fn typed_questions_live_in_memory() {
    let list = |items: &[&str]| {
        items
            .iter()
            .map(|item| (*item).to_owned())
            .collect::<Vec<_>>()
    };
    let ids = list(&["a", "b"]);
    let records =
        Records::from_texts(&ids, &list(&["who\n?", "mitä"]), &list(&["en", ""])).unwrap();
    assert_eq!(rows(&records)[0], ["a", "", "who\n?", "en"]);
    assert_eq!(records.find("b").unwrap(), Some(1));
    assert_eq!(records.find("c").unwrap(), None);
    assert!(matches!(records.get(2), Err(Error::Shape { .. })));
    let blank = Records::from_texts(&ids, &list(&["x", " "]), &list(&["", ""]));
    assert!(matches!(blank, Err(Error::Input { .. })));
    assert!(matches!(
        Records::from_texts(&ids, &[], &[]),
        Err(Error::Shape { .. })
    ));
}
