"""What umr writes gives the same vectors through every door of sentence-transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny
import umr
from cases.folders import TEXTS, ours, sentence_transformer, theirs
from umr.config import EncoderConfig
from umr.encoder.export import save_encoder


@pytest.fixture(scope="module", params=["tied", "untied"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, umr.DualEncoder]:
    """The folders that encode queries and passages, and the encoder that was saved."""
    folder = tmp_path_factory.mktemp("saved")
    config = EncoderConfig(
        model=str(tiny.encoder(folder / "a", seed=1)), pooling="mean", similarity="cosine",
        query_prefix="query: ", passage_prefix="passage: ",
    )  # fmt: skip
    if request.param == "untied":
        config = replace(config, passage_model=str(tiny.encoder(folder / "b", seed=2)))
    encoder = umr.load_encoder(config)
    save_encoder(encoder, folder / "saved")
    places = [folder / "saved" / side if request.param == "untied" else folder / "saved" for side in ("query", "passage")]
    return places[0], places[1], encoder


def test_every_door_of_queries(saved: tuple[Path, Path, umr.DualEncoder], tmp_path: Path) -> None:
    folder, _, encoder = saved
    model, expected = sentence_transformer(folder), ours(encoder, "query", tmp_path)
    doors = [model.encode_query(TEXTS), model.encode(TEXTS, prompt_name="query"), model.encode([f"query: {text}" for text in TEXTS])]
    for found in [*doors, ours(folder.parent if folder.name == "query" else folder, "query", tmp_path / "again")]:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_every_door_of_passages(saved: tuple[Path, Path, umr.DualEncoder], tmp_path: Path) -> None:
    _, folder, encoder = saved
    model, expected = sentence_transformer(folder), ours(encoder, "passage", tmp_path)
    named = [model.encode(TEXTS, prompt_name=name) for name in ("passage", "document")]
    doors = [model.encode_document(TEXTS), *named, model.encode([f"passage: {text}" for text in TEXTS])]
    for found in [*doors, ours(folder.parent if folder.name == "passage" else folder, "passage", tmp_path / "again")]:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_query_that_is_longer_than_queries_may_be(tmp_path: Path) -> None:
    """The file of sentence-transformers 5 has one length: sides of two lengths are two folders."""
    model = tiny.encoder(tmp_path / "model")
    encoder = umr.load_encoder(EncoderConfig(model=str(model), pooling="mean", similarity="cosine", query_length=8, passage_length=30))
    save_encoder(encoder, tmp_path / "saved")
    for side in ("query", "passage"):
        found = theirs(tmp_path / "saved" / side, side)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, ours(encoder, side, tmp_path / side), rtol=1e-4, atol=1e-5)  # type: ignore[arg-type]
    again = umr.load_encoder(EncoderConfig(model=str(tmp_path / "saved")))
    assert again.tied
    assert (again.query.settings.query_length, again.query.settings.passage_length) == (8, 30)


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_files_are_as_readable_as_the_user_wants(tmp_path: Path, mask: int) -> None:
    import os

    encoder = umr.load_encoder(EncoderConfig(model=str(tiny.encoder(tmp_path / "model")), pooling="mean", similarity="cosine"))
    old = os.umask(mask)
    try:
        save_encoder(encoder, tmp_path / "saved")
    finally:
        os.umask(old)
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "saved").rglob("*") if file.is_file()}
    assert "model.safetensors" in modes
    assert set(modes.values()) == {0o666 & ~mask}
