"""The language of a passage: its record's, its file's where the passages agree with the name, else identified."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from train.rig import Notes
from umr._rust import Records
from umr.data import passage_langs
from umr.data.candidates import PADDING
from umr.data.corpus_langs import corpus_languages
from umr.data.passage_langs import file_language, files_of, passage_languages, verified_files
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


def names_used(folder: Path, files: dict[str, list[str]], notes: Notes | None = None) -> list[str]:
    passages = opened(folder, files)
    return [Path(file.path).name for file in verified_files(passages, files_of(passages), notes or Notes())]


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
    assert names_used(tmp_path, {name: [ENGLISH] * 7}, notes) == []
    assert name in notes.warned[0]


def test_names_that_their_passages_agree_with_are_used(tmp_path: Path) -> None:
    files = {
        "a.ja.jsonl": [JAPANESE, JAPANESE, ENGLISH],
        "b.de.jsonl": [GERMAN] * 200,
        "c.in.jsonl": [MALAY],
        "e.nb.jsonl": [NORWEGIAN],
        "d.en.jsonl": ["", " "],
    }
    notes = Notes()
    assert names_used(tmp_path, files, notes) == list(files)
    assert not notes.warned


def test_what_the_identifier_does_not_know_counts_where_its_guesses_are_spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guesses = ["br", "vo", "vi", "en"]
    monkeypatch.setattr(passage_langs, "identify", lambda texts: [guesses[i % 4] for i in range(len(texts))])
    assert names_used(tmp_path, {"passages.wo.jsonl": ["Pom bu yàgg"] * 40}) == ["passages.wo.jsonl"]
    assert names_used(tmp_path, {"part-aa.jsonl": ["x"] * 40, "part-ak.jsonl": ["y"] * 40}) == []
    monkeypatch.setattr(passage_langs, "identify", lambda texts: ["en"] * len(texts))
    assert names_used(tmp_path, {"passages.wo.jsonl": ["Pom bu yàgg"] * 40}) == []


def test_few_passages_of_a_file_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: Counter[str] = Counter()

    def identify(texts: list[str]) -> list[str]:
        looked.update(texts)
        return ["de"] * len(texts)

    monkeypatch.setattr(passage_langs, "identify", identify)
    assert names_used(tmp_path, {"a.de.jsonl": [f"{i}" for i in range(1000)]}) == ["a.de.jsonl"]
    assert looked.total() == len(looked) == passage_langs.SAMPLE
    assert {"0", "999"} <= set(looked)


def test_languages_of_records_count_for_a_file_too(tmp_path: Path) -> None:
    passages = opened(tmp_path, {"a.sw.jsonl": [ENGLISH, ENGLISH, GERMAN]}, {ENGLISH: "sw"})
    assert [file.lang for file in verified_files(passages, files_of(passages), Notes())] == ["sw"]


def test_some_passages_have_the_languages_that_the_whole_collection_has(tmp_path: Path) -> None:
    """One definition: labelling asks for some rows, mining and centring for all."""
    files = {"a.ja.jsonl": [JAPANESE, JAPANESE, ENGLISH], "b.jsonl": [GERMAN, FRENCH], "c-de.jsonl": [ENGLISH] * 2}
    passages, notes = opened(tmp_path, files, {FRENCH: "br"}), Notes()
    whole = corpus_languages(passages, WorkLayout(tmp_path / "work"), Notes())
    rows = np.array([[6, 2, 0], [3, 4, 2]], dtype=np.uint32)
    codes, numbers = passage_languages(passages, rows, notes)
    assert numbers.dtype == np.int32
    assert (
        [[codes[number] for number in row] for row in numbers]
        == [whole.of(row) for row in rows]
        == [["en", "ja", "ja"], ["de", "br", "ja"]]
    )
    assert "2 of 5 passages state no language: identified from their text" in notes.text


def test_stated_languages_are_not_identified_and_a_blank_text_is_read_by_its_title(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "passages.jsonl"
    lines = [{"_id": "a", "text": " ", "title": GERMAN}, {"_id": "b", "text": "x", "lang": " fi "}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    passages = Records.open([str(path)], "passages", str(tmp_path))
    assert passage_languages(passages, np.arange(2, dtype=np.uint32), Notes())[0] == ["de", "fi"]
    monkeypatch.setattr(passage_langs, "identify", lambda texts: pytest.fail("identified") if texts else [])
    notes = Notes()
    codes, numbers = passage_languages(passages, np.array([1], dtype=np.uint32), notes)
    assert (codes, numbers.tolist(), notes.said) == (["fi"], [0], [])


def test_padded_places_are_not_looked_at(tmp_path: Path) -> None:
    passages = opened(tmp_path, {"a.jsonl": [GERMAN, ENGLISH]})
    rows = np.array([[1, PADDING], [0, 1]], dtype=np.uint32)
    codes, numbers = passage_languages(passages, rows, Notes())
    assert (codes, numbers[rows != PADDING].tolist()) == (["de", "en"], [1, 0, 1])
    assert passage_languages(passages, np.full((2, 3), PADDING, dtype=np.uint32), Notes())[1].tolist() == [[0] * 3] * 2
