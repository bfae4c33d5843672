"""Passages, queries and exports in object stores, through fsspec: its store in memory, and a server of S3's protocol on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import s3fs
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

import tiny
from train.rig import encoder_config, labelled, opened
from umr.cli import app
from umr.data.inputs import as_inputs, input_files
from umr.data.workspace import create_workspace, open_workspace
from umr.errors import InputError, MismatchError, MissingExtraError
from umr.layout import WorkLayout
from umr.run_file import read_config
from umr.storage import fetched, is_remote, put


@pytest.fixture
def store() -> Any:
    """An empty store in memory."""
    made = fsspec.filesystem("memory")
    made.store.clear()
    made.pseudo_dirs[:] = [""]
    return made


def test_what_an_address_is() -> None:
    assert is_remote("s3://bucket/key.tsv")
    assert is_remote("memory://x")
    assert not any(map(is_remote, ("irds:beir/scifact", "C://x", "/a://b", "p.tsv", "what is s3:// ?")))


def test_a_work_folder_on_objects_is_that_on_files(store: Any, tmp_path: Path) -> None:
    corpus = tiny.tiny_corpus(tmp_path / "corpus", 12, 6)
    half = corpus.passages.read_text().splitlines(keepends=True)
    store.pipe({"/b/p-1.tsv": "".join(half[:7]).encode(), "/b/p-2.tsv": (half[0] + "".join(half[7:])).encode()})
    store.pipe("/b/queries.jsonl", corpus.queries.read_bytes())
    work = create_workspace(tmp_path / "remote", ["memory://b/p-*.tsv"], "memory://b/queries.jsonl", "some/encoder")
    alone = create_workspace(tmp_path / "local", [corpus.passages], [corpus.queries], "some/encoder")
    assert len(work.passages) == len(alone.passages) == 12
    assert work.queries.records.fingerprint == alone.queries.records.fingerprint
    assert (tmp_path / "remote" / "inputs").is_dir()
    again = create_workspace(tmp_path / "remote", ["memory://b/p-*.tsv"], "memory://b/queries.jsonl", "some/encoder")
    assert again.passages.fingerprint == work.passages.fingerprint
    store.rm("/b", recursive=True)
    assert open_workspace(tmp_path / "remote").passages.fingerprint == work.passages.fingerprint, "the copies are kept"


def test_an_object_that_changed_is_other_content(store: Any, tmp_path: Path) -> None:
    layout = WorkLayout(tmp_path)
    store.pipe("/b/q.jsonl", b'{"id": "1", "query": "one?"}\n')
    first = input_files("memory://b/q.jsonl", "queries", layout)
    assert input_files("memory://b/q.jsonl", "queries", layout) == first
    store.pipe("/b/q.jsonl", b'{"id": "1", "query": "another?"}\n')
    assert input_files("memory://b/q.jsonl", "queries", layout) != first
    assert not list(layout.inputs.glob(".*")), "nothing unfinished is left"


@pytest.mark.parametrize("address", ["memory://b/none.tsv", "memory://b/none-*.tsv"])
def test_an_object_that_is_not_there_is_named(store: Any, tmp_path: Path, address: str) -> None:
    with pytest.raises(InputError, match="memory://b/none"):
        fetched(address, tmp_path)


def test_a_store_without_a_driver_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingExtraError, match="nosuch://b/k") as raised:
        fetched("nosuch://b/k", tmp_path)
    assert "umr[remote]" in raised.value.hint
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match="memory://b/k"):
        fetched("memory://b/k", tmp_path)


def test_an_export_goes_into_a_store(store: Any, tmp_path: Path) -> None:
    corpus = tiny.tiny_corpus(tmp_path / "corpus", 13, 10)
    work = opened(tmp_path / "work", corpus, encoder_config(tiny.encoder(tmp_path / "bert")))
    labelled(work)
    for out in ("memory://made/rows.jsonl", str(tmp_path / "rows.jsonl")):
        done = CliRunner().invoke(app, ["data", "export", str(tmp_path / "work"), "--out", out])
        assert done.exit_code == 0, done.output
        assert out.rpartition("/")[2] in done.output
    assert store.cat("/made/rows.jsonl") == (tmp_path / "rows.jsonl").read_bytes()


def test_commands_take_addresses(store: Any, tmp_path: Path) -> None:
    corpus = tiny.tiny_corpus(tmp_path / "corpus", 13, 10)
    encoder = tiny.encoder(tmp_path / "bert")
    store.pipe({"/b/p.tsv": corpus.passages.read_bytes(), "/b/q.jsonl": corpus.queries.read_bytes()})
    names = ["memory://b/p.tsv", "memory://b/q.jsonl"]
    mine = ["mine", str(tmp_path / "work"), "--passages", names[0], "--queries", names[1], "--encoder", str(encoder), "--top-k", "3"]
    for command in (["data", "check", *names], [*mine, "--pooling", "mean", "--similarity", "cosine"]):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
    work = open_workspace(tmp_path / "work")
    assert len(work.passages) == 13
    right = work.passages.ids(np.zeros(1, dtype=np.uint32))[0]
    (tmp_path / "qrels").write_text("".join(f"{query} 0 {right} 1\n" for query in work.queries.ids()))
    done = CliRunner().invoke(
        app, ["eval", str(tmp_path / "work"), "--qrels", str(tmp_path / "qrels"), "--passages", names[0], "--queries", names[1]]
    )
    assert done.exit_code == 0, done.output
    file = tmp_path / "run.toml"
    file.write_text(f'work = "other"\npassages = ["{names[0]}"]\nqueries = ["{names[1]}"]\n[encoder]\nmodel = "e"\n[label]\nlm = "m"\n')
    config = read_config(file)
    assert (config.passages, config.queries) == ((names[0],), (names[1],))
    assert as_inputs((*names, "p.tsv")) == [*names, Path("p.tsv")]


def test_a_folder_goes_into_a_store_with_all_that_is_in_it(store: Any, tmp_path: Path) -> None:
    (tmp_path / "encoder" / "query").mkdir(parents=True)
    (tmp_path / "encoder" / "a.json").write_text("{}")
    (tmp_path / "encoder" / "query" / "b.onnx").write_bytes(b"12")
    put(tmp_path / "encoder", "memory://made/encoder")
    assert {name: store.cat(name) for name in store.find("/made")} == {"/made/encoder/a.json": b"{}", "/made/encoder/query/b.onnx": b"12"}


def test_other_objects_are_other_inputs_once_something_is_mined(store: Any, tmp_path: Path) -> None:
    corpus = tiny.tiny_corpus(tmp_path / "corpus", 13, 10)
    encoder = encoder_config(tiny.encoder(tmp_path / "bert"))
    store.pipe({"/b/p.tsv": corpus.passages.read_bytes(), "/b/q.jsonl": corpus.queries.read_bytes()})
    labelled(create_workspace(tmp_path / "work", "memory://b/p.tsv", "memory://b/q.jsonl", encoder))
    store.pipe("/b/p.tsv", corpus.passages.read_bytes() + b"more\tone more\ttitle\n")
    with pytest.raises(MismatchError, match="passages"):
        create_workspace(tmp_path / "work", "memory://b/p.tsv", "memory://b/q.jsonl", encoder)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3 file system with an empty bucket, served on this machine alone."""
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    names = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "mine"}
    for name, value in {**names, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    store = s3fs.S3FileSystem(skip_instance_cache=True)
    store.mkdir("bucket")
    yield store
    store.rm("bucket", recursive=True)  # the next server of this process has what this one had
    s3fs.S3FileSystem.clear_instance_cache()
    running.stop()


def test_a_round_from_and_into_s3(bucket: Any, tmp_path: Path) -> None:
    corpus = tiny.tiny_corpus(tmp_path / "corpus", 13, 10)
    encoder = encoder_config(tiny.encoder(tmp_path / "bert"))
    rows = corpus.passages.read_text().splitlines(keepends=True)
    bucket.pipe({"bucket/p-1.tsv": "".join(rows[:7]).encode(), "bucket/p-2.tsv": (rows[0] + "".join(rows[7:])).encode()})
    bucket.pipe("bucket/q.jsonl", corpus.queries.read_bytes())
    remote = create_workspace(tmp_path / "remote", ["s3://bucket/p-*.tsv"], "s3://bucket/q.jsonl", encoder)
    local = create_workspace(tmp_path / "local", [corpus.passages], [corpus.queries], encoder)
    assert len(input_files("s3://bucket/p-*.tsv", "passages", remote.layout)) == 2
    assert len(remote.passages) == len(local.passages) == 13
    assert remote.queries.records.fingerprint == local.queries.records.fingerprint
    labelled(remote)
    done = CliRunner().invoke(app, ["data", "export", str(tmp_path / "remote"), "--out", "s3://bucket/made/rows.jsonl"])
    assert done.exit_code == 0, done.output
    assert bucket.cat("bucket/made/rows.jsonl").count(b"\n") == 10


def test_s3_objects_that_changed_or_are_not_there(bucket: Any, tmp_path: Path) -> None:
    bucket.pipe("bucket/q.jsonl", b'{"id": "1", "query": "one?"}\n')
    (first,) = fetched("s3://bucket/q.jsonl", tmp_path)
    assert fetched("s3://bucket/q.jsonl", tmp_path) == [first]
    bucket.pipe("bucket/q.jsonl", b'{"id": "1", "query": "two?"}\n')
    s3fs.S3FileSystem.clear_instance_cache()
    (second,) = fetched("s3://bucket/q.jsonl", tmp_path)
    assert second != first
    assert second.read_bytes() == b'{"id": "1", "query": "two?"}\n'
    for address in ("s3://bucket/none.tsv", "s3://nowhere/p.tsv"):
        with pytest.raises(InputError, match=address):
            fetched(address, tmp_path)
    with pytest.raises(InputError, match=r"s3://nowhere/p\.tsv"):
        put(second, "s3://nowhere/p.tsv")


def test_s3_without_the_right_to_read_is_named(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match=r"s3://bucket/q\.jsonl") as raised:
        fetched("s3://bucket/q.jsonl", tmp_path)
    assert "credentials" in raised.value.hint
