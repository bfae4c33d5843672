"""Which files a path or a glob stands for, and how passages are opened."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

import tiny
from umr.data.corpus import expand, open_passages
from umr.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.tsv", "a.tsv", "c.jsonl", "odd[1].tsv"):
        (tmp_path / name).write_text(name)
    return tmp_path


def names(files: list[str]) -> list[str]:
    assert all(Path(f).is_absolute() for f in files)
    return [Path(f).name for f in files]


def test_a_glob_gives_its_matches_by_name_and_paths_keep_their_order(folder: Path) -> None:
    assert names(expand([str(folder / "?.tsv")], "passages")) == ["a.tsv", "b.tsv"]
    assert names(expand([str(folder / "c.jsonl"), str(folder / "b.tsv"), str(folder / "a.tsv")], "passages")) == [
        "c.jsonl",
        "b.tsv",
        "a.tsv",
    ]


def test_a_file_comes_once(folder: Path) -> None:
    assert names(expand([str(folder / "b.tsv"), str(folder / "?.tsv"), str(folder / "b.tsv")], "passages")) == ["b.tsv", "a.tsv"]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(folder: Path) -> None:
    assert names(expand([str(folder / "odd[1].tsv")], "passages")) == ["odd[1].tsv"]


def test_relative_paths_and_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    here = [str(folder / "a.tsv")]
    assert (
        expand(["a.tsv"], "passages")
        == expand(["./a.*"], "passages")
        == expand(["~/a.tsv"], "passages")
        == expand(["~/a.*"], "passages")
        == here
    )


@pytest.mark.parametrize("pattern", ["absent.tsv", "*.gz", "", "~/absent"])
def test_no_match_is_an_input_error_with_the_pattern(folder: Path, monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(InputError) as caught:
        expand(["a.tsv", pattern], "queries")
    assert caught.value.message == f"no queries at {pattern!r}: no such file"
    assert caught.value.hint


def test_files_are_one_corpus_in_order_gzip_or_not(tmp_path: Path) -> None:
    first = tiny.tiny_corpus(tmp_path / "one", passages=3).passages
    second = tmp_path / "two.jsonl.gz"
    second.write_bytes(gzip.compress(b'{"_id": "x", "title": "Rhine", "text": "a river"}\n'))
    talk = tiny.Talk()
    passages = open_passages([str(first), str(second)], tmp_path / "cache", talk)
    assert passages.ids(np.arange(4, dtype=np.uint32)) == ["p0", "p1", "p2", "x"]
    assert passages.texts(np.array([3], dtype=np.uint32)) == [("Rhine", "a river")]
    assert not talk.warned


def test_passages_without_text_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    path.write_text("id\ttext\ttitle\na\t\tRhine\nb\ta river\t\nc\t\t\n")
    talk = tiny.Talk()
    open_passages([str(path)], tmp_path / "cache", talk)
    assert talk.warned == ["2 of 3 passages have no text"]
