"""Feeding a GPU: batches are made in a thread and copied while those before them are computed, and nothing waits for a copy."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

T = TypeVar("T")
AHEAD = 3  # items that are made before they are asked for


def prefetch(items: Iterable[T], device: torch.device) -> Iterator[T]:
    """The same items, a few of them made in a thread before they are asked for.

    Arguments:
        items: made one by one; an error in the making is raised where its item is due.
        device: that uses them. The processor makes them itself, when it needs them.
    """
    if device.type == "cpu":
        yield from items
        return
    source, end = iter(items), object()
    with thread_for(device) as thread:
        waiting = deque(thread.submit(next, source, end) for _ in range(AHEAD))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, source, end))
            yield item  # type: ignore[misc]  # `end` is not among them


def thread_for(device: torch.device) -> ThreadPoolExecutor:
    """A thread that works for a device: what it takes on a GPU by default, it takes on this one."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return ThreadPoolExecutor(1)
    number = torch.cuda.current_device() if device.index is None else device.index  # a thread of its own begins on GPU 0
    return ThreadPoolExecutor(1, initializer=torch.cuda.set_device, initargs=(number,))


def send(values: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on a device; its copy to a GPU is not waited for."""
    tensor = torch.from_numpy(values)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
