"""The languages of passages: of the record, of the file, identified; kept, and found again without looking."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from train.rig import Notes
from umr._rust import Records
from umr.data import corpus_langs
from umr.data.corpus_langs import corpus_languages, file_language
from umr.errors import FormatError, MismatchError
from umr.layout import WorkLayout

ENGLISH = "The old bridge was built by the king of the north and is made of stone"
GERMAN = "Die alte Brücke wurde vom König des Nordens gebaut und besteht aus Stein"


def opened(folder: Path, **files: list[dict[str, str]]) -> Records:
    paths = []
    for at, (name, records) in enumerate(files.items()):
        path = folder / (name.replace("__", ".") + ".jsonl")
        lines = [json.dumps({"id": f"{at}-{i}"} | record, ensure_ascii=False) for i, record in enumerate(records)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        paths.append(str(path))
    return Records.open(paths, "passages", str(folder / "cache"))


@pytest.mark.parametrize("part", [1, 2, 3, 100])
def test_the_record_comes_first_then_the_file_then_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    monkeypatch.setattr(corpus_langs, "PART", part)
    said, silent = {"text": ENGLISH, "lang": "sw"}, {"text": ENGLISH}
    passages = opened(tmp_path, plain=[said, silent, {"text": GERMAN}], all__ja=[silent, said], more=[silent])
    languages = corpus_languages(passages, WorkLayout(tmp_path / "work"), Notes())
    assert languages.of(np.arange(6)) == ["sw", "en", "de", "ja", "sw", "en"]
    assert languages.codes == ("de", "en", "ja", "sw")
    assert languages.counts() == {"de": 1, "en": 2, "ja": 1, "sw": 2}


def test_they_are_found_once_and_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_langs, "PART", 2)
    passages = opened(tmp_path, plain=[{"text": ENGLISH + f" {i}"} for i in range(5)])
    looked: list[str] = []

    def identify(texts: list[str]) -> list[str]:
        if len(looked) == 2:
            looked.append("died")
            raise KeyboardInterrupt
        looked.extend(texts)
        return ["en"] * len(texts)

    monkeypatch.setattr(corpus_langs, "identify", identify)
    layout, notes = WorkLayout(tmp_path / "work"), Notes()
    with pytest.raises(KeyboardInterrupt):
        corpus_languages(passages, layout, notes)
    first = corpus_languages(passages, layout, notes)
    assert sorted(looked) == sorted(["died", *(f"{ENGLISH} {i}" for i in range(5))])
    monkeypatch.setattr(corpus_langs, "identify", None)
    again = corpus_languages(passages, layout, notes)
    assert (again.fingerprint, again.codes) == (first.fingerprint, first.codes)
    np.testing.assert_array_equal(again.numbers, first.numbers)
    assert notes.text.count("passages in 1 languages") == 1
    assert sorted(p.name for p in next(layout.corpus.glob("languages-*")).iterdir()) == ["manifest.json", "numbers.npy"]


def test_damaged_files_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_langs, "PART", 2)
    passages = opened(tmp_path, plain=[{"text": ENGLISH + f" {i}", "lang": "en"} for i in range(5)])
    layout, notes = WorkLayout(tmp_path / "work"), Notes()
    corpus_languages(passages, layout, notes)
    folder = next(layout.corpus.glob("languages-*"))
    numbers = folder / "numbers.npy"
    numbers.write_bytes(numbers.read_bytes()[:-3])
    with pytest.raises(MismatchError, match=r"numbers\.npy has changed"):
        corpus_languages(passages, layout, notes)
    (folder / "manifest.json").unlink()
    (folder / "part-00001.npy").write_bytes(b"")
    with pytest.raises(FormatError, match=r"part-00001\.npy: not a whole file of languages"):
        corpus_languages(passages, layout, notes)


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("/d/passages.ja.tsv.gz", "ja"), ("/d/passages-de.jsonl", "de"), ("/d/wiki_fi.json.gz", "fi"), ("/d/PASSAGES.EN.TSV", "en"),
        ("passages.en", "en"), ("/d/corpus-v1.0-ar/docs-0.jsonl.gz", "ar"), ("/d/passages.tsv.gz", ""), ("/d/passages.xq.tsv", ""),
        ("/d/train-small/passages.tsv", ""), ("/d/de.tsv", ""), ("/d/ja/docs.tsv", ""), ("/d/passages.new.tsv", ""),
    ],
)  # fmt: skip
def test_a_file_says_its_language_at_the_end_of_its_name(path: str, language: str) -> None:
    assert file_language(path) == language
