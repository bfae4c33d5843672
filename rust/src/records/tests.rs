//! What is read from each format.

mod cache;
mod corpus;
mod flaws;
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
    assert_eq!(topics.counts().lang_trimmed, 1);
}

#[test]
fn a_query_with_a_list_of_answers_has_its_row_as_id() {
    let folder = Folder::new();
    let first = folder.file("a.tsv", "x\tone\n");
    let lines: String = (0..5000)
        .map(|row| format!("who {row}\t['a', 'b']\n"))
        .collect();
    let second = folder.file("b.qa.csv", lines);
    for _ in 0..2 {
        let paths = [first.clone(), second.clone()];
        let records = folder.open(Kind::Queries, &paths).unwrap();
        assert_eq!(rows(&records)[4000], ["4000", "", "who 3999", ""]);
        assert_eq!(records.find("5000").unwrap(), Some(5000));
    }
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
    assert_eq!(records.counts().empty_passages, 1);
    let line = "{\"id\":\"q\",\"question\":\"who\",\"lang\":\" ar\",\"answers\":[\"x\"]}\n";
    let queries = one(Kind::Queries, "sniffed", line).unwrap();
    assert_eq!(rows(&queries)[0], ["q", "", "who", "ar"]);
    assert_eq!(queries.counts().lang_trimmed, 1);
}

#[test]
fn the_source_of_a_query_by_format() {
    let sources = |kind, name, content: &str| {
        let records = one(kind, name, content).unwrap();
        let rows = 0..records.len() as u32;
        let found = rows.map(|row| records.source(row).unwrap().into_owned());
        (found.collect::<Vec<_>>(), records.counts().sources)
    };
    let lines = r#"{"id":"a","query":"x","source":"p\u0031"}
{"id":"b","query":"x","source":-7}
{"id":"c","query":"x","source":null}
{"id":"d","query":"x","source":["p"]}
{"id":"e","query":"x"}"#;
    let (found, count) = sources(Kind::Queries, "a.jsonl", lines);
    assert_eq!(
        (found, count),
        (
            vec!["p1".into(), "-7".into(), "".into(), "".into(), "".into()],
            2
        )
    );
    let named = "qid\tsource\tquery\na\tp 1\tx\nb\t\tx\n";
    assert_eq!(
        sources(Kind::Queries, "a.tsv", named),
        (vec!["p 1".into(), "".into()], 1)
    );
    let plain = "a\tx\tfi\n";
    assert_eq!(sources(Kind::Queries, "a.tsv", plain), (vec!["".into()], 0));
    let passage = r#"{"id":"a","text":"x","source":"p"}"#;
    assert_eq!(
        sources(Kind::Passages, "a.jsonl", passage),
        (vec!["".into()], 0)
    );
    let query = one(Kind::Queries, "a.tsv", plain).unwrap();
    assert!(matches!(query.source(1), Err(Error::Shape { .. })));
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
