"""Passages and queries that Python has: lists, tuples, dicts, frames, Arrow tables, data sets; paths alone and in lists."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import tiny
import umr
from umr.errors import FormatError, InputError, UsageError

TEXTS = ["Der Rhein entspringt in den Alpen.", "The old bridge.\nIt is\tof stone.", "橋"]
IDS = ["p0", "p1", "p2"]
COLUMNS = {"id": IDS, "text": TEXTS, "title": ["Rhein", None, ""]}
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]
WANTED = [("p0", "Rhein", TEXTS[0]), ("p1", "", TEXTS[1]), ("p2", "", TEXTS[2])]


def opened(folder: Path, passages: Any, queries: Any = ("who?",), encoder: Any = "no/encoder") -> Any:
    return umr.create_workspace(folder / "work", passages, queries, encoder, "en")


def rows_of(records: Any) -> list[tuple[str, str, str]]:
    rows = np.arange(len(records), dtype=np.uint32)
    return [(name, *pair) for name, pair in zip(records.ids(rows), records.texts(rows), strict=True)]


def pandas() -> Any:
    import pandas

    return pandas.DataFrame(COLUMNS)


def polars() -> Any:
    import polars

    return polars.DataFrame(COLUMNS)


class Dataset:
    """What `datasets.Dataset` can do: a length, and rows as dicts."""

    def __len__(self) -> int:
        return len(ROWS)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from ({**row, "embedding": [0.5], "split": None} for row in ROWS)


KINDS = {
    "dicts": lambda: ROWS,
    "tuples": lambda: [("p0", TEXTS[0], "Rhein"), ("p1", TEXTS[1]), ["p2", TEXTS[2], ""]],
    "generator": lambda: (row for row in ROWS),
    "BEIR": lambda: {row["id"]: {"text": row["text"], "title": row["title"] or ""} for row in ROWS},
    "pandas": pandas, "polars": polars, "Arrow": lambda: pa.table(COLUMNS), "data set": Dataset,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_records_of_every_kind_are_the_same_collection(tmp_path: Path, kind: str) -> None:
    work = opened(tmp_path, KINDS[kind]())
    assert rows_of(work.passages) == WANTED
    assert work.passages.fingerprint == umr.open_workspace(tmp_path / "work").passages.fingerprint


def test_texts_are_numbered(tmp_path: Path) -> None:
    import pandas

    for number, texts in enumerate((TEXTS, tuple(TEXTS), pandas.Series(TEXTS), iter(TEXTS))):
        work = opened(tmp_path / str(number), texts, ["who built it?", "was ist das"])
        assert rows_of(work.passages) == [(str(row), "", text) for row, text in enumerate(TEXTS)]
        assert (work.queries.ids(), work.queries.texts()) == (["0", "1"], ["who built it?", "was ist das"])


def test_queries_with_languages_and_numbers_as_ids(tmp_path: Path) -> None:
    queries = [(np.int64(7), "who?", "fi"), (8, "what?"), {"qid": 9, "question": "where?", "lang": float("nan"), "answers": ["x"]}]
    work = umr.create_workspace(tmp_path / "work", TEXTS, queries, "no/encoder")
    assert work.queries.ids() == ["7", "8", "9"]
    assert work.queries.langs[0] == "fi"
    assert umr.create_workspace(tmp_path / "other", TEXTS, {"a": "who?"}, "no/encoder").queries.ids() == ["a"]


def test_a_single_path_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = tiny.tiny_corpus(tmp_path, 3, 2)
    fingerprints = {
        opened(tmp_path / str(number), passages, queries).passages.fingerprint
        for number, (passages, queries) in enumerate(
            [
                (str(corpus.passages), str(corpus.queries)),
                (corpus.passages, corpus.queries),
                ([corpus.passages], [str(corpus.queries)]),
                (str(tmp_path / "pass*.tsv"), [str(tmp_path / "q*.jsonl")]),
            ]
        )
    }
    assert len(fingerprints) == 1
    monkeypatch.chdir(tmp_path)
    shutil.copy("passages.tsv", "passages")
    assert len(opened(tmp_path, ["passages"]).passages) == 3


@pytest.mark.parametrize("name", ["absent.tsv", "no/such", ["absent.tsv"], ["no/such"], [Path("absent")], Path("absent"), "absent"])
def test_a_path_that_is_not_there_is_never_a_text(tmp_path: Path, name: Any) -> None:
    with pytest.raises(InputError, match="no passages at"):
        opened(tmp_path, name)


@pytest.mark.parametrize("records", [[1, 2], [("p0",)], [("a", "b", "c", "d")], [None], [["a", "b"], 3], {"train": Dataset()}])
def test_a_record_of_no_known_kind_is_refused(tmp_path: Path, records: Any) -> None:
    with pytest.raises((InputError, FormatError)) as caught:
        opened(tmp_path, records)
    assert caught.value.hint
    assert not (tmp_path / "work" / "work.json").exists()


def test_a_record_without_what_it_needs_is_refused_with_its_names(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"passages-.*\.jsonl:2: no text: looked for text.*the keys are body text, id"):
        opened(tmp_path, [ROWS[0], {"id": "x", "body text": "y"}])
    with pytest.raises(FormatError, match="not valid UTF-8"):
        opened(tmp_path, ["half a pair: \ud800", "b"])
    with pytest.raises(InputError, match="no files of passages"):
        opened(tmp_path, [])


def test_the_same_records_go_on_and_others_are_refused(tmp_path: Path) -> None:
    work = opened(tmp_path, ROWS, ["who?", "what?"])
    tiny.mined(work, k=2)
    opened(tmp_path, pandas(), ["who?", "what?"])
    with pytest.raises(umr.UmrError, match="work began"):
        opened(tmp_path, TEXTS, ["who?", "what?"])
    assert rows_of(umr.open_workspace(tmp_path / "work").passages) == WANTED


def test_a_work_folder_with_its_inputs_moves(tmp_path: Path) -> None:
    opened(tmp_path, ROWS)
    shutil.move(tmp_path / "work", tmp_path / "moved")
    assert rows_of(umr.open_workspace(tmp_path / "moved").passages) == WANTED


def test_the_name_of_an_encoder_is_an_encoder(tmp_path: Path) -> None:
    assert opened(tmp_path, TEXTS).encoder == umr.EncoderConfig(model="no/encoder")
    (tmp_path / "model").mkdir()
    assert opened(tmp_path, TEXTS, encoder=tmp_path / "model").encoder.model == str(tmp_path / "model")
    config = umr.RunConfig("w", "p.tsv", ["q.jsonl"], "owner/name", umr.MineConfig(), umr.LabelConfig("l"), umr.TrainConfig())  # type: ignore[arg-type]
    assert (config.work, config.passages, config.queries) == (Path("w"), ("p.tsv",), ("q.jsonl",))
    assert config.encoder == umr.EncoderConfig("owner/name")
    with pytest.raises(UsageError, match="encoder is 3, expected a EncoderConfig"):
        umr.RunConfig("w", "p", "q", 3, umr.MineConfig(), umr.LabelConfig("l"), umr.TrainConfig())  # type: ignore[arg-type]


def test_a_test_set_may_be_in_memory_too(tmp_path: Path) -> None:
    work = opened(tmp_path, ROWS)
    (tmp_path / "qrels.txt").write_text("t0 0 p1 1\n")
    test = umr.read_test_set(work, tmp_path / "qrels.txt", [("t0", "who built the bridge?", "en")])
    assert (test.queries.ids(), test.qrels.grades) == (["t0"], {"t0": {"p1": 1}})
