/// Opens bytes as a file; the first of them chooses what the records are and how the file is called. It is refused, or every
/// record can be read and is found by its id: anything else panics.
fn open_any(data: &[u8]) -> Option<usize> {
    let (how, content) = data.split_first()?;
    let kind = [Kind::Passages, Kind::Queries][(how & 1) as usize];
    let name = ["a.tsv", "a.jsonl", "a", "a.tsv.gz"][(how >> 1 & 3) as usize];
    let folder = tempfile::tempdir().ok()?;
    let path = folder.path().join(name);
    std::fs::write(&path, content).ok()?;
    let paths = [path.to_str()?.to_owned()];
    let open = || -> Result<Records> {
        Records::open(&paths, kind, &folder.path().join("cache"), &Progress::default())
    };
    let records = open().ok()?;
    for row in 0..records.len() as u32 {
        let id = records.get(row).map(|fields| fields.id.into_owned());
        let found = id.and_then(|id| records.find(&id));
        assert!(matches!(found, Ok(Some(place)) if place == row), "row {row}: {found:?}");
        assert!(records.key(row).is_ok() && records.source(row).is_ok() && records.locate(row).is_ok());
    }
    assert!(matches!(open(), Ok(again) if again.fingerprint() == records.fingerprint()), "read again");
    Some(records.len())
}
