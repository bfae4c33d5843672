//! Every flaw that a file can have, and where it is said to be.

use std::path::PathBuf;

use super::{Folder, one};
use crate::error::Error;
use crate::records::Kind;

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
fn what_looks_like_a_header_and_is_none_is_refused() {
    for (kind, text) in [
        (Kind::Passages, "docid\theading\n1\tx\n"),
        (Kind::Passages, "qid\tquestion\n1\tx\n"),
        (Kind::Passages, "text\ttitle\nx\ty\n"),
        (Kind::Queries, "qid\titer\tdocid\n1\t0\t2\n"),
        (Kind::Queries, "number\tquestion\n1\tx\n"),
    ] {
        let (line, message) = flaw(kind, "a.tsv", text);
        assert_eq!(line, Some(1));
        assert!(message.starts_with("the header"), "{message}");
    }
    for text in ["1\tid\n", "q1\tlanguage\n", "p1\ttext\n"] {
        assert_eq!(one(Kind::Queries, "a.tsv", text).unwrap().len(), 1);
    }
    let answers = "who\t['a']\nq1\twho else\n";
    assert_eq!(flaw(Kind::Queries, "a.tsv", answers).0, Some(2));
    let third = flaw(Kind::Queries, "a.tsv", "q\twho\t['a']\n");
    assert!(third.1.contains("expected a language code"), "{}", third.1);
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
