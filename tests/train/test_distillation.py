"""The losses against loops over their definition, and against the paper's own layout."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import distillation as twin
from umr.config import FalseNegatives, Negatives, Objectives, TrainConfig
from umr.train.losses import (
    agreement,
    contrastive_loss,
    distillation_loss,
    false_negatives,
    margin_loss,
    training_loss,
)

NEGATIVES: tuple[Negatives, ...] = ("in-batch", "own")
OBJECTIVES: tuple[Objectives, ...] = ("kl", "margin-mse")
FALSE_NEGATIVES: tuple[FalseNegatives, ...] = ("keep", "mask")
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


@settings(deadline=None)
@given(tasks())
def test_the_other_losses_equal_their_definitions(task: tuple[list[list[float]], list[list[float]], float]) -> None:
    similarities, labels = (torch.tensor(values, dtype=torch.float64) for values in task[:2])
    assert margin_loss(similarities, labels, task[2]).item() == pytest.approx(twin.margins(*task), rel=1e-9, abs=1e-9)
    assert contrastive_loss(similarities, labels, task[2]).item() == pytest.approx(twin.contrast(*task), rel=1e-9, abs=1e-9)
    assert false_negatives(similarities, labels).tolist() == twin.near(*task[:2])
    assert 0 <= agreement(similarities, labels).item() <= len(labels)


@settings(deadline=None)
@given(tasks())
def test_what_is_left_out_has_no_gradient_and_the_rest_is_a_divergence(task: tuple[list[list[float]], list[list[float]], float]) -> None:
    similarities = torch.tensor(task[0], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor(task[1], dtype=torch.float64)
    masked = false_negatives(similarities.detach(), labels)
    config = TrainConfig(false_negatives="mask")
    found = training_loss(similarities, labels, task[2], config)
    found.backward()  # type: ignore[no-untyped-call]
    assert similarities.grad is not None
    assert (similarities.grad[masked] == 0).all()
    kept = [[[v for v, m in zip(row, out, strict=True) if not m] for row, out in zip(values, masked, strict=True)] for values in task[:2]]
    by_hand = [twin.loss([row], [wanted], task[2], own=False) for row, wanted in zip(*kept, strict=True)]
    assert found.item() == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-9, abs=1e-9)


def test_objectives_add_up() -> None:
    similarities, labels = torch.tensor([[0.9, 0.5, 0.8], [0.1, 0.7, 0.2]]), torch.tensor([[-0.1, -2.0, -math.inf], [-1.5, -0.4, -1.9]])
    kl = training_loss(similarities, labels, 0.1, TrainConfig())
    assert kl == distillation_loss(similarities, labels, 0.1, "in-batch")
    both = training_loss(similarities, labels, 0.1, TrainConfig(contrast=0.1))
    assert both.item() == pytest.approx(kl.item() + 0.1 * contrastive_loss(similarities, labels, 0.1).item())
    assert training_loss(similarities, labels, 0.1, TrainConfig(objective="margin-mse")) == margin_loss(similarities, labels, 0.1)
    assert agreement(similarities, labels) == 2
    assert false_negatives(similarities, labels).tolist() == [[False, False, False], [False, False, False]]
    assert false_negatives(similarities.flip(1), labels).tolist() == [[False, False, True], [False, False, False]]


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(objective=objective, contrast=contrast, false_negatives=false_negatives)
        for objective, contrast, false_negatives in product(OBJECTIVES, (0.0, 0.5), FALSE_NEGATIVES)
        if (objective, contrast, false_negatives) != ("margin-mse", 0.0, "mask")  # refused: nothing would look at what is masked
    ],
    ids=lambda config: f"{config.objective}-{config.contrast}-{config.false_negatives}",
)
def test_the_gradient_of_every_objective_is_that_of_small_differences(config: TrainConfig) -> None:
    drawn = torch.Generator().manual_seed(0)
    similarities, labels = (torch.randn(4, 9, generator=drawn, dtype=torch.float64) for _ in range(2))
    labels[:, ::2] = -math.inf
    assert torch.autograd.gradcheck(lambda s: training_loss(s, labels, 0.7, config), similarities.requires_grad_())
