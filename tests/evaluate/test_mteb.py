"""mteb over an encoder of umr: one small local task, whose vectors, centring and result files are ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from train.rig import encoder_config
from umr.encoder.encoder import DualEncoder
from umr.encoder.export import save_encoder
from umr.encoder.load import load_encoder
from umr.encoder.means import Means, SideMeans
from umr.errors import InputError, MissingExtraError
from umr.judge.mteb import ForMteb, evaluate_mteb

pytest.importorskip("mteb")
pytestmark = pytest.mark.filterwarnings("ignore")  # of mteb and datasets
DOCS = {"d1": "the old stone bridge", "d2": "der rhein in den alpen", "d3": "a tower of glass"}
QUERIES = {"q1": "the old stone bridge", "q2": "a tower of glass"}


def task() -> Any:
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    class Bridges(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="Bridges", description="a local task", reference=None, type="Retrieval", category="t2t", modalities=["text"],
            eval_splits=["test"], eval_langs=["eng-Latn"], main_score="ndcg_at_10", date=("2026-01-01", "2026-01-02"), domains=["Web"],
            task_subtypes=[], license="cc0-1.0", annotations_creators="derived", dialect=[], sample_creation="created",
            bibtex_citation="", dataset={"path": "local/bridges", "revision": "1"},
        )  # fmt: skip

        def load_data(self, *args: Any, **kwargs: Any) -> None:
            self.dataset = {"default": {"test": {
                "corpus": Dataset.from_list([{"id": name, "text": text, "title": ""} for name, text in DOCS.items()]),
                "queries": Dataset.from_list([{"id": name, "text": text} for name, text in QUERIES.items()]),
                "relevant_docs": {"q1": {"d1": 1}, "q2": {"d3": 1}}, "top_ranked": None,
            }}}  # fmt: skip
            self.data_loaded = True

    return Bridges()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """An encoder with prefixes and a mean of each side and language."""
    encoder = load_encoder(encoder_config(tiny.encoder(tmp_path / "bert")))
    d = encoder.query.dimensions
    rng = np.random.default_rng(0)
    tables = [SideMeans(rng.normal(size=(2, d)).astype(np.float32), ("en",)) for _ in range(2)]
    save_encoder(DualEncoder(encoder.query, encoder.passage, encoder.source, Means("language", True, *tables, {})), tmp_path / "saved")
    return tmp_path / "saved"


def test_a_local_task_is_scored_and_its_results_are_kept(saved: Path, tmp_path: Path) -> None:
    scores = evaluate_mteb(str(saved), [task()], tmp_path / "results")
    encoder = load_encoder(str(saved))
    assert encoder.means is not None
    vectors = {
        side: encoder.means.apply(encoder.encode(list(texts.values()), side), side, encoder.means.side(side).groups(["en"] * len(texts)))
        for side, texts in (("query", QUERIES), ("passage", DOCS))
    }
    similar = vectors["query"] @ vectors["passage"].T
    ranks = [1 + int((row > row[place]).sum()) for row, place in zip(similar, (0, 2), strict=True)]
    assert scores == {"Bridges": pytest.approx(np.mean([1 / np.log2(rank + 1) for rank in ranks]), abs=1e-4)}
    (kept,) = (tmp_path / "results").rglob("Bridges.json")
    assert json.loads(kept.read_text())["task_name"] == "Bridges"


def test_languages_are_those_of_the_subset_else_identified(saved: Path) -> None:
    model = ForMteb(load_encoder(str(saved)), "saved")
    metadata = task().metadata
    assert model._langs(["zwei", "one"], metadata, "default") == ["en", "en"]
    assert model._langs(["Der Rhein entspringt in den Alpen und fließt zur Nordsee."], metadata, "de-fr") == ["de"]


def test_a_task_that_is_none_and_a_missing_package_are_named(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    with pytest.raises(InputError, match="mteb has no such task"):
        evaluate_mteb(str(saved), ["NoSuchTask"], tmp_path)
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(MissingExtraError) as caught:
        evaluate_mteb(str(saved), ["NoSuchTask"], tmp_path)
    assert "umr[mteb]" in caught.value.hint
