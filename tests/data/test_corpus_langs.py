"""The languages of passages: of the record, of the file, identified; kept, and found again without looking."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from train.rig import Notes
from umr._rust import Records
from umr.data import corpus_langs, passage_langs
from umr.data.corpus_langs import corpus_languages
from umr.errors import MismatchError
from umr.layout import WorkLayout

ENGLISH = "The old bridge was built by the king of the north and is made of stone"
JAPANESE = "古い橋は北の王によって建てられ、石でできています。川の水はとても冷たい。"
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
    passages = opened(tmp_path, plain=[said, silent, {"text": GERMAN}], all__ja=[{"text": JAPANESE}, said], more=[silent])
    for _ in range(2):  # found, and read again
        languages = corpus_languages(passages, WorkLayout(tmp_path / "work"), Notes())
        assert languages.of(np.arange(6)) == ["sw", "en", "de", "ja", "sw", "en"]
        assert languages.codes == ("de", "en", "ja", "sw")
        assert languages.numbers.dtype == np.int32
        assert languages.counts() == {"de": 1, "en": 2, "ja": 1, "sw": 2}
        assert languages.stated == {"sw", "ja"}


def test_a_language_that_is_both_stated_and_identified_is_stated(tmp_path: Path) -> None:
    passages = opened(tmp_path, plain=[{"text": ENGLISH}, {"text": GERMAN}, {"text": GERMAN, "lang": "de"}])
    assert corpus_languages(passages, WorkLayout(tmp_path / "work"), Notes()).stated == {"de"}


def test_the_same_passages_in_files_of_other_names_are_other_languages(tmp_path: Path) -> None:
    japanese = [{"text": JAPANESE}] * 2
    found = []
    for place, names in enumerate((("a__ja", "b"), ("a", "b__zh"), ("a", "b"))):
        (tmp_path / str(place)).mkdir()
        passages = opened(tmp_path / str(place), **dict.fromkeys(names, japanese))
        found.append(corpus_languages(passages, WorkLayout(tmp_path / "work"), Notes()))
    assert [languages.stated for languages in found] == [{"ja"}, set(), set()]
    assert len({languages.fingerprint for languages in found}) == 3


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

    monkeypatch.setattr(passage_langs, "identify", identify)
    layout, notes = WorkLayout(tmp_path / "work"), Notes()
    with pytest.raises(KeyboardInterrupt):
        corpus_languages(passages, layout, notes)
    first = corpus_languages(passages, layout, notes)
    assert sorted(looked) == sorted(["died", *(f"{ENGLISH} {i}" for i in range(5))])
    monkeypatch.setattr(passage_langs, "identify", None)
    again = corpus_languages(passages, layout, notes)
    assert (again.fingerprint, again.codes) == (first.fingerprint, first.codes)
    np.testing.assert_array_equal(again.numbers, first.numbers)
    assert notes.text.count("passages in 1 languages") == 1


def test_damaged_files_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_langs, "PART", 2)
    passages = opened(tmp_path, plain=[{"text": ENGLISH + f" {i}", "lang": "en"} for i in range(5)])
    layout, notes = WorkLayout(tmp_path / "work"), Notes()
    first = corpus_languages(passages, layout, notes)
    folder = next(layout.corpus.glob("languages-*"))
    part = folder / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-3])
    with pytest.raises(MismatchError, match=r"part-00001\.parquet has changed"):
        corpus_languages(passages, layout, notes)
    (folder / "manifest.json").unlink()
    assert corpus_languages(passages, layout, notes).fingerprint == first.fingerprint, "what no manifest names is made again"
