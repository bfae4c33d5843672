"""Every reader against real files, whole and damaged: all records, or an error that names the file; never a panic, never a record less."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from umr._rust import Records
from umr.data.qrels import read_qrels
from umr.data.trec import read_rankings
from umr.errors import InputError
from umr.evaluate.xor_retrieve import read_gold, read_predictions

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = [pytest.mark.data, pytest.mark.skipif(not DATA.is_dir(), reason="the shared data are not there")]
QUERIES = [
    *(f"xor/xor-retrieve/{name}.jsonl.gz" for name in ("xor_dev_retrieve_eng_span_v1_1", "xor_train_retrieve_eng_span")),
    "xor/afriqa_train.retrieve_eng_span.jsonl", "xor/mia2022/mia_2022_dev_xorqa.jsonl.gz", "xquad-r/queries.jsonl.gz",
    "xor/mia2022/mia2022_test_surprise_tamil_without_answers.jsonl", "train-mix/queries.jsonl.gz",
]  # fmt: skip
PASSAGES = ["xquad-r/passages.tsv.gz", "train-small/passages.tsv.gz"]
TOPICS, QRELS = (
    sorted(
        str(path.relative_to(DATA))
        for path in (DATA / "xor").glob(f"*/*{word}*.t*")
        if "-train" not in path.name and ".train" not in path.name
    )
    for word in ("topics", "qrels")
)


def content(name: str) -> bytes:
    """A file of the shared data, unpacked."""
    raw = (DATA / name).read_bytes()
    return gzip.decompress(raw) if name.endswith(".gz") else raw


def plain(name: str) -> list[tuple[str, str]]:
    """Id and text of every record, read in the plain way."""
    text = content(name).decode("utf-8-sig")
    if ".jsonl" in name:
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        return [(str(row["id"]), row.get("question", row.get("query"))) for row in rows]
    if name in PASSAGES:
        csv.field_size_limit(1 << 24)
        return [(row["id"], row["text"]) for row in csv.DictReader(io.StringIO(text, newline=""), delimiter="\t")]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter="\t")
    return [(row[0], row[1]) for row in rows if row and row[0] not in ("id", "qid", "query_id")]


@pytest.mark.parametrize(("name", "kind"), [*((n, "queries") for n in (*QUERIES, *TOPICS)), *((n, "passages") for n in PASSAGES)])
def test_a_real_file_gives_every_record_as_the_plain_way(name: str, kind: Any, tmp_path: Path) -> None:
    records = Records.open([str(DATA / name)], kind, str(tmp_path))
    rows = np.arange(len(records), dtype=np.uint32)
    assert list(zip(records.ids(rows), (text for _, text in records.texts(rows)), strict=True)) == plain(name)


@pytest.mark.parametrize("name", [*QRELS, "xquad-r/qrels.en.txt.gz"])
def test_real_judgments_give_every_row(name: str) -> None:
    rows = [line.split() for line in content(name).decode().split("\n") if line.strip()]
    found = read_qrels(DATA / name).grades
    assert sum(map(len, found.values())) == len({(row[0], row[2]) for row in rows})
    assert all(found[row[0]][row[2]] == int(row[3]) for row in rows)


def lines(name: str, count: int) -> bytes:
    return b"\n".join(content(name).split(b"\n")[:count]) + b"\n"


def opened(kind: Any) -> Callable[[Path], int]:
    def read(path: Path) -> int:
        with tempfile.TemporaryDirectory() as cache:
            records = Records.open([str(path)], kind, cache)
            rows = np.arange(len(records), dtype=np.uint32)
            assert len(records.texts(rows)) == len(set(records.ids(rows))) == len(records)
            return len(records)

    return read


READERS: dict[str, tuple[str, Callable[[Path], Any], Callable[[], bytes]]] = {
    "queries": ("q.jsonl", opened("queries"), lambda: lines(QUERIES[0], 6)),
    "topics": ("q.tsv", opened("queries"), lambda: lines("xor/miracl-v1.0/topics.miracl-v1.0-zh-dev.tsv", 8)),
    "passages": ("p.tsv", opened("passages"), lambda: lines(PASSAGES[0], 4)),
    "qrels": ("q.qrels", read_qrels, lambda: lines("xor/miracl-v1.0/qrels.miracl-v1.0-sw-dev.tsv", 12)),
    "run": ("r.trec", read_rankings, lambda: b"".join(b"q%d Q0 d%d %d %.3f x\n" % (n % 3, n, n, 9 - n / 7) for n in range(9))),
    "gold": ("g.jsonl", read_gold, lambda: lines(QUERIES[0], 6)),
    "predictions": (
        "p.json",
        read_predictions,
        lambda: json.dumps(json.loads(content("xor/official/xor_dev_mixed.pred.json.gz"))[:2])[:3000].encode(),
    ),
}
BITS = [
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\n",
    b"\r\n",
    b"\t",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"null",
    b"\xf0\x9f",
    b"\\ud800",
    b"1e999",
    b" ",
    b"\x1f\x8b",
]


def outcome(read: Callable[[Path], Any], path: Path) -> tuple[Any, str]:
    """What a reader gives, or None and its message. Another error is a failure."""
    try:
        return read(path), ""
    except InputError as error:
        return None, error.message


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """What happens to a file: pieces cut out, doubled, moved to the end, bytes put in, an end torn off."""
    kinds = st.sampled_from(["cut", "double", "put", "tear"])
    steps = draw(st.lists(st.tuples(kinds, st.floats(0, 1), st.integers(1, 40), st.sampled_from(BITS)), min_size=1, max_size=4))

    def damaged(data: bytes) -> bytes:
        for how, place, size, bit in steps:
            at = int(place * len(data))
            data = {
                "cut": data[:at] + data[at + size :], "double": data[: at + size] + data[at:], "put": data[:at] + bit + data[at:],
                "tear": data[: max(1, at)],
            }[how]  # fmt: skip
        return data

    return damaged


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=damages(), packed=st.booleans())
def test_a_damaged_file_is_read_whole_or_refused_by_name(kind: str, tmp_path: Path, damage: Callable[[bytes], bytes], packed: bool) -> None:
    name, read, whole = READERS[kind]
    path, data = tmp_path / name, damage(whole())
    path.write_bytes(gzip.compress(data, 1, mtime=0) if packed else data)
    found, refused = outcome(read, path)
    assert found is not None or name in refused
    if kind == "queries" and not refused:
        assert found == sum(bool(line.strip(b" \t\r")) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"))


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), tear=st.booleans())
def test_a_torn_or_flipped_gzip_stream_is_refused_by_name(kind: str, tmp_path: Path, place: float, tear: bool) -> None:
    name, read, whole = READERS[kind]
    path, packed = tmp_path / name, bytearray(gzip.compress(whole(), 1, mtime=0))
    at = 2 + int(place * (len(packed) - 3))  # the two bytes that say gzip stay
    if tear:
        del packed[at:]
    else:
        packed[at] ^= 0x40
    path.write_bytes(bytes(packed))
    found, refused = outcome(read, path)
    assert found is None or not tear
    assert found is None or gzip.decompress(bytes(packed)) == whole(), "a flip that is read changed nothing: of the header, or of padding"
    assert found is not None or name in refused
