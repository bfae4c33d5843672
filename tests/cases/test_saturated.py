"""Labels that leave nearly all weight on one candidate are said, with the temperature that would give four."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
import umr


@pytest.fixture
def work(tmp_path: Path) -> Any:
    corpus = tiny.tiny_corpus(tmp_path / "corpus", 40, 12)
    config = umr.EncoderConfig(model=str(tiny.encoder(tmp_path / "e5")), pooling="mean", similarity="cosine")
    made = umr.create_workspace(tmp_path / "work", [str(corpus.passages)], [str(corpus.queries)], config)
    umr.mine(made, umr.MineConfig(top_k=16))
    return made


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.llama(tmp_path_factory.mktemp("lm") / "llama"))


def effective(labels: Any) -> float:
    """Mean of exp(entropy), from the definition."""
    p = np.exp(labels.labels.astype(np.float64))
    return float(np.exp(-(p * np.log(np.where(p > 0, p, 1))).sum(axis=1)).mean())


def said(text: str) -> float | None:
    """The temperature that a warning names."""
    found = re.search(r"saturated: .* --temperature (\S+) would give 4\b", text)
    return float(found[1]) if found else None


def test_labelling_and_training_say_the_temperature_that_gives_four(work: Any, lm: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        sharp = umr.label(work, umr.LabelConfig(lm=lm, precision="fp32", temperature=1e-5))
    assert effective(sharp) < 2
    (cure,) = filter(None, (said(record.message) for record in caplog.records))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        umr.train(work, umr.TrainConfig(epochs=1, batch_size=4, passages_per_query=3, held_out=0))
    assert [said(record.message) for record in caplog.records if said(record.message)] == [cure]
    assert any("saturated" in warning for warning in umr.inspect_labels(work).warnings)


def test_the_temperature_that_is_said_gives_four(work: Any, lm: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        umr.label(work, umr.LabelConfig(lm=lm, precision="fp32", temperature=2e-5), force=True)
        (cure,) = filter(None, (said(record.message) for record in caplog.records))
        caplog.clear()
        labels = umr.label(work, umr.LabelConfig(lm=lm, precision="fp32", temperature=cure), force=True)
    assert effective(labels) == pytest.approx(4, abs=0.3)  # the temperature has two digits
    assert not [record for record in caplog.records if "saturated" in record.message]
