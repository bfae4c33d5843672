"""The approximate index: exact scores, lists that are full, and a recall that is measured."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from usearch.index import Index

from reference.scoring import score
from search.rig import Floats, require_same, stored, tasks, unit
from train.rig import Notes, contents
from umr.config import MineConfig
from umr.data.embeddings import Embeddings
from umr.layout import near_index
from umr.search import find, hnsw, space
from umr.search.exact import top_k
from umr.search.hnsw import hnsw_top_k

NEAR = MineConfig(index="hnsw", device="cpu", threads=2)


def never(sample: Floats, k: int) -> Any:
    raise AssertionError("the exact search was asked")


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
    monkeypatch.setattr(hnsw, "build_graph", None)
    notes = Notes()
    require_same(hnsw_top_k(queries, store, 10, never, 1, notes), first)
    assert "recall@10" in notes.text
    one = hnsw_top_k(queries[:1], store, 3, never)
    assert one[0].tolist() == first[0][:1, :3].tolist()
    assert contents(near_index(store.folder)) == before


def test_longer_lists_are_measured_anew_and_kept(store: Embeddings, queries: Floats) -> None:
    find(queries[:2], store, 5, NEAR)
    manifest = near_index(store.folder) / "manifest.json"
    assert [(m["k"], m["of"]) for m in json.loads(manifest.read_text())["recall"]] == [(5, "passages")]
    find(queries, store, 5, NEAR)
    find(queries, store, 40, NEAR)
    assert [(m["k"], m["of"]) for m in json.loads(manifest.read_text())["recall"]] == [(5, "queries"), (40, "queries")]
    assert {m["queries"] for m in json.loads(manifest.read_text())["recall"]} == {100}


def test_the_search_is_widened_until_it_is_good_enough_and_a_low_recall_is_warned(
    store: Embeddings, queries: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hnsw, "LEAST_EXPANSION", 10)
    monkeypatch.setattr(hnsw, "ENOUGH_RECALL", 1.1)
    monkeypatch.setattr(hnsw, "MOST_EXPANSION", 37)
    notes = Notes()
    find(queries, store, 10, NEAR, notes)
    assert "looking at 40 passages" in notes.text
    assert "--index exact" in notes.warned[0]


@pytest.fixture(params=["i8", "bf16"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The kind of the stored values, whatever keeps the order."""
    monkeypatch.setattr(space, "LEAST_RECALL", 0.0 if request.param == "i8" else 2.0)
    return str(request.param)


@settings(deadline=None, max_examples=60)
@given(tasks(), st.sampled_from([0.0, space.LEAST_RECALL, 2.0]))
def test_whatever_the_vectors_lists_are_full_in_order_and_scored_exactly(task: tuple[Floats, Floats, int], recall: float) -> None:
    queries, passages, k = task
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(space, "LEAST_RECALL", recall):
        store = stored(Path(folder), passages)
        exact = top_k(queries, store, k)
        rows, scores = hnsw_top_k(queries, store, k, lambda sample, wanted: top_k(sample, store, wanted), 1)
    assert (scores <= exact[1]).all()
    for query, found, values in zip(queries.tolist(), rows, scores, strict=True):
        assert len(set(found.tolist())) == k
        assert values.tolist() == [score(query, passages[row].tolist()) for row in found]
        assert sorted(zip(-values, found, strict=True)) == list(zip(-values, found, strict=True))


@pytest.mark.usefixtures("kind")
def test_a_search_as_wide_as_the_corpus_is_exact(tmp_path: Path, queries: Floats) -> None:
    store = stored(tmp_path, np.repeat(unit(np.random.default_rng(6), 30), 2, axis=0))
    for k in (1, 7, 60):
        found = hnsw_top_k(queries, store, k, lambda sample, wanted: top_k(sample, store, wanted), 1)
        require_same(found, top_k(queries, store, k))


def test_every_kind_of_values(store: Embeddings, queries: Floats, kind: str) -> None:
    exact = top_k(queries, store, 10)
    found = hnsw_top_k(queries, store, 10, lambda sample, k: top_k(sample, store, k), 2)
    assert json.loads((near_index(store.folder) / "manifest.json").read_text())["dtype"] == kind
    assert np.mean(found[1] >= exact[1][:, -1:]) > 0.9


def test_the_length_of_a_query_changes_nothing(store: Embeddings, queries: Floats) -> None:
    first = find(queries, store, 10, NEAR)
    for factor in (2.0**-20, 2.0**10):
        found = find(queries * np.float32(factor), store, 10, NEAR)
        require_same((found[0], found[1] / np.float32(factor)), first)


def test_passages_of_one_vector_are_all_found_first_rows_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    passages = unit(rng, 1500)
    passages[700:1300] = passages[600]
    store = stored(tmp_path, passages, shard_rows=400)
    queries = np.concatenate([passages[600:601], unit(rng, 40)])
    rows, scores = find(queries, store, 50, NEAR)
    require_same((rows[:1], scores[:1]), tuple(part[:1] for part in top_k(queries, store, 50)))
    assert rows[0].tolist() == [600, *range(700, 749)]
    assert len(np.load(near_index(tmp_path) / "equal.npy")) == 600


def test_a_query_whose_neighbours_are_too_few_is_searched_exactly(
    store: Embeddings, queries: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(queries, store, 10, NEAR)
    search = Index.search

    def short(*arguments: Any, **options: Any) -> Any:
        found = search(*arguments, **options)
        found.counts[3] = 4
        return found

    monkeypatch.setattr(Index, "search", short)
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
