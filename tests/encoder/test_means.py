"""Means and centred vectors beside their slow twin, on disk, and in exported encoders that sentence-transformers loads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import tiny
from reference import centring as slow
from train.rig import encoder_config, opened
from umr.config import EncoderConfig, MineConfig
from umr.data.workspace import Workspace
from umr.encoder.centre import means_for, passage_vectors, query_vectors
from umr.encoder.encoder import DualEncoder
from umr.encoder.export import save_encoder
from umr.encoder.load import load_encoder
from umr.encoder.means import FEWEST, SHRINK, Means, SideMeans, centred, estimate, filled, read_means, whitening_of, write_means
from umr.errors import FormatError, MismatchError, UsageError
from umr.progress import Silent

Vectors = NDArray[np.float32]
CODES = ("en", "de", "", "zh")  # in no order
CENTRED = MineConfig(centre="global", batch_tokens=256, shard_rows=50)


def drawn(seed: int, rows: int, dimensions: int = 5) -> Vectors:
    return (np.random.default_rng(seed).normal(0.3, 1.0, (rows, dimensions))).astype(np.float32)


def numbered(vectors: Vectors, langs: Sequence[str]) -> tuple[Vectors, NDArray[np.int32]]:
    """Vectors and the places of their languages."""
    return vectors, np.array([CODES.index(lang) for lang in langs], dtype=np.int32)


@given(st.lists(st.sampled_from(CODES), min_size=1, max_size=80), st.booleans(), st.booleans(), st.integers(0, 99))
def test_centring_is_that_of_the_definition(langs: list[str], by_language: bool, normalise: bool, seed: int) -> None:
    vectors = drawn(seed, len(langs))
    means = estimate([numbered(vectors, langs) if by_language else (vectors, None)], 5, CODES if by_language else ())
    found = centred(vectors, means.table, means.groups(langs), normalise)
    wanted = slow.centre_all(vectors.tolist(), langs, FEWEST if by_language else None, normalise)
    lengths = np.linalg.norm(vectors - means.table[means.groups(langs)], axis=1)
    sure = lengths > 1e-3  # a vector that is nearly its own mean has no direction to agree on
    np.testing.assert_allclose(found[sure], np.array(wanted)[sure], atol=2e-4, rtol=1e-4)
    assert np.isfinite(found).all()
    if normalise:
        np.testing.assert_allclose(np.linalg.norm(found[sure], axis=1), 1, rtol=1e-6)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 99))
def test_blocks_of_any_size_give_the_same_means(sizes: list[int], seed: int) -> None:
    vectors = drawn(seed, sum(sizes))
    langs = [("en", "de")[i % 2] for i in range(len(vectors))]
    ends = np.cumsum(sizes)
    blocks = [numbered(vectors[e - s : e], langs[e - s : e]) for s, e in zip(sizes, ends, strict=True)]
    whole, parts = estimate([numbered(vectors, langs)], 5, CODES), estimate(blocks, 5, CODES)
    assert whole.langs == parts.langs
    np.testing.assert_allclose(parts.table, whole.table, rtol=1e-6, atol=1e-7)


def test_few_texts_have_no_mean_of_their_own() -> None:
    langs = ["en"] * FEWEST + ["de"] * (FEWEST - 1)
    means = estimate([numbered(drawn(0, len(langs)), langs)], 5, CODES)
    assert means.langs == ("en",)
    assert means.groups(["de", "en", "xx"]).tolist() == [0, 1, 0]


@given(st.sets(st.sampled_from(["ar", "de", "en", "zh"])), st.sets(st.sampled_from(["ar", "de", "en", "zh"])), st.integers(0, 99))
def test_a_language_of_the_other_side_alone_gets_its_mean_moved(own: set[str], other: set[str], seed: int) -> None:
    sides = [SideMeans(drawn(seed + n, 1 + len(langs)), tuple(sorted(langs))) for n, langs in enumerate((own, other))]
    found = filled(*sides)
    tables = [dict(zip(side.langs, side.table[1:].tolist(), strict=True)) for side in sides]
    wanted = slow.filled(*tables, *(side.table[0].tolist() for side in sides))
    assert found.langs == tuple(sorted(own | other))
    np.testing.assert_allclose(found.table[1:], np.array([wanted[lang] for lang in found.langs]).reshape(-1, 5), atol=1e-6)
    assert (found.table[0] == sides[0].table[0]).all()
    for lang in own:
        assert (found.table[found.groups([lang])] == sides[0].table[sides[0].groups([lang])]).all(), "what a side has it keeps"


@given(st.integers(2, 60), st.sampled_from([1.0, 0.5]), st.integers(0, 99))
@settings(deadline=None)
def test_whitening_is_that_of_the_definition(rows: int, strength: float, seed: int) -> None:
    vectors = drawn(seed, rows) * np.array([1, 2, 0.5, 1, 3], dtype=np.float32)
    few, many = vectors[:1], vectors[1:]
    found = whitening_of([[few], [many[: rows // 2], many[rows // 2 :]]], 5, strength)
    np.testing.assert_allclose(found, slow.whiten([few.tolist(), many.tolist()], SHRINK, strength), rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(found, found.T)
    before, after = (
        sum(float((v.astype(np.float64) ** 2).sum(1).mean()) for v in pair) for pair in ((few, many), (few @ found, many @ found))
    )
    assert after == pytest.approx(before, rel=1e-3), "the sum of the variances stays"


def test_whole_whitening_makes_variances_alike_and_none_of_zeros_is_not_a_number() -> None:
    vectors = drawn(1, 4000) * np.array([1, 2, 0.5, 1, 3], dtype=np.float32)
    spread = (vectors @ whitening_of([[vectors]], 5, 1.0)).var(axis=0)
    assert spread.max() / spread.min() < vectors.var(axis=0).max() / vectors.var(axis=0).min() / 3
    assert np.isfinite(whitening_of([[np.zeros((20, 5), dtype=np.float32)]], 5, 1.0)).all()


def test_centred_vectors_are_whitened_before_their_length_is_made_1() -> None:
    vectors, table, matrix = drawn(0, 7), drawn(1, 1), whitening_of([[drawn(2, 30)]], 5, 1.0)
    moved = (vectors - table) @ matrix
    places = np.zeros(7, dtype=np.int64)
    np.testing.assert_allclose(centred(vectors, table, places, False, matrix), moved, rtol=1e-4, atol=1e-6)
    wanted = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    np.testing.assert_allclose(centred(vectors, table, places, True, matrix), wanted, rtol=1e-4, atol=1e-6)


def test_whitening_needs_centring() -> None:
    with pytest.raises(UsageError, match=r"whiten is 0\.5, but centre is off"):
        MineConfig(whiten=0.5)


def test_a_vector_that_is_its_mean_becomes_zero_not_nan() -> None:
    same = np.full((20, 4), 0.5, dtype=np.float32)
    found = centred(same, estimate([(same, None)], 4).table, np.zeros(20, dtype=np.int64), True)
    np.testing.assert_array_equal(found, 0)


def made(centre: Any = "language", normalise: bool = True, whitening: Vectors | None = None) -> Means:
    table = drawn(3, 3)
    if whitening is not None:
        return replace(made(centre, normalise), whitening=whitening)
    if centre == "global":
        return Means(centre, normalise, SideMeans(table[:1]), SideMeans(table[1:2]), {"centre": centre})
    return Means(centre, normalise, SideMeans(table, ("de", "en")), SideMeans(table[:2], ("zh",)), {"centre": centre, "passages": "x"})


@pytest.mark.parametrize("whitening", [None, np.eye(5, dtype=np.float32)], ids=["plain", "whitened"])
@pytest.mark.parametrize("centre", ["global", "language"])
def test_means_come_back_as_they_were_written(tmp_path: Path, centre: str, whitening: Vectors | None) -> None:
    means = made(centre, whitening=whitening)
    write_means(tmp_path / "means.safetensors", means)
    again = read_means(tmp_path / "means.safetensors")
    assert again.fingerprint == means.fingerprint
    assert (again.centre, again.normalise, dict(again.made_from)) == (means.centre, means.normalise, dict(means.made_from))
    for side in (means.passages, means.queries), (again.passages, again.queries):
        assert [s.langs for s in side] == [means.passages.langs, means.queries.langs]
    np.testing.assert_array_equal(again.passages.table, means.passages.table)
    np.testing.assert_array_equal(again.queries.table, means.queries.table)
    np.testing.assert_array_equal(again.whitening, whitening)


@pytest.mark.parametrize("spoil", ["torn", "other", "empty", "languages"])
def test_a_file_that_is_not_of_means_is_refused(tmp_path: Path, spoil: str) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "means.safetensors"
    write_means(path, made())
    if spoil == "torn":
        path.write_bytes(path.read_bytes()[:-8])
    elif spoil == "empty":
        path.write_bytes(b"")
    elif spoil == "other":
        save_file({"a": drawn(0, 2)}, path)
    else:
        write_means(path, replace(made(), passages=SideMeans(drawn(0, 2), ("en", "de", "zh"))))
    with pytest.raises(FormatError, match=r"means\.safetensors: not a file of means") as caught:
        read_means(path)
    assert caught.value.hint


# ---------------------------------------------------------------- exported


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return tiny.encoder(folder / "one", seed=1), tiny.encoder(folder / "two", seed=2)


def work_of(folder: Path, config: EncoderConfig) -> Workspace:
    return opened(folder / "work", tiny.tiny_corpus(folder / "data", 60, 54, langs=("en", "zh", "ru")), config)


def vectors_of(work: Workspace, encoder: DualEncoder, config: MineConfig) -> tuple[Vectors, Vectors]:
    """Query and passage vectors as mining gets them."""
    means = means_for(work.passages, work.queries, encoder, work.layout, config, Silent())
    stored = passage_vectors(work.passages, encoder, work.layout, config, Silent(), means)
    return query_vectors(work.queries, encoder, work.layout, config, Silent(), means), stored.read()


def texts_of(work: Workspace) -> dict[str, list[str]]:
    rows = np.arange(len(work.passages), dtype=np.uint32)
    return {"query": work.queries.texts(), "passage": [f"{t} {text}" if t else text for t, text in work.passages.texts(rows)]}


def theirs(folder: Path, prompt: str, texts: Sequence[str]) -> Vectors:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    return np.asarray(model.encode(list(texts), prompt_name=prompt, batch_size=7, show_progress_bar=False))


@pytest.mark.parametrize("whiten", [0.0, 0.5])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("two", [False, True], ids=["tied", "untied"])
def test_sentence_transformers_gives_the_globally_centred_vectors(
    models: tuple[Path, Path], tmp_path: Path, two: bool, similarity: Any, whiten: float
) -> None:
    asked = replace(CENTRED, whiten=whiten)
    other = str(models[1]) if two else None
    config = encoder_config(models[0], passage_model=other, similarity=similarity, query_prefix="query: ", passage_prefix="passage: ")
    work, encoder = work_of(tmp_path, config), load_encoder(config)
    means = means_for(work.passages, work.queries, encoder, work.layout, asked, Silent())
    save_encoder(replace(encoder, means=means), tmp_path / "saved")
    assert sorted(p.name for p in (tmp_path / "saved").iterdir()) == ["passage", "query"]
    found = dict(zip(("query", "passage"), vectors_of(work, encoder, asked), strict=True))
    for side, texts in texts_of(work).items():
        np.testing.assert_allclose(
            theirs(tmp_path / "saved" / side, side, texts), found[side], rtol=1e-4 if whiten else 1e-5, atol=2e-5 if whiten else 2e-6
        )
    raw = vectors_of(work, encoder, replace(CENTRED, centre="off"))
    assert np.abs(raw[1] - found["passage"]).max() > 0.05
    if similarity == "dot" and not whiten:
        np.testing.assert_allclose(found["passage"], raw[1] - raw[1].mean(0), atol=1e-5)


@pytest.mark.parametrize("whiten", [0.0, 0.5])
@pytest.mark.parametrize("centre", ["global", "language"])
def test_an_encoder_brings_its_means_along(models: tuple[Path, Path], tmp_path: Path, centre: Any, whiten: float) -> None:
    """Loaded again it is tied as before and centred with the same means, whether or not centring is asked for."""
    config, asked = encoder_config(models[0]), replace(CENTRED, centre=centre, whiten=whiten)
    work, encoder = work_of(tmp_path, config), load_encoder(config)
    means = means_for(work.passages, work.queries, encoder, work.layout, asked, Silent())
    assert means is not None
    save_encoder(replace(encoder, means=means), tmp_path / "saved")
    again = load_encoder(EncoderConfig(model=str(tmp_path / "saved")))
    assert again.tied
    assert again.query.fingerprint == encoder.query.fingerprint
    assert again.query.settings == encoder.query.settings
    wanted = vectors_of(work, encoder, asked)
    other = replace(asked, whiten=0.25)
    changed = means_for(work.passages, work.queries, again, work.layout, other, Silent())
    assert changed is not None
    assert changed.fingerprint != means.fingerprint, "another strength is estimated anew"
    for again_asked in (asked, replace(asked, centre="off", whiten=0.0)):
        for found, side in zip(vectors_of(work, again, again_asked), wanted, strict=True):
            np.testing.assert_array_equal(found, side)


def test_by_language_other_libraries_give_the_vectors_before_centring(models: tuple[Path, Path], tmp_path: Path) -> None:
    config, asked = encoder_config(models[0]), replace(CENTRED, centre="language")
    work, encoder = work_of(tmp_path, config), load_encoder(config)
    means = means_for(work.passages, work.queries, encoder, work.layout, asked, Silent())
    save_encoder(replace(encoder, means=means), tmp_path / "saved")
    raw = vectors_of(work, encoder, replace(CENTRED, centre="off"))[1]
    np.testing.assert_allclose(theirs(tmp_path / "saved", "passage", texts_of(work)["passage"]), raw, rtol=1e-5, atol=2e-6)


def test_a_half_of_a_centred_encoder_is_one_of_its_own(models: tuple[Path, Path], tmp_path: Path) -> None:
    encoder = replace(load_encoder(encoder_config(models[0])), means=None)
    means = Means("global", True, SideMeans(drawn(0, 1, 32)), SideMeans(drawn(1, 1, 32)), {"centre": "global"})
    save_encoder(replace(encoder, means=means), tmp_path / "saved")
    alone = load_encoder(EncoderConfig(model=str(tmp_path / "saved" / "query")))
    assert alone.means is not None
    assert alone.means.fingerprint == means.fingerprint
    modules = [m["type"].rsplit(".", 1)[-1] for m in json.loads((tmp_path / "saved/query/modules.json").read_text())]
    assert modules == ["Transformer", "Pooling", "Normalize", "Dense", "Normalize"]


def test_means_of_another_space_are_refused(models: tuple[Path, Path], tmp_path: Path) -> None:
    encoder = load_encoder(encoder_config(models[0]))
    for name, seed in (("a", 0), ("b", 1)):
        means = Means("global", True, SideMeans(drawn(seed, 1, 32)), SideMeans(drawn(1, 1, 32)), {"centre": "global", "seed": seed})
        save_encoder(replace(encoder, means=means), tmp_path / name)
    with pytest.raises(MismatchError, match="was made for cosine, the encoder is used with dot") as caught:
        load_encoder(EncoderConfig(model=str(tmp_path / "a"), similarity="dot"))
    assert caught.value.hint
    with pytest.raises(MismatchError, match="the two encoders differ in means"):
        load_encoder(EncoderConfig(model=str(tmp_path / "a" / "query"), passage_model=str(tmp_path / "b" / "passage")))
    with pytest.raises(MismatchError, match="the two encoders differ in means"):
        load_encoder(encoder_config(models[0], passage_model=str(tmp_path / "b" / "passage")))


def test_queries_of_a_language_that_few_have_are_centred_as_its_passages(models: tuple[Path, Path], tmp_path: Path) -> None:
    """16 English queries, 15 Arabic and 15 Russian ones, 20 passages of each."""
    corpus = tiny.tiny_corpus(tmp_path / "data", 60, 46, langs=("en", "ar", "ru"))
    work = opened(tmp_path / "work", corpus, encoder_config(models[0]))
    encoder = load_encoder(encoder_config(models[0]))
    means = means_for(work.passages, work.queries, encoder, work.layout, replace(CENTRED, centre="language"), Silent())
    assert means is not None
    assert set(means.queries.langs) == set(means.passages.langs) == {"ar", "en", "ru"}

    def row(side: Any, lang: str) -> Any:
        return means.side(side).table[means.side(side).groups([lang])[0]]

    for lang in ("ar", "ru"):
        moved = row("passage", lang) + (row("query", "en") - row("passage", "en"))
        np.testing.assert_allclose(row("query", lang), moved, atol=1e-6)
