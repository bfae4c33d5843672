//! Opening records: from files through the cached table, or from texts in memory.

use std::path::Path;

use super::Records;
use super::fields::Kind;
use super::index::{self, Header, READER_VERSION, content_fingerprint};
use super::input::{InputFile, MappedFile};
use super::scan::Scan;
use super::table::{self, Table};
use crate::error::{Error, Result};
use crate::files::{self, Bytes};
use crate::progress::Progress;

impl Records {
    /// Opens files of passages or queries. `cache` keeps unpacked copies and the offset table; counts rows.
    pub fn open(paths: &[String], kind: Kind, cache: &Path, progress: &Progress) -> Result<Self> {
        if paths.is_empty() {
            return Err(Error::input(
                format!("no files of {kind}"),
                "name at least one file",
            ));
        }
        let locate = |again| {
            let one = move |name: &String| InputFile::locate(name, cache, again, progress);
            paths.iter().map(one).collect::<Result<(Vec<_>, Vec<_>)>>()
        };
        let kept = cache.join(format!("{kind}.index"));
        let (mut inputs, copies) = locate(false)?;
        if let Some((header, table)) = index::load(&kept, kind, &inputs, progress)? {
            progress.add(table.rows());
            return reopen(header, table);
        }
        if copies.contains(&true) {
            inputs = locate(true)?.0; // the index alone tells whether a copy is what was unpacked
        }
        let detect = |input: &InputFile| {
            let bytes = files::map(&input.content)?;
            MappedFile::detect(&input.name, input.content.clone(), bytes, kind)
        };
        let mapped = inputs.iter().map(detect).collect::<Result<Vec<_>>>()?;
        let records = build(kind, mapped, progress)?;
        index::save(&kept, &records.header(inputs), records.table.body())?;
        Ok(records)
    }

    /// Queries in memory, for questions that were typed. The three lists have equal lengths.
    pub fn from_texts(ids: &[String], texts: &[String], langs: &[String]) -> Result<Self> {
        if texts.len() != ids.len() || langs.len() != ids.len() {
            let (a, b, c) = (ids.len(), texts.len(), langs.len());
            return Err(Error::shape(format!(
                "{a} ids, {b} texts and {c} languages"
            )));
        }
        let mut lines = Vec::new();
        for ((id, text), lang) in ids.iter().zip(texts).zip(langs) {
            let line = serde_json::json!({ "id": id, "question": text, "lang": lang });
            lines.extend_from_slice(line.to_string().as_bytes());
            lines.push(b'\n');
        }
        let name = "typed.jsonl";
        let file = MappedFile::detect(name, name.into(), Bytes::Owned(lines), Kind::Queries)?;
        build(Kind::Queries, vec![file], &Progress::default()).map_err(without_place)
    }

    fn header(&self, files: Vec<InputFile>) -> Header {
        Header {
            version: READER_VERSION,
            kind: self.kind,
            files,
            layouts: self.files.iter().map(|file| file.layout.clone()).collect(),
            rows: self.len(),
            fingerprint: self.fingerprint.clone(),
            counts: self.counts,
            sums: self
                .files
                .iter()
                .map(|file| file.content.sums().to_vec())
                .collect(),
        }
    }
}

/// Texts in memory have no file and no line that would help anybody.
fn without_place(error: Error) -> Error {
    match error {
        Error::Format { message, hint, .. } => Error::Input { message, hint },
        other => other,
    }
}

fn reopen(header: Header, table: Table) -> Result<Records> {
    let files = header.files.iter().zip(header.layouts).zip(header.sums);
    let files = files
        .map(|((input, layout), sums)| MappedFile::reopen(input, layout, sums))
        .collect::<Result<Vec<_>>>()?;
    let bases = bases(&files);
    let (kind, fingerprint, counts) = (header.kind, header.fingerprint, header.counts);
    Ok(Records {
        kind,
        files,
        bases,
        table,
        fingerprint,
        counts,
    })
}

/// Reads everything once and checks it.
fn build(kind: Kind, found: Vec<(MappedFile, usize)>, progress: &Progress) -> Result<Records> {
    let (files, froms): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    let bases = bases(&files);
    let mut scan = Scan::default();
    for ((file, from), base) in files.iter().zip(froms).zip(&bases) {
        scan.file(kind, file, from, *base, progress)?;
    }
    let ids = scan.sorted_ids();
    let body = table::encode(&scan.starts, &ids);
    let fingerprint = content_fingerprint(kind, &files, progress)?;
    let Some(table) = Table::new(Bytes::Owned(body), 0, scan.starts.len()) else {
        return Err(Error::Internal {
            message: "the offset table has a wrong size".into(),
        });
    };
    let records = Records {
        kind,
        files,
        bases,
        table,
        fingerprint,
        counts: scan.counts,
    };
    refuse_duplicates(&records, &ids)?;
    Ok(records)
}

fn bases(files: &[MappedFile]) -> Vec<u64> {
    let mut bases = vec![0];
    let mut end = 0;
    for file in files {
        end += file.content.all().len() as u64;
        bases.push(end);
    }
    bases
}

/// Two records must not share an id; equal hashes alone prove nothing, so the ids themselves are compared.
fn refuse_duplicates(records: &Records, ids: &[(u64, u32)]) -> Result<()> {
    let mut first_repeat: Option<(u32, u32)> = None;
    for run in ids
        .chunk_by(|left, right| left.0 == right.0)
        .filter(|run| run.len() > 1)
    {
        if let Some(pair) = repeat_in(records, run)?
            && first_repeat.is_none_or(|known| pair.1 < known.1)
        {
            first_repeat = Some(pair);
        }
    }
    let Some((first, second)) = first_repeat else {
        return Ok(());
    };
    let (path, line) = records.locate(first)?;
    let (again, again_line) = records.locate(second)?;
    let message = format!(
        "id {:?} was used before, at {path}:{line}",
        records.get(second)?.id
    );
    Err(Error::format(
        again,
        again_line,
        message,
        "ids must be unique over all files",
    ))
}

/// The first two rows of a run of equal hashes that truly share an id.
fn repeat_in(records: &Records, run: &[(u64, u32)]) -> Result<Option<(u32, u32)>> {
    for (at, (_, second)) in run.iter().enumerate().skip(1) {
        for (_, first) in &run[..at] {
            if records.get(*first)?.id == records.get(*second)?.id {
                return Ok(Some((*first, *second)));
            }
        }
    }
    Ok(None)
}
