//! The readers against slow, obvious twins.

use proptest::prelude::*;

use super::{one, rows};
use crate::records::{Kind, tsv};

/// A csv reader one character at a time, after the table of states of Python's `csv` module.
fn slow_csv(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut fresh) = (false, true);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if fresh => (quoted, fresh) = (true, false),
            '"' if quoted && letters.peek() == Some(&'"') => field.extend(letters.next()),
            '"' if quoted => quoted = false,
            '\t' if !quoted => {
                record.push(std::mem::take(&mut field));
                fresh = true;
            }
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
                fresh = true;
            }
            other => {
                field.push(other);
                fresh = false;
            }
        }
    }
    records
}

fn quoted(field: &str) -> String {
    format!("\"{}\"", field.replace('"', "\"\""))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_passages_survive_tsv_and_jsonl(
        fields in prop::collection::vec(("[a-z\"\t\n é誰,]{0,12}", "[a-z\"\t\n]{0,6}"), 1..20),
    ) {
        let (mut tsv, mut jsonl) = ("id\ttitle\ttext\n".to_owned(), String::new());
        for (row, (text, title)) in fields.iter().enumerate() {
            tsv += &format!("{row}\t{}\t{}\n", quoted(title), quoted(text));
            let line = serde_json::json!({ "id": row, "title": title, "text": text });
            jsonl += &format!("{line}\n");
        }
        for records in [one(Kind::Passages, "a.tsv", tsv), one(Kind::Passages, "a.jsonl", jsonl)] {
            let records = records.unwrap();
            for (row, found) in rows(&records).iter().enumerate() {
                let (text, title) = &fields[row];
                prop_assert_eq!(found, &[row.to_string(), title.clone(), text.clone(), String::new()]);
                prop_assert_eq!(records.find(&row.to_string()).unwrap(), Some(row as u32));
            }
        }
    }

    #[test]
    fn splitting_equals_the_slow_reader(text in "[ab\"\t\n]{0,40}\n") {
        let mut fast = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let Some(end) = tsv::record_end(text.as_bytes(), at) else { return Ok(()) };
            let Ok(fields) = tsv::split(&text.as_bytes()[at..end]) else { return Ok(()) };
            fast.push(fields.iter().map(|field| field.to_string()).collect::<Vec<_>>());
            at = end;
        }
        prop_assert_eq!(fast, slow_csv(&text));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for name in ["a.tsv", "a.jsonl", "a"] {
            if let Ok(records) = one(Kind::Queries, name, &bytes) {
                rows(&records);
            }
        }
    }
}
