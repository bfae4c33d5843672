"""Encoding: every text exactly once, restarts, and embeddings that are never another's."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from encoder.counting import Counting
from train.rig import MINE, encoder_config, opened
from umr.config import MineConfig
from umr.data.embeddings import Embeddings
from umr.data.workspace import Workspace
from umr.encoder import encode as encoding
from umr.encoder.encoder import DualEncoder
from umr.encoder.load import load_encoder
from umr.errors import ScoreError
from umr.progress import Silent


@pytest.fixture
def work(tmp_path: Path, bert: Path) -> Workspace:
    return opened(tmp_path / "work", tiny.tiny_corpus(tmp_path / "data", 13, 7), encoder_config(bert))


@pytest.mark.parametrize("shard_rows", [1, 2, 5, 6, 7, 1000])
@pytest.mark.parametrize("n", [1, 2, 5, 6, 7, 13])
def test_every_passage_is_encoded_exactly_once(
    tower: DualEncoder, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int, shard_rows: int
) -> None:
    counting = Counting()
    monkeypatch.setattr(encoding, "encode_rows", counting)
    work = opened(tmp_path / "work", tiny.tiny_corpus(tmp_path / "data", n, 2), encoder_config(bert))
    store = encoding.encode(work.passages, tower, "passage", work.layout, replace(MINE, shard_rows=shard_rows), Silent())
    assert sorted(counting.rows) == list(range(n))
    np.testing.assert_array_equal(store.read(), Counting()(None, None, np.arange(n, dtype=np.uint32)))
    assert sum(rows for _, _, rows in store.mapped()) == n
    picked = np.array([n - 1, 0, n // 2, n - 1], dtype=np.uint32)
    np.testing.assert_array_equal(store.read(picked), store.read()[picked])


@pytest.mark.parametrize("die_at", [0, 5, 12])
def test_killed_between_shards_it_continues_and_no_row_is_encoded_twice(
    work: Workspace, tower: DualEncoder, monkeypatch: pytest.MonkeyPatch, die_at: int
) -> None:
    first, second = Counting(die_at=die_at), Counting()
    monkeypatch.setattr(encoding, "encode_rows", first)
    with pytest.raises(KeyboardInterrupt):
        encoding.encode(work.passages, tower, "passage", work.layout, MINE, Silent())
    assert first.rows == list(range(die_at // 5 * 5))
    monkeypatch.setattr(encoding, "encode_rows", second)
    store = encoding.encode(work.passages, tower, "passage", work.layout, MINE, Silent())
    assert first.rows + second.rows == list(range(13))
    np.testing.assert_array_equal(store.read(), Counting()(None, None, np.arange(13, dtype=np.uint32)))


def test_batches_of_any_size_give_the_vectors_of_one_text_at_a_time(work: Workspace, tower: DualEncoder) -> None:
    tokens = encoding.token_store(work.passages, tower.passage, "passage", work.layout, Silent())
    rows = np.random.default_rng(1).permutation(13).astype(np.uint32)
    one = np.concatenate([encoding.encode_rows(tower.passage, tokens, rows[i : i + 1], 512) for i in range(13)])
    for budget in (1, 64, 100_000):
        np.testing.assert_allclose(encoding.encode_rows(tower.passage, tokens, rows, budget), one, rtol=1e-5, atol=1e-6)


def test_no_embeddings_are_read_that_another_encoder_or_setting_made(work: Workspace, bert: Path, tmp_path: Path) -> None:
    def folder(config: MineConfig = MINE, **options: Any) -> str:
        model = options.pop("model", bert)
        encoder = load_encoder(encoder_config(model, **options))
        return encoding.encode(work.passages, encoder, "passage", work.layout, config, Silent()).folder.name

    moved = Path(shutil.copytree(bert, tmp_path / "renamed"))
    other = tiny.encoder(tmp_path / "other", seed=1)
    plain = folder()
    different = [
        folder(model=other), folder(passage_prefix="passage: "), folder(passage_length=9), folder(pooling="cls"), folder(similarity="dot"),
        folder(title="pair"), folder(title="none"), folder(replace(MINE, precision="bf16")),
        folder(replace(MINE, store="f16")), folder(replace(MINE, shard_rows=3)),
    ]  # fmt: skip
    assert len({plain, *different}) == 11
    assert folder(model=moved) == folder(query_prefix="query: ") == folder(replace(MINE, batch_tokens=99, top_k=2)) == plain
    queries = encoding.encode(work.queries.records, load_encoder(encoder_config(bert)), "query", work.layout, MINE, Silent())
    assert queries.folder.name not in {plain, *different}


def test_values_beyond_half_precision_are_refused_before_they_are_written(tmp_path: Path) -> None:
    store = Embeddings(tmp_path, {}, 2, 3, "f16", 10)
    vectors = np.array([[1, 2, 3], [1, 7e4, 3]], dtype=np.float32)
    with pytest.raises(ScoreError, match="row 1 has values beyond f16") as caught, Silent().bar("", 2, "") as bar:
        store.fill(lambda rows: vectors[rows], bar)
    assert "f32" in caught.value.hint
    assert not store.path(0).exists()
