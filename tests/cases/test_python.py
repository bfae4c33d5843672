"""What a user of Python sees and calls: names, short `repr`s, vectors of texts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
import umr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("python")


@pytest.fixture(scope="module")
def config(folder: Path) -> umr.EncoderConfig:
    return umr.EncoderConfig(
        model=str(tiny.encoder(folder / "e5")), pooling="mean", similarity="cosine", query_prefix="query: ", passage_prefix="passage: "
    )


@pytest.fixture(scope="module")
def work(folder: Path, config: umr.EncoderConfig) -> Any:
    corpus = tiny.tiny_corpus(folder / "corpus", 30, 8)
    return umr.create_workspace(folder / "work", [str(corpus.passages)], [str(corpus.queries)], config)


@pytest.fixture(scope="module")
def candidates(work: Any) -> Any:
    return umr.mine(work, umr.MineConfig(top_k=4))


@pytest.fixture(scope="module")
def labels(work: Any, candidates: Any, folder: Path) -> Any:
    return umr.label(work, umr.LabelConfig(lm=str(tiny.llama(folder / "lm")), precision="fp32"))


def test_what_is_printed_fits_a_line(work: Any, candidates: Any, labels: Any, config: umr.EncoderConfig) -> None:
    encoder = umr.load_encoder(config)
    inspection = umr.inspect_labels(work)
    for value in (work, candidates, labels, encoder, work.queries, inspection):
        assert "\n" not in repr(value)
        assert len(repr(value)) < 400, repr(value)
    assert repr(candidates) == f"Candidates(8 queries in {len(set(work.queries.langs))} languages x 4 passages)"
    assert repr(labels).startswith("Labels(8 queries x 4 candidates, 32 labelled, ")
    assert "30 passages, 8 queries" in repr(work)
    assert repr(work).endswith("round 0: label)")


def test_judgments_and_results_fit_a_line(work: Any, candidates: Any, tmp_path: Path) -> None:
    qrels = tmp_path / "qrels.txt"
    qrels.write_text("".join(f"{name} 0 p0 1\n" for name in work.queries.ids()))
    test = umr.read_test_set(work, qrels)
    evaluation, _ = umr.judge(work, test)
    assert repr(test) == f"TestSet({work.queries}, 30 passages, Qrels(8 judged queries))"
    assert repr(evaluation).startswith("Evaluation(8 queries in ")
    assert "macro R@1 " in repr(evaluation)


@pytest.mark.parametrize("side", ["query", "passage"])
def test_an_encoder_encodes_texts(work: Any, candidates: Any, config: umr.EncoderConfig, side: Any) -> None:
    """The vectors are those of mining: their products are the retriever's scores."""
    encoder = umr.load_encoder(config)
    rows = np.arange(len(work.passages), dtype=np.uint32)
    passages = [" ".join(filter(None, pair)) for pair in work.passages.texts(rows)]
    queries = encoder.encode(work.queries.texts(), side="query")
    vectors = encoder.encode(passages, side="passage")
    assert vectors.shape == (30, encoder.query.dimensions)
    assert vectors.dtype == np.float32
    products = np.take_along_axis(queries @ vectors.T, candidates.rows.astype(np.int64), axis=1)
    np.testing.assert_allclose(products, candidates.scores, rtol=1e-5, atol=1e-6)
    one = encoder.encode(passages[:1], side=side)
    other = encoder.encode(passages[:1], side="query" if side == "passage" else "passage")
    assert not np.allclose(one, other), "the prefixes differ"
    assert encoder.encode([], side=side).shape == (0, encoder.query.dimensions)
    with pytest.raises(umr.UmrError, match="expected a list of texts"):
        encoder.encode("a single text", side=side)
    with pytest.raises(umr.UmrError, match="'document'"):
        encoder.encode(["a text"], side="document")  # type: ignore[arg-type]


def test_modules_are_reached_from_umr_alone() -> None:
    script = "import umr; umr.progress.Reporter; umr.errors.UmrError; print(callable(umr.mine), hasattr(umr, 'nonsense'))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
