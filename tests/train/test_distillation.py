"""The losses against loops over their definition, and against the paper's own layout."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import distillation as twin
from umr.config import Negatives
from umr.train.distillation import distillation_loss

NEGATIVES: tuple[Negatives, ...] = ("in-batch", "own")
SMALL = st.floats(-30, 30, width=32)


@st.composite
def tasks(draw: st.DrawFn) -> tuple[list[list[float]], list[list[float]], float]:
    """Similarities, labels with gaps (at least one a row) and a temperature."""
    b, u = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    rows = st.lists(SMALL, min_size=u, max_size=u)
    similarities = draw(st.lists(rows, min_size=b, max_size=b))
    labels = draw(st.lists(rows, min_size=b, max_size=b))
    for row in labels:
        for j in draw(st.sets(st.integers(0, u - 1), max_size=u - 1)):
            row[j] = -math.inf
    return similarities, labels, draw(st.sampled_from([0.02, 0.5, 1.0, 3.0]))


@pytest.mark.parametrize("negatives", NEGATIVES)
@settings(deadline=None)
@given(tasks())
def test_the_loss_equals_its_definition(negatives: Negatives, task: tuple[list[list[float]], list[list[float]], float]) -> None:
    similarities, labels, temperature = task
    found = distillation_loss(
        torch.tensor(similarities, dtype=torch.float64), torch.tensor(labels, dtype=torch.float64), temperature, negatives
    )
    assert found.item() == pytest.approx(twin.loss(similarities, labels, temperature, negatives == "own"), rel=1e-9, abs=1e-9)
    assert found.item() >= -1e-9  # a divergence


@pytest.mark.parametrize("negatives", NEGATIVES)
@settings(deadline=None)
@given(tasks())
def test_the_gradient_is_finite_and_the_student_minus_the_teacher(
    negatives: Negatives, task: tuple[list[list[float]], list[list[float]], float]
) -> None:
    similarities = torch.tensor(task[0], dtype=torch.float32, requires_grad=True)
    labels = torch.tensor(task[1], dtype=torch.float32)
    distillation_loss(similarities, labels, task[2], negatives).backward()  # type: ignore[no-untyped-call]
    logits = similarities.detach().double() / task[2]
    if negatives == "own":
        logits[~torch.isfinite(labels)] = -math.inf
    expected = (logits.softmax(1) - labels.double().softmax(1)) / task[2] / len(labels)
    assert similarities.grad is not None
    assert torch.isfinite(similarities.grad).all()
    torch.testing.assert_close(similarities.grad.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("in_batch", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_equals_the_papers_code(in_batch: bool, seed: int) -> None:
    """B x C passages with duplicates kept; the labels are the scores x 10, which is temperature 0.1 here."""
    rng = np.random.default_rng(seed)
    b, c, d = 4, 3, 5
    queries, passages = rng.normal(size=(b, d)), rng.normal(size=(b, c, d))
    passages[1, 0] = passages[0, 2]  # the same passage for two questions, and twice for one
    passages[2, 1] = passages[2, 0]
    scores = rng.normal(-2, 0.3, size=(b, c))
    labels = np.full((b, b, c), -np.inf)
    labels[np.arange(b), np.arange(b)] = scores / 0.1
    found = distillation_loss(
        torch.from_numpy(queries @ passages.reshape(b * c, d).T),
        torch.from_numpy(labels.reshape(b, b * c)),
        1.0,
        "in-batch" if in_batch else "own",
    )
    expected = twin.reference_loss(queries.tolist(), passages.tolist(), scores.tolist(), 10.0, in_batch)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_the_loss_by_hand() -> None:
    """Two passages, the first has all the teacher's odds of 3 to 1; the student is even: log 2 - H(3/4)."""
    labels = torch.log(torch.tensor([[3.0, 1.0]]))
    found = distillation_loss(torch.zeros(1, 2), labels, 1.0, "in-batch").item()
    assert found == pytest.approx(math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    third = torch.tensor([[math.log(3.0), 0.0, -math.inf]])
    assert distillation_loss(torch.zeros(1, 3), third, 1.0, "own").item() == pytest.approx(found)
    assert distillation_loss(torch.zeros(1, 3), third, 1.0, "in-batch").item() == pytest.approx(found + math.log(3 / 2))


def test_the_temperature_divides() -> None:
    similarities, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    halved = distillation_loss(similarities, labels, 2.0, "own")
    assert halved.item() == pytest.approx(distillation_loss(similarities / 2, labels, 1.0, "own").item())
    assert halved < distillation_loss(similarities, labels, 1.0, "own")
