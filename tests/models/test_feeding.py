"""Batches for a GPU: made in a thread in their order, and never more of them than a few ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from umr.models.feeding import AHEAD, prefetch, send

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def counted(made: list[int], count: int = 20) -> Iterator[int]:
    for number in range(count):
        made.append(number)
        yield number


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 20])
def test_every_item_comes_once_and_in_order(device: torch.device, count: int) -> None:
    assert list(prefetch(counted([], count), device)) == list(range(count))


def test_a_gpu_has_a_few_items_made_in_another_thread_before_they_are_asked_for() -> None:
    made: list[int] = []
    threads = set()

    def items() -> Iterator[int]:
        for number in counted(made):
            threads.add(threading.get_ident())
            yield number

    for number in prefetch(items(), GPU):
        assert len(made) <= number + 1 + AHEAD
    assert threading.get_ident() not in threads


def test_a_processor_makes_an_item_when_it_is_asked_for() -> None:
    made: list[int] = []
    for number in prefetch(counted(made), CPU):
        assert made == list(range(number + 1))


@pytest.mark.parametrize("device", [CPU, GPU])
def test_an_error_is_raised_where_its_item_is_due(device: torch.device) -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise ValueError("the sixth")

    source = prefetch(items(), device)
    assert [next(source) for _ in range(5)] == list(range(5))
    with pytest.raises(ValueError, match="the sixth"):
        next(source)


def test_who_stops_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    source = prefetch(counted([]), GPU)
    assert next(source) == 0
    source.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


@pytest.mark.parametrize(("device", "number"), [(GPU, 2), (torch.device("cuda:1"), 1)])
def test_a_thread_works_on_the_gpu_that_was_named_or_the_present_one(
    device: torch.device, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch takes no `cuda` without a number here."""
    taken: list[object] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    assert list(prefetch(range(3), device)) == [0, 1, 2]
    assert taken == [number]


def test_on_a_processor_nothing_is_copied() -> None:
    values = np.arange(6)
    assert np.shares_memory(send(values, CPU).numpy(), values)
