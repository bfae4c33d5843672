"""Centred mining vectors: a store of their own beside the encoder's, restartable, and one set of means for whatever is searched."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from reference import centring as slow
from train.rig import Notes, contents, encoder_config, opened
from umr.config import MineConfig
from umr.data import embeddings
from umr.data.embeddings import Embeddings
from umr.data.queries import typed_query
from umr.data.workspace import Workspace
from umr.encoder.centre import centred_queries, means_for, means_record, passage_vectors, query_vectors
from umr.encoder.encode import encode
from umr.encoder.encoder import DualEncoder
from umr.encoder.means import FEWEST, Means
from umr.errors import MismatchError
from umr.mine import mine
from umr.progress import Silent
from umr.retrieve import retrieve, search
from umr.search.exact import top_k
from umr.storage import beside

LANGS = ("en", "de", "ru")
OFF = MineConfig(batch_tokens=256, shard_rows=25, threads=1)
GLOBAL, LANGUAGE = replace(OFF, centre="global"), replace(OFF, centre="language")


@pytest.fixture
def work(tmp_path: Path, bert: Path) -> Workspace:
    made = opened(tmp_path / "work", tiny.tiny_corpus(tmp_path / "data", 60, 54, langs=LANGS), encoder_config(bert))
    return said_languages(made, tmp_path / "said.jsonl")


def said_languages(work: Workspace, path: Path) -> Workspace:
    """The same passages as JSONL with their languages, so that nothing is left to an identifier."""
    rows = np.arange(len(work.passages), dtype=np.uint32)
    records = zip(work.passages.ids(rows), work.passages.texts(rows), strict=True)
    lines = [{"id": name, "title": t, "text": text, "lang": LANGS[i % 3]} for i, (name, (t, text)) in enumerate(records)]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    from umr.data.corpus import open_passages

    return replace(work, passages=open_passages([str(path)], work.layout.corpus / "said", Silent()))


def means_of(work: Workspace, tower: DualEncoder, config: MineConfig, reporter: Any = None) -> Means | None:
    return means_for(work.passages, work.queries, tower, work.layout, config, reporter or Silent())


def stored(work: Workspace, tower: DualEncoder, config: MineConfig, reporter: Any = None) -> Embeddings:
    means = means_of(work, tower, config)
    return passage_vectors(work.passages, tower, work.layout, config, reporter or Silent(), means)


def test_off_gives_the_encoders_own_vectors(work: Workspace, tower: DualEncoder) -> None:
    assert means_of(work, tower, OFF) is None
    assert means_record(None) == {}
    raw = encode(work.passages, tower, "passage", work.layout, OFF, Silent())
    assert stored(work, tower, OFF).folder == raw.folder
    queries = encode(work.queries.records, tower, "query", work.layout, OFF, Silent()).read()
    np.testing.assert_array_equal(query_vectors(work.queries, tower, work.layout, OFF, Silent()), queries)
    assert centred_queries(queries, work.queries.langs, None) is queries
    assert not list(work.layout.embeddings.glob("means-*"))


@pytest.mark.parametrize("config", [GLOBAL, LANGUAGE], ids=["global", "language"])
def test_passages_and_queries_are_centred_as_defined(work: Workspace, tower: DualEncoder, config: MineConfig) -> None:
    fewest = FEWEST if config.centre == "language" else None
    raw = encode(work.passages, tower, "passage", work.layout, config, Silent()).read()
    found = stored(work, tower, config)
    np.testing.assert_allclose(found.read(), slow.centre_all(raw.tolist(), [LANGS[i % 3] for i in range(60)], fewest, True), atol=1e-5)
    raw_queries = encode(work.queries.records, tower, "query", work.layout, config, Silent()).read()
    means = means_of(work, tower, config)
    assert means is not None
    queries = query_vectors(work.queries, tower, work.layout, config, Silent(), means)
    np.testing.assert_allclose(queries, slow.centre_all(raw_queries.tolist(), work.queries.langs, fewest, True), atol=1e-5)
    np.testing.assert_array_equal(centred_queries(raw_queries, work.queries.langs, means), queries)
    rows, scores = top_k(queries, found, 60, 1)
    similarities = queries.astype(np.float64) @ found.read().astype(np.float64).T
    np.testing.assert_array_equal(rows, np.argsort(-similarities.astype(np.float32), axis=1, kind="stable"))
    np.testing.assert_allclose(scores, -np.sort(-similarities, axis=1), atol=1e-6)


def test_by_language_every_language_is_as_near_as_the_next(work: Workspace, tower: DualEncoder) -> None:
    """What centring is for: the mean of each language's centred vectors is almost nothing."""
    langs = np.array([LANGS[i % 3] for i in range(60)])
    for config, bound in ((OFF, 1.0), (LANGUAGE, 0.1)):
        vectors = stored(work, tower, config).read()
        lengths = [np.linalg.norm(vectors[langs == lang].mean(axis=0)) for lang in LANGS]
        assert max(lengths) < bound
        assert config is LANGUAGE or min(lengths) > 0.3


def test_each_centring_has_a_store_and_the_encoders_own_stays(work: Workspace, tower: DualEncoder) -> None:
    names = {stored(work, tower, config).folder.name for config in (OFF, GLOBAL, LANGUAGE, replace(GLOBAL, store="f16"))}
    assert len(names) == 4
    before = contents(work.layout.folder)
    notes = Notes()
    for config in (OFF, GLOBAL, LANGUAGE):
        stored(work, tower, config, notes)
    assert contents(work.layout.folder) == before
    manifest = json.loads((stored(work, tower, GLOBAL).folder / "manifest.json").read_text())
    raw = encode(work.passages, tower, "passage", work.layout, GLOBAL, Silent())
    means = means_of(work, tower, GLOBAL)
    assert manifest["made_from"]["vectors"] == raw.folder.name
    assert means_record(means) == {"means": manifest["made_from"]["means"]}


def test_the_means_are_estimated_once_and_read_again(work: Workspace, tower: DualEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = means_of(work, tower, LANGUAGE)
    monkeypatch.setattr("umr.encoder.centre.estimate", None)
    again = means_of(work, tower, LANGUAGE)
    assert first is not None
    assert again is not None
    assert first.fingerprint == again.fingerprint
    assert first.passages.langs == ("de", "en", "ru") == again.passages.langs
    np.testing.assert_array_equal(again.passages.table, first.passages.table)
    with pytest.raises(TypeError):  # another kind is another estimate
        means_of(work, tower, GLOBAL)


def test_changed_means_are_refused(work: Workspace, tower: DualEncoder) -> None:
    means_of(work, tower, GLOBAL)
    path = next(work.layout.embeddings.glob("means-*")) / "means.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(MismatchError, match=r"means\.safetensors has changed") as caught:
        means_of(work, tower, GLOBAL)
    assert "remove its folder" in caught.value.hint


def test_other_texts_are_centred_with_the_work_folders_means(work: Workspace, tower: DualEncoder, tmp_path: Path) -> None:
    means = means_of(work, tower, LANGUAGE)
    assert means is not None
    other = opened(tmp_path / "other", tiny.tiny_corpus(tmp_path / "more", 7, 5, seed=9, langs=("zh",)), encoder_config("unused"))
    notes = Notes()
    raw = encode(other.queries.records, tower, "query", work.layout, LANGUAGE, Silent()).read()
    found = query_vectors(other.queries, tower, work.layout, LANGUAGE, notes, means)
    np.testing.assert_allclose(found, [slow.centre(v, means.queries.table[0].tolist(), True) for v in raw.tolist()], atol=1e-6)
    assert "5 queries get the mean over all languages, theirs have none (fewer than 16 texts): zh 5" in notes.text
    store = passage_vectors(other.passages, tower, work.layout, LANGUAGE, notes, means)
    raw = encode(other.passages, tower, "passage", work.layout, LANGUAGE, Silent()).read()
    np.testing.assert_allclose(store.read(), [slow.centre(v, means.passages.table[0].tolist(), True) for v in raw.tolist()], atol=1e-6)
    assert "passages get the mean over all languages" in notes.text


def test_a_typed_question_is_centred_like_a_kept_one(work: Workspace, tower: DualEncoder) -> None:
    means = means_of(work, tower, LANGUAGE)
    kept = query_vectors(work.queries, tower, work.layout, OFF, Silent(), means)
    row = 4
    typed = typed_query(work.queries.texts()[row], work.queries.langs[row], Silent())
    found = query_vectors(typed, tower, work.layout, OFF, Silent(), means)
    np.testing.assert_allclose(found[0], kept[row], atol=1e-5)


@pytest.mark.parametrize("die_at", [0, 1, 2])
def test_killed_between_shards_it_continues_with_the_same_bytes(
    work: Workspace, tower: DualEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, die_at: int
) -> None:
    means = means_of(work, tower, GLOBAL)
    encode(work.passages, tower, "passage", work.layout, GLOBAL, Silent())
    written: Counter[str] = Counter()
    write = beside

    def counted(path: Path) -> AbstractContextManager[Path]:
        if written.total() == die_at:
            written["died"] += 1
            raise KeyboardInterrupt
        written[path.name] += 1
        return write(path)

    monkeypatch.setattr(embeddings, "beside", counted)
    with pytest.raises(KeyboardInterrupt):
        passage_vectors(work.passages, tower, work.layout, GLOBAL, Silent(), means)
    found = passage_vectors(work.passages, tower, work.layout, GLOBAL, Silent(), means)
    assert written == {**{f"shard-0000{shard}.npy": 1 for shard in range(3)}, "died": 1}
    interrupted = {p.name: p.read_bytes() for p in found.folder.iterdir()}
    for path in found.folder.iterdir():
        path.unlink()
    again = passage_vectors(work.passages, tower, work.layout, GLOBAL, Silent(), means)
    assert {p.name: p.read_bytes() for p in again.folder.iterdir()} == interrupted


@pytest.mark.parametrize("config", [GLOBAL, LANGUAGE], ids=["global", "language"])
def test_shards_of_any_size_give_the_same_vectors(work: Workspace, tower: DualEncoder, config: MineConfig) -> None:
    config = replace(config, batch_tokens=1)  # one text a batch: the encoder's vectors themselves are the same
    wanted = stored(work, tower, config).read()
    for shard_rows in (7, 1000):
        np.testing.assert_allclose(stored(work, tower, replace(config, shard_rows=shard_rows)).read(), wanted, atol=2e-7)


def test_one_passage_is_its_own_mean(tmp_path: Path, bert: Path, tower: DualEncoder) -> None:
    work = opened(tmp_path / "work", tiny.tiny_corpus(tmp_path / "data", 1, 2), encoder_config(bert))
    np.testing.assert_array_equal(stored(work, tower, GLOBAL).read(), np.zeros((1, 32), dtype=np.float32))


@pytest.mark.parametrize("config", [GLOBAL, LANGUAGE], ids=["global", "language"])
def test_mining_evaluation_and_search_stand_in_the_same_space(tmp_path: Path, bert: Path, config: MineConfig) -> None:
    work = opened(tmp_path / "work", tiny.tiny_corpus(tmp_path / "data", 60, 54, langs=LANGS), encoder_config(bert))
    mined = mine(work, replace(config, top_k=5))
    found = retrieve(work, work.queries, work.passages, "first", 5)
    np.testing.assert_array_equal(found.rows, mined.rows)
    np.testing.assert_array_equal(found.scores, mined.scores)
    row = 7
    hits = search(work, work.queries.texts()[row], 5, work.queries.langs[row])
    assert [hit.passage_id for hit in hits] == work.passages.ids(mined.rows[row])
    np.testing.assert_allclose([hit.score for hit in hits], mined.scores[row], atol=1e-5)
    other = opened(tmp_path / "other", tiny.tiny_corpus(tmp_path / "data", 60, 54, langs=LANGS), encoder_config(bert))
    assert (mine(other, replace(OFF, top_k=5)).scores != mined.scores).any()
