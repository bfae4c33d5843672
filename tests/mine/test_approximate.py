"""The approximate index: exact scores, a recall that is measured, and a graph that is never another store's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mine.test_accelerator import Floats, require_same, stored, tasks
from reference.scoring import score
from train.rig import Notes, contents
from umr.config import MineConfig
from umr.data.embeddings import Embeddings
from umr.errors import InputError, MismatchError, ScoreError, StorageError, UsageError
from umr.layout import near_index
from umr.mine import approximate, graph
from umr.mine.approximate import near_top_k
from umr.mine.copies import copies_of, marks, with_copies
from umr.mine.index import find
from umr.mine.search import top_k
from umr.mine.space import space_for

NEAR = MineConfig(index="hnsw", device="cpu", threads=2)


def unit(rng: np.random.Generator, rows: int, dimensions: int = 24, shift: float = 0.5) -> Floats:
    """Unit vectors around a common mean, as encoders make them."""
    made = rng.standard_normal((rows, dimensions)) + shift * np.sqrt(dimensions) * np.ones(dimensions) / np.sqrt(dimensions)
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def never(sample: Floats, k: int) -> Any:
    raise AssertionError("the exact search was asked")


@pytest.fixture
def store(tmp_path: Path) -> Embeddings:
    return stored(tmp_path, unit(np.random.default_rng(0), 3000), shard_rows=1024)


@pytest.fixture
def queries() -> Floats:
    return unit(np.random.default_rng(1), 100)


def test_it_finds_nearly_everything_and_scores_it_exactly(store: Embeddings, queries: Floats) -> None:
    notes = Notes()
    rows, scores = find(queries, store, 10, NEAR, notes)
    exact = top_k(queries, store, 10)
    assert np.mean(scores >= exact[1][:, -1:]) > 0.9
    assert "recall@10" in notes.text
    assert "on 100 queries" in notes.text
    vectors = store.read()
    for query, found, values in zip(queries[:20], rows[:20], scores[:20], strict=True):
        assert values.tolist() == [score(query.tolist(), vectors[row].tolist()) for row in found]
        assert len(set(found.tolist())) == 10
        assert sorted(zip(-values, found, strict=True)) == list(zip(-values, found, strict=True))


def test_it_is_built_once_mapped_afterwards_and_asks_the_exact_search_no_more(
    store: Embeddings, queries: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = find(queries, store, 10, NEAR)
    before = contents(near_index(store.folder))
    monkeypatch.setattr(approximate, "build_graph", None)
    notes = Notes()
    require_same(near_top_k(queries, store, 10, never, 1, notes), first)
    assert "recall@10" in notes.text
    one = near_top_k(queries[:1], store, 3, never)
    assert one[0].tolist() == first[0][:1, :3].tolist()
    assert contents(near_index(store.folder)) == before


def test_longer_lists_are_measured_anew_and_kept(store: Embeddings, queries: Floats) -> None:
    find(queries[:2], store, 5, NEAR)
    manifest = near_index(store.folder) / "manifest.json"
    assert [(m["k"], m["of"]) for m in json.loads(manifest.read_text())["recall"]] == [(5, "passages")]
    find(queries, store, 5, NEAR)
    find(queries, store, 40, NEAR)
    assert [(m["k"], m["of"]) for m in json.loads(manifest.read_text())["recall"]] == [(5, "queries"), (40, "queries")]
    assert {m["questions"] for m in json.loads(manifest.read_text())["recall"]} == {100}


def test_the_search_is_widened_until_it_is_good_enough_and_a_low_recall_is_warned(
    store: Embeddings, queries: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approximate, "NARROWEST", 10)
    monkeypatch.setattr(approximate, "ENOUGH", 1.1)
    monkeypatch.setattr(approximate, "WIDEST", 37)
    notes = Notes()
    find(queries, store, 10, NEAR, notes)
    assert "looking at 40 passages" in notes.text
    assert "--index exact" in notes.warned[0]


@settings(deadline=None, max_examples=60)
@given(tasks(), st.sampled_from(["auto", "i8", "bf16", "f16"]))
def test_whatever_the_vectors_lists_are_full_in_order_and_scored_exactly(task: tuple[Floats, Floats, int], kind: Any) -> None:
    queries, passages, k = task
    with tempfile.TemporaryDirectory() as folder:
        store = stored(Path(folder), passages)
        exact = top_k(queries, store, k)
        rows, scores = near_top_k(queries, store, k, lambda sample, wanted: top_k(sample, store, wanted), 1, kind=kind)
    assert (scores <= exact[1]).all()
    for query, found, values in zip(queries.tolist(), rows, scores, strict=True):
        assert len(set(found.tolist())) == k
        assert values.tolist() == [score(query, passages[row].tolist()) for row in found]
        assert sorted(zip(-values, found, strict=True)) == list(zip(-values, found, strict=True))


@pytest.mark.parametrize("kind", ["i8", "bf16", "f16"])
def test_a_search_as_wide_as_the_corpus_is_exact(tmp_path: Path, queries: Floats, kind: Any) -> None:
    store = stored(tmp_path, np.repeat(unit(np.random.default_rng(6), 30), 2, axis=0))
    for k in (1, 7, 60):
        found = near_top_k(queries, store, k, lambda sample, wanted: top_k(sample, store, wanted), 1, kind=kind)
        require_same(found, top_k(queries, store, k))


@pytest.mark.parametrize("kind", ["i8", "bf16", "f16"])
def test_every_kind_of_values(store: Embeddings, queries: Floats, kind: Any) -> None:
    exact = top_k(queries, store, 10)
    found = near_top_k(queries, store, 10, lambda sample, k: top_k(sample, store, k), 2, kind=kind)
    assert json.loads((near_index(store.folder) / "manifest.json").read_text())["dtype"] == kind
    assert np.mean(found[1] >= exact[1][:, -1:]) > 0.9


def test_lengths_that_differ_are_levelled(tmp_path: Path) -> None:
    """A long passage is the best for many queries, though it is nearest to none."""
    rng = np.random.default_rng(3)
    passages = (unit(rng, 2000) * rng.uniform(0.5, 3, (2000, 1))).astype(np.float32)
    store, queries = stored(tmp_path, passages, shard_rows=900), unit(rng, 100)
    found, exact = find(queries, store, 10, NEAR), top_k(queries, store, 10)
    manifest = json.loads((near_index(store.folder) / "manifest.json").read_text())
    assert manifest["levelled"]
    assert manifest["largest"] == pytest.approx(9, rel=0.01)
    assert np.mean(found[1] >= exact[1][:, -1:]) > 0.9


def test_the_length_of_a_query_changes_nothing(store: Embeddings, queries: Floats) -> None:
    first = find(queries, store, 10, NEAR)
    for factor in (2.0**-20, 2.0**10):
        found = find(queries * np.float32(factor), store, 10, NEAR)
        require_same((found[0], found[1] / np.float32(factor)), first)


def test_codes_of_8_bits_are_taken_only_where_they_keep_the_order() -> None:
    rng = np.random.default_rng(4)
    sample, queries = unit(rng, 500), unit(rng, 50)
    assert space_for(sample, queries, 1.0, 1.0, 10, "auto").kind == "i8"
    sample = np.concatenate([sample, np.zeros_like(sample)], axis=1)
    sample[:, 30] = np.where(rng.random(500) < 0.1, 1000, 0)  # leaves the codes nothing for the rest
    queries = np.concatenate([queries, np.zeros_like(queries)], axis=1)
    assert space_for(sample, queries, 1.0, 1e6, 10, "auto").kind == "bf16"
    with pytest.raises(UsageError, match="'i4'"):
        space_for(sample, queries, 1.0, 1.0, 10, "i4")  # type: ignore[arg-type]


def test_copies_of_a_passage_are_found_first_rows_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    passages = unit(rng, 1500)
    passages[700:1300] = passages[600]
    store = stored(tmp_path, passages, shard_rows=400)
    queries = np.concatenate([passages[600:601], unit(rng, 40)])
    rows, scores = find(queries, store, 50, NEAR)
    require_same((rows[:1], scores[:1]), tuple(part[:1] for part in top_k(queries, store, 50)))
    assert rows[0].tolist() == [600, *range(700, 749)]
    assert len(np.load(near_index(tmp_path) / "copies.npy")) == 600


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.booleans(), st.integers(1, 4))
def test_copies(kinds: list[int], colliding: bool, most: int) -> None:
    vectors = np.array([[kind, -kind, 0] for kind in kinds], dtype=np.float32)
    vectors[::2] *= np.float32([1, 1, -1])  # negative zeros are zeros
    found = np.zeros(len(kinds), dtype=np.uint64) if colliding else marks(vectors)
    first = {kind: kinds.index(kind) for kind in kinds}
    expected = sorted([first[kind], row] for row, kind in enumerate(kinds) if row != first[kind])
    if colliding:
        expected = [pair for pair in expected if pair[0] == 0]
    with tempfile.TemporaryDirectory() as folder:
        pairs = copies_of(stored(Path(folder), vectors), found)
    assert pairs.tolist() == expected
    alone = np.array(sorted(set(range(len(kinds))) - {row for _, row in expected}), dtype=np.uint32)
    of, rows = with_copies(pairs, alone, most)
    wanted = [(int(row), int(row)) for row in alone]
    wanted += [pair for row in alone for pair in [(int(row), later) for begin, later in expected if begin == row][:most]]
    assert [(int(alone[at]), int(row)) for at, row in zip(of, rows, strict=True)] == wanted


def test_the_index_of_other_embeddings_is_refused(store: Embeddings, queries: Floats, tmp_path_factory: pytest.TempPathFactory) -> None:
    find(queries, store, 5, NEAR)
    other = stored(tmp_path_factory.mktemp("other"), unit(np.random.default_rng(9), 3000), shard_rows=1024)
    near_index(store.folder).rename(near_index(other.folder))
    with pytest.raises(MismatchError, match="the index was made otherwise: embeddings is") as caught:
        find(queries, other, 5, NEAR)
    assert "remove the folder" in caught.value.hint


@pytest.mark.parametrize("name", graph.FILES)
def test_a_damaged_index_is_refused(store: Embeddings, queries: Floats, name: str) -> None:
    find(queries, store, 5, NEAR)
    path = near_index(store.folder) / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(MismatchError, match=f"{name} holds"):
        find(queries, store, 5, NEAR)
    path.unlink()
    with pytest.raises(MismatchError, match=f"{name} holds None"):
        find(queries, store, 5, NEAR)


def test_a_file_that_usearch_cannot_open_is_refused(store: Embeddings, queries: Floats) -> None:
    find(queries, store, 5, NEAR)
    path = near_index(store.folder) / "index.usearch"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(MismatchError, match="cannot open"):
        find(queries, store, 5, NEAR)


def test_an_interrupted_build_leaves_nothing_and_is_done_again(store: Embeddings, queries: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "_saved", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        find(queries, store, 5, NEAR)
    assert not [path for path in store.folder.iterdir() if "hnsw" in path.name]
    monkeypatch.undo()
    find(queries, store, 5, NEAR)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


BUILD = """
import sys, time
import numpy as np
from pathlib import Path
from umr.data.embeddings import Embeddings
from umr.mine import graph
from umr.progress import Silent
store = Embeddings(Path(sys.argv[1]), {}, 3000, 24, "f32", 1024)
saved = graph._saved
def slow(save, path):
    saved(save, path)
    print("written", flush=True)
    time.sleep(60)
graph._saved = slow
graph.build_graph(store, np.ones((1, 24), np.float32), 5, "i8", 1, Silent())
"""


def test_a_build_that_was_killed_is_done_again(store: Embeddings, queries: Floats) -> None:
    process = subprocess.Popen([sys.executable, "-c", BUILD, str(store.folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not near_index(store.folder).exists()
    assert graph.open_graph(store) is None
    found = find(queries, store, 5, NEAR)
    assert np.mean(found[1] >= top_k(queries, store, 5)[1][:, -1:]) > 0.9


def test_a_full_disk_is_said(store: Embeddings, queries: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __len__(self) -> int:
            return 1

        def add(self, *_: Any, **__: Any) -> None:
            pass

        def save(self, path: str) -> None:
            raise RuntimeError("Failed to write")

    monkeypatch.setattr(graph, "_empty", lambda *_: Full())
    with pytest.raises(StorageError, match="Failed to write"):
        find(queries, store, 5, NEAR)
    assert not near_index(store.folder).exists()


def test_a_query_whose_neighbours_are_too_few_is_searched_exactly(
    store: Embeddings, queries: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(queries, store, 10, NEAR)
    searched = approximate._searched

    def short(*arguments: Any) -> tuple[NDArray[np.uint32], Floats]:
        rows, scores = searched(*arguments)
        rows[3, 4:], scores[3, 4:] = 2**32 - 1, -np.inf
        return rows, scores

    monkeypatch.setattr(approximate, "_searched", short)
    notes = Notes()
    found = find(queries, store, 10, NEAR, notes)
    require_same(tuple(part[3:4] for part in found), top_k(queries[3:4], store, 10))
    assert "searching exactly for 1 queries" in notes.text


def test_only_some_passages_are_searched_exactly(store: Embeddings, queries: Floats) -> None:
    only = np.zeros(3000, dtype=bool)
    only[[5, 17, 2999]] = True
    rows, scores = find(queries, store, 5, NEAR, only=only)
    assert set(rows[:, :3].reshape(-1).tolist()) == {5, 17, 2999}
    assert (rows[:, 3:] == 2**32 - 1).all()
    assert np.isneginf(scores[:, 3:]).all()
    assert not near_index(store.folder).exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_named(store: Embeddings, queries: Floats, value: float) -> None:
    queries[7, 3] = value
    with pytest.raises(ScoreError, match="query row 7"):
        find(queries, store, 5, NEAR)
    np.load(store.path(1), mmap_mode="r+")[10, 2] = value
    with pytest.raises(ScoreError, match="passage row 1034"):
        find(queries[:5], store, 5, NEAR)


def test_more_than_the_corpus_is_refused(store: Embeddings, queries: Floats) -> None:
    with pytest.raises(InputError, match="only 3000 passages"):
        find(queries, store, 3001, NEAR)
    assert find(queries[:0], store, 5, NEAR)[0].shape == (0, 5)
