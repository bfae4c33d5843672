"""The language that a file's name says, believed only where its passages bear it out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from train.rig import Notes
from umr._rust import Records
from umr.data import file_langs
from umr.data.corpus_langs import corpus_languages
from umr.data.file_langs import believed, file_language, files_of
from umr.layout import WorkLayout

ENGLISH = "The old bridge was built by the king of the north and is made of stone"
GERMAN = "Die alte Brücke wurde vom König des Nordens gebaut und besteht aus Stein"
JAPANESE = "古い橋は北の王によって建てられ、石でできています。川の水はとても冷たい。"
FRENCH = "Le vieux pont a été construit par le roi du nord et il est fait de pierre"
NORWEGIAN = "Den gamle broen ble bygget av kongen i nord og er laget av stein"
MALAY = "Jambatan lama itu dibina oleh raja dari utara dan diperbuat daripada batu"


def opened(folder: Path, files: dict[str, list[str]], langs: dict[str, str] | None = None) -> Records:
    """Passages of files by their name, of a language in their record where one is given for the text."""
    langs = langs or {}
    for at, (name, texts) in enumerate(files.items()):
        said = ({"lang": langs[text]} if text in langs else {} for text in texts)
        records = [{"id": f"{at}-{i}", "text": text} | lang for i, (text, lang) in enumerate(zip(texts, said, strict=True))]
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return Records.open([str(folder / name) for name in files], "passages", str(folder / "cache"))


def names_believed(folder: Path, files: dict[str, list[str]], notes: Notes | None = None) -> list[str]:
    passages = opened(folder, files)
    return [Path(file.path).name for file in believed(passages, files_of(passages), notes or Notes())]


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("/d/passages.ja.tsv.gz", "ja"), ("/d/passages-de.jsonl", "de"), ("/d/wiki_fi.json.gz", "fi"), ("/d/PASSAGES.EN.TSV", "en"),
        ("passages.en", "en"), ("/d/corpus-v1.0-ar/docs-0.jsonl.gz", "ar"), ("/d/passages.tsv.gz", ""), ("/d/passages.xq.tsv", ""),
        ("/d/train-small/passages.tsv", ""), ("/d/de.tsv", ""), ("/d/ja/docs.tsv", ""), ("/d/passages.new.tsv", ""),
        ("/d/part-ab", "ab"), ("/d/docs_to", "to"),
    ],
)  # fmt: skip
def test_a_file_says_its_language_at_the_end_of_its_name(path: str, language: str) -> None:
    assert file_language(path) == language


def test_files_and_their_rows(tmp_path: Path) -> None:
    passages = opened(tmp_path, {"a.de.jsonl": [GERMAN] * 3, "b.jsonl": [ENGLISH], "c.ja.jsonl": [JAPANESE] * 2})
    assert [(Path(f.path).name, f.lang, f.first, f.end) for f in files_of(passages)] == [
        ("a.de.jsonl", "de", 0, 3), ("b.jsonl", "", 3, 4), ("c.ja.jsonl", "ja", 4, 6),
    ]  # fmt: skip


def test_a_collection_that_was_split_stays_in_its_languages(tmp_path: Path) -> None:
    """`split -l 40 corpus part-`: aa, ab, ae, af are languages, and none of them is meant."""
    mixed = [ENGLISH, GERMAN, JAPANESE, FRENCH] * 10
    split = {"part-aa": mixed, "part-ab": mixed, "part-ac": [ENGLISH] * 5, "part-ae": mixed, "part-af": mixed}
    notes = Notes()
    languages = corpus_languages(opened(tmp_path, split), WorkLayout(tmp_path / "work"), notes)
    assert languages.codes == ("de", "en", "fr", "ja")
    assert languages.stated == frozenset()
    assert "the names of 4 files end like a language that their passages are not in" in notes.warned[0]
    assert "part-ab (ab)" in notes.warned[0]


@pytest.mark.parametrize("name", ["docs_to", "data-no.jsonl", "wiki-is.jsonl", "part-ab", "part-af"])
def test_a_word_or_a_count_is_no_language(tmp_path: Path, name: str) -> None:
    notes = Notes()
    assert names_believed(tmp_path, {name: [ENGLISH] * 7}, notes) == []
    assert name in notes.warned[0]


def test_names_that_their_passages_bear_out_are_believed(tmp_path: Path) -> None:
    files = {
        "a.ja.jsonl": [JAPANESE, JAPANESE, ENGLISH],
        "b.de.jsonl": [GERMAN] * 200,
        "c.in.jsonl": [MALAY],
        "e.nb.jsonl": [NORWEGIAN],
        "d.en.jsonl": ["", " "],
    }
    notes = Notes()
    assert names_believed(tmp_path, files, notes) == list(files)
    assert not notes.warned


def test_what_the_identifier_does_not_know_is_believed_where_it_is_at_a_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guesses = ["br", "vo", "vi", "en"]
    monkeypatch.setattr(file_langs, "identify", lambda texts: [guesses[i % 4] for i in range(len(texts))])
    assert names_believed(tmp_path, {"passages.wo.jsonl": ["Pom bu yàgg"] * 40}) == ["passages.wo.jsonl"]
    assert names_believed(tmp_path, {"part-aa.jsonl": ["x"] * 40, "part-ak.jsonl": ["y"] * 40}) == []
    monkeypatch.setattr(file_langs, "identify", lambda texts: ["en"] * len(texts))
    assert names_believed(tmp_path, {"passages.wo.jsonl": ["Pom bu yàgg"] * 40}) == []


def test_few_passages_of_a_file_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: Counter[str] = Counter()

    def identify(texts: list[str]) -> list[str]:
        looked.update(texts)
        return ["de"] * len(texts)

    monkeypatch.setattr(file_langs, "identify", identify)
    assert names_believed(tmp_path, {"a.de.jsonl": [f"{i}" for i in range(1000)]}) == ["a.de.jsonl"]
    assert looked.total() == len(looked) == file_langs.CHECKED
    assert {"0", "999"} <= set(looked)


def test_languages_of_records_count_for_a_file_too(tmp_path: Path) -> None:
    passages = opened(tmp_path, {"a.sw.jsonl": [ENGLISH, ENGLISH, GERMAN]}, {ENGLISH: "sw"})
    assert [file.lang for file in believed(passages, files_of(passages), Notes())] == ["sw"]
