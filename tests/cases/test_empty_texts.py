"""Empty texts: a zero vector, and never a candidate, whatever the tokenizer, the pooling and the size of the batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
import umr
from cases.folders import ours
from umr.config import EncoderConfig, MineConfig, TrainConfig
from umr.data.workspace import Workspace, create_workspace
from umr.progress import Silent

TEXTS = ["the river city", "", "old bridge king", " \n", "the mountain song"]
EMPTY = [1, 3]
POOLINGS: tuple[Any, ...] = ("mean", "cls", "last")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An encoder whose tokenizer adds no special token, and one whose does."""
    folder = tmp_path_factory.mktemp("models")
    return {"gpt2": tiny.gpt2(folder / "gpt2"), "bert": tiny.encoder(folder / "bert")}


def config(model: Path, **options: Any) -> EncoderConfig:
    return EncoderConfig(model=str(model), **({"pooling": "last", "similarity": "dot", "query_length": 32, "passage_length": 32} | options))


def work(folder: Path, encoder: EncoderConfig, texts: list[str] = TEXTS, queries: tuple[str, ...] = ("river", "king")) -> Workspace:
    folder.mkdir()
    passages, asked = folder / "p.jsonl", folder / "q.jsonl"
    passages.write_text("".join(json.dumps({"id": f"p{i}", "text": text}) + "\n" for i, text in enumerate(texts)))
    asked.write_text("".join(json.dumps({"id": f"q{i}", "text": text, "lang": "en"}) + "\n" for i, text in enumerate(queries)))
    return create_workspace(folder / "work", [str(passages)], [str(asked)], encoder)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_the_vector_is_zero(models: dict[str, Path], tmp_path: Path, name: str, pooling: Any, similarity: Any) -> None:
    encoder = umr.load_encoder(config(models[name], pooling=pooling, similarity=similarity, passage_prefix="x "))
    found = ours(encoder, "passage", tmp_path / "all", TEXTS)
    assert not found[EMPTY].any()
    assert found[[0, 2, 4]].any(axis=1).all()
    assert not ours(encoder, "passage", tmp_path / "empty", ["", " "]).any()


@pytest.mark.parametrize("index", ["exact", "hnsw"])
@pytest.mark.parametrize("centre", ["off", "global"])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_an_empty_passage_is_never_a_candidate(
    models: dict[str, Path], tmp_path: Path, name: str, pooling: Any, centre: Any, index: Any
) -> None:
    space = work(tmp_path / "w", config(models[name], pooling=pooling), [*TEXTS, *(f"the old stone {i}" for i in range(20))])
    for batch in (8, 16384):
        found = umr.mine(space, MineConfig(top_k=24, batch_tokens=batch, centre=centre, index=index, device="cpu"), force=True)
        rows = found.rows[found.present]
        assert not np.isin(rows, EMPTY).any()
        assert found.present.sum(axis=1).tolist() == [23, 23]
        assert np.isfinite(found.scores[found.present]).all()
    hits = umr.search(space, "river", k=25, device="cpu", reporter=Silent())
    assert len(hits) == 23
    assert not {hit.passage_id for hit in hits} & {"p1", "p3"}


def test_passages_that_are_all_empty(models: dict[str, Path], tmp_path: Path) -> None:
    space = work(tmp_path / "w", config(models["gpt2"]), ["", " ", ""])
    found = umr.mine(space, MineConfig(top_k=2, device="cpu"))
    assert not found.present.any()


def test_a_query_without_a_token_finds_nothing(models: dict[str, Path], tmp_path: Path) -> None:
    space = work(tmp_path / "w", config(models["gpt2"], strip_question_mark=True), queries=("river", "?"))
    found = umr.mine(space, MineConfig(top_k=2, device="cpu"))
    assert found.present.sum(axis=1).tolist() == [2, 0]


def test_training_beside_empty_passages(models: dict[str, Path], tmp_path: Path) -> None:
    from train.rig import labelled

    space = work(tmp_path / "w", config(models["gpt2"]), queries=("river", "king", "the song", "bridge"))
    labelled(space, mining=MineConfig(top_k=3, device="cpu"))
    umr.train(space, TrainConfig(epochs=1, batch_size=2, passages_per_query=2, held_out=0, device="cpu"))
    assert umr.load_encoder(space.encoder_of(1)).query.dimensions == 32
