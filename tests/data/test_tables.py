"""Inputs that are no text files: Parquet, folders that `datasets` saved, data sets of ir_datasets."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from umr.data.inputs import input_files
from umr.data.qrels import read_qrels
from umr.errors import FormatError, InputError, MissingExtraError
from umr.layout import WorkLayout

ROWS = [{"id": "p1", "title": "Rhein", "text": "Der Rhein.", "lang": "de"}, {"id": "p2", "title": "", "text": "東京\tタワー", "lang": "ja"}]


def read(files: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for file in files for line in Path(file).read_text(encoding="utf-8").splitlines()]


def test_a_parquet_file_is_read_and_written_once(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path, layout = tmp_path / "passages.parquet", WorkLayout(tmp_path / "work")
    parquet.write_table(pa.Table.from_pylist([{**row, "embedding": [0.5, 1.5]} for row in ROWS]), path, row_group_size=1)
    files = input_files(str(tmp_path / "*.parquet"), "passages", layout)
    assert read(files) == ROWS
    before = Path(files[0]).stat().st_mtime_ns
    assert input_files(path, "passages", layout) == files
    assert Path(files[0]).stat().st_mtime_ns == before
    parquet.write_table(pa.Table.from_pylist(ROWS[:1]), path)
    assert read(input_files([path], "passages", layout)) == ROWS[:1]
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(FormatError, match=r"passages.parquet: not a whole table"):
        input_files([path], "passages", layout)
    assert not list((tmp_path / "work").rglob("*.part"))


@pytest.mark.filterwarnings("ignore")  # of datasets
def test_a_folder_that_datasets_saved_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    saved, layout = datasets.Dataset.from_list(ROWS), WorkLayout(tmp_path / "work")
    saved.save_to_disk(str(tmp_path / "two"), num_shards=2)
    assert read(input_files([str(tmp_path / "two")], "passages", layout)) == ROWS
    datasets.DatasetDict({"train": saved, "test": saved}).save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(FormatError, match="a data set of several splits") as caught:
        input_files([str(tmp_path / "splits")], "passages", layout)
    assert "test, train" in caught.value.hint
    assert read(input_files([str(tmp_path / "splits" / "test")], "passages", layout)) == ROWS
    (tmp_path / "other").mkdir()
    with pytest.raises(FormatError, match="none that `datasets` saved"):
        input_files([str(tmp_path / "other")], "passages", layout)


def test_a_data_set_of_ir_datasets_is_read_with_its_judgments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ir_datasets = pytest.importorskip("ir_datasets")
    from ir_datasets.formats import GenericDoc, GenericQuery, TrecQrel

    class Titled(NamedTuple):
        doc_id: str
        text: str
        title: str

    class Parts(NamedTuple):
        doc_id: str
        title: str
        body: str

        def default_text(self) -> str:
            return f"{self.title} {self.body}"

    class Small:
        docs_lang = queries_lang = staticmethod(lambda: "sw")
        has_docs = has_queries = has_qrels = staticmethod(lambda: True)
        docs_iter = staticmethod(lambda: iter([GenericDoc("d1", "one"), Titled("d2", "", "only a title"), Parts("d3", "title", "body")]))
        queries_iter = staticmethod(lambda: iter([GenericQuery("q1", "which?")]))
        qrels_iter = staticmethod(lambda: iter([TrecQrel("q1", "d2", 2, "0"), TrecQrel("q1", "d1", 0, "0")]))

    known = {"small": Small()}
    monkeypatch.setattr(ir_datasets, "load", lambda name: known[name])
    layout = WorkLayout(tmp_path / "work")
    rows = [{"id": n, "text": t, "lang": "sw", "title": title} for n, t, title in
            (("d1", "one", ""), ("d2", "", "only a title"), ("d3", "title body", ""))]  # fmt: skip
    assert read(input_files("irds:small", "passages", layout)) == rows
    assert read(input_files([Path("irds:small")], "passages", layout)) == rows
    assert read(input_files(["irds:small"], "queries", layout)) == [{"id": "q1", "text": "which?", "lang": "sw"}]
    assert read_qrels("irds:small").grades == {"q1": {"d2": 2, "d1": 0}}
    with pytest.raises(InputError, match="ir_datasets knows no data set 'none'"):
        input_files("irds:none", "passages", layout)


def test_without_ir_datasets_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(MissingExtraError) as caught:
        input_files("irds:small", "passages", WorkLayout(tmp_path))
    assert "umr[ir-datasets]" in caught.value.hint
