"""Labels against the slow loop, and what a row of labels always is."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from reference import labels as slow
from umr.label.combine import normalise

SCORES = arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=st.floats(-500, 0, width=32))
TEMPERATURES = st.floats(0.01, 10)


@given(SCORES, TEMPERATURES)
def test_labels_equal_the_loop(scores: NDArray[np.float32], temperature: float) -> None:
    found = normalise(scores, temperature)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.array(slow.labels(scores.tolist(), temperature)), rtol=1e-6, atol=1e-6)


@given(SCORES, TEMPERATURES, st.floats(-100, 100))
def test_a_row_sums_to_one_and_keeps_its_order(scores: NDArray[np.float32], temperature: float, shift: float) -> None:
    found = normalise(scores, temperature)
    np.testing.assert_allclose(np.exp(found.astype(np.float64)).sum(axis=1), 1, atol=1e-5)
    order = np.argsort(scores, axis=1, kind="stable")
    assert (np.diff(np.take_along_axis(found, order, axis=1), axis=1) >= 0).all()
    # what all scores of a query have in common does not matter
    np.testing.assert_allclose(
        normalise((scores.astype(np.float64) + shift).astype(np.float32), temperature), found, rtol=1e-6, atol=1e-4 / temperature
    )


def test_the_temperature_divides() -> None:
    """0.1 is the paper's code's `temperature` of 10, which multiplies."""
    scores = np.array([[-1.0, -1.2, -2.0]], dtype=np.float32)
    expected = np.exp(10 * scores[0]) / np.exp(10 * scores[0]).sum()
    np.testing.assert_allclose(np.exp(normalise(scores, 0.1)[0]), expected, rtol=1e-5)
    assert normalise(scores, 0.1)[0, 0] > normalise(scores, 1.0)[0, 0]


def test_one_candidate_has_all_the_mass() -> None:
    assert normalise(np.array([[-7.0], [-900.0]], dtype=np.float32), 0.1).tolist() == [[0.0], [0.0]]


def test_scores_far_apart_stay_finite() -> None:
    found = normalise(np.array([[0.0, -3e4]], dtype=np.float32), 0.01)
    assert np.isfinite(found).all()
    assert found[0].tolist() == [0.0, -3e6]
