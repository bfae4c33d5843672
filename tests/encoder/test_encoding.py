"""Encoding: every text exactly once, restarts, and embeddings that are never another's."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from encoder.counting import Counting
from train.rig import MINE, encoder_config, opened
from umr.config import MineConfig
from umr.data.embeddings import Embeddings
from umr.data.workspace import Workspace
from umr.encoder import encode as encoding
from umr.encoder import rows as rows_of
from umr.encoder.encoder import DualEncoder, Encoder
from umr.encoder.load import load_encoder
from umr.errors import ScoreError, UsageError
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


def test_a_gpus_batches_are_as_wide_as_a_multiple_but_never_wider_than_the_longest_text(
    work: Workspace, tower: DualEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = rows_of.token_store(work.passages, tower.passage, "passage", work.layout, Silent())
    rows = np.arange(13, dtype=np.uint32)
    plain = encoding.encode_rows(tower.passage, tokens, rows, 64)
    monkeypatch.setitem(rows_of.MULTIPLE, "cpu", 8)
    batches = list(rows_of.token_batches(tower.passage, tokens, rows, 64))
    assert sorted(np.concatenate([places for places, *_ in batches]).tolist()) == rows.tolist()
    longest = int(tokens.lengths(rows).max())
    assert {ids.shape[1] for _, ids, _ in batches} <= {*range(8, longest, 8), longest}
    for places, ids, mask in batches:
        assert mask.sum(1).tolist() == tokens.lengths(rows[places]).tolist()
        assert bool((ids[mask == 0] == tower.passage.pad).all())
        assert ids.numel() <= 64 or len(ids) == 1
    np.testing.assert_allclose(encoding.encode_rows(tower.passage, tokens, rows, 64), plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("budget", [16, 64, 1 << 14])
def test_tokens_are_counted_with_the_padding_of_the_batches(work: Workspace, tower: DualEncoder, budget: int) -> None:
    tokens = rows_of.token_store(work.passages, tower.passage, "passage", work.layout, Silent())
    for rows in (np.arange(13, dtype=np.uint32), np.array([5], dtype=np.uint32), np.empty(0, dtype=np.uint32)):
        made = sum(ids.numel() for _, ids, _ in rows_of.token_batches(tower.passage, tokens, rows, budget))
        assert rows_of.padded_tokens(tower.passage, tokens, rows, budget) == made


def replace_model(own: Encoder) -> Encoder:
    """The same encoder, whose model has a table of numbers that are no weights."""
    model = copy.deepcopy(own.model)
    model.register_buffer("table", torch.rand(3))
    return Encoder(model, own.tokenizer, own.settings, own.fingerprint)


def test_weights_that_are_cast_once_give_nearly_the_same_vectors(work: Workspace, tower: DualEncoder) -> None:
    tokens = rows_of.token_store(work.passages, tower.passage, "passage", work.layout, Silent())
    rows, own = np.arange(13, dtype=np.uint32), tower.passage
    single = encoding.encode_rows(own, tokens, rows, 512)
    for forward in (own.inference("bf16"), own.halved()):
        half = encoding.encode_rows(own, tokens, rows, 512, None, forward)
        assert half.dtype == np.float32
        assert not np.array_equal(half, single)
        assert (half * single).sum(1).min() > 0.99
    with_table = replace_model(own)
    half = with_table.halved()
    assert torch.equal(half.model.get_buffer("table"), with_table.model.get_buffer("table")), "positions are not rounded"
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    assert own.inference("fp32") is own
    assert all(parameter.dtype == torch.float32 for parameter in own.parameters()), "the encoder itself is as it was"


@pytest.mark.parametrize("room", [16, 40, 64])
def test_where_memory_runs_out_the_batches_are_halved(
    work: Workspace, tower: DualEncoder, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    real, notes = encoding.encode_rows, tiny.Talk()

    def small(own: Any, tokens: Any, rows: Any, budget: int, *rest: Any) -> Any:
        if budget > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.00 GiB free. Advice")
        return real(own, tokens, rows, budget, *rest)

    monkeypatch.setattr(encoding, "encode_rows", small)
    config = replace(MINE, batch_tokens=256, shard_rows=13)
    rows = np.arange(13, dtype=np.uint32)
    tokens = rows_of.token_store(work.passages, tower.passage, "passage", work.layout, notes)
    longest = int(tokens.lengths(rows).max())
    if longest > 2 * room:
        said = rf"one text of {longest} tokens does not fit into memory: CUDA out of memory\. .* GPU 0 has 1\.00 GiB free\n"
        with pytest.raises(UsageError, match=said):
            encoding.encode(work.passages, tower, "passage", work.layout, config, notes)
        return
    store = encoding.encode(work.passages, tower, "passage", work.layout, config, notes)
    assert notes.warned[0] == "out of memory in a forward pass of at most 256 tokens: going on with 128"
    np.testing.assert_allclose(store.read(), real(tower.passage, tokens, rows, 512), rtol=1e-5, atol=1e-6)


def test_an_error_of_another_kind_is_not_taken_for_a_lack_of_memory(
    work: Workspace, tower: DualEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a device-side assert")

    monkeypatch.setattr(encoding, "encode_rows", broken)
    with pytest.raises(RuntimeError, match="device-side"):
        encoding.encode(work.passages, tower, "passage", work.layout, MINE, Silent())


@pytest.mark.parametrize(("free", "tokens"), [(1 << 38, 131072), (1 << 26, 13107), (1, 1024)])
def test_a_gpus_forward_pass_follows_its_free_memory(monkeypatch: pytest.MonkeyPatch, free: int, tokens: int) -> None:
    monkeypatch.setattr(rows_of, "free_memory", lambda _: free)
    encoder = SimpleNamespace(device=torch.device("cuda"), dimensions=32)
    assert rows_of.tokens_of_a_pass(None, encoder) == tokens  # type: ignore[arg-type]
    assert rows_of.tokens_of_a_pass(99, encoder) == 99  # type: ignore[arg-type]
    assert rows_of.tokens_of_a_pass(None, SimpleNamespace(device=torch.device("cpu"), dimensions=32)) == 16384  # type: ignore[arg-type]
