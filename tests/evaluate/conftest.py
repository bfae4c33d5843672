"""Small evaluations to compare."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from umr.evaluate import Evaluation


def _made_up(hits: dict[str, list[float]], metric: str = "R@1") -> Evaluation:
    """An evaluation with the given values, language by language."""
    values = {f"{language}{n}": value for language, row in hits.items() for n, value in enumerate(row)}
    return Evaluation({metric: values}, {query: query.rstrip("0123456789") for query in values})


@pytest.fixture
def made_up() -> Callable[[dict[str, list[float]]], Evaluation]:
    """A function: values language by language -> an evaluation."""
    return _made_up


@pytest.fixture
def pair() -> tuple[Evaluation, Evaluation]:
    """Hits of two systems on 400 German and 100 Thai queries: +10 points in German, nothing in Thai."""
    rng = np.random.default_rng(7)
    de, th = rng.random(400), rng.random(100)
    before = {"de": (de < 0.6).astype(float).tolist(), "th": (th < 0.5).astype(float).tolist()}
    after = {"de": (de < 0.7).astype(float).tolist(), "th": before["th"][::-1]}
    return _made_up(before), _made_up(after)
