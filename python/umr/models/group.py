"""The processes of one torchrun, as a training uses them: sums, the leader's word, and who goes first. NCCL on GPUs, gloo on processors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from umr.errors import LostRankError, MismatchError
from umr.models.device import pick_device


@dataclass(frozen=True)
class Group:
    """Some processes that train together; one alone is a group too, and does nothing of this.

    Arguments:
        rank: of this process, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, sizes: Sequence[int]) -> list[int]:
        """Which of some pieces of work fall to this process: the largest go first, each to the process with the least so far.

        Arguments:
            sizes: of the pieces.
        """
        loads, mine = [0] * self.size, []
        for place in sorted(range(len(sizes)), key=lambda n: -sizes[n]):
            least = min(range(self.size), key=loads.__getitem__)
            loads[least] += sizes[place]
            if least == self.rank:
                mine.append(place)
        return sorted(mine)

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in its place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def sum_gradients(self, weights: Sequence[nn.Parameter]) -> None:
        """Add up the gradients of all processes, in one exchange.

        Arguments:
            weights: the same everywhere, in the same order.
        """
        if self.size == 1:
            return
        for weight in weights:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        flat = self.sum(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def first(self, value: Any) -> Any:
        """What the leader has."""
        box = [value]
        if self.size > 1:
            dist.broadcast_object_list(box)
        return box[0]

    def any(self, number: int) -> int:
        """The largest of the numbers of all processes."""
        return int(max(self._all(number)))

    def _all(self, value: Any) -> list[Any]:
        found = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(found, value)
        return found

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The leader goes through what follows before the others, who find what it made."""
        if not self.leads:
            self._all(None)
        yield
        if self.leads:
            self._all(None)

    def require_same(self, what: Mapping[str, Any]) -> None:
        """Refuse processes that were started with different settings or data.

        Raises:
            MismatchError: on all of them; names every difference.
        """
        for rank, other in enumerate(self._all(dict(what))):
            for key in sorted({*what, *other}):
                mine = self.first(what)
                if other.get(key) != mine.get(key):
                    raise MismatchError(
                        f"rank {rank} has {key} {other.get(key)!r}, rank 0 has {mine.get(key)!r}",
                        "start all processes with the same options and version, on the same files",
                    )


ALONE = Group()
GROUPS = count()  # that this process was in


@contextmanager
def process_group(rank: int, size: int, device: str) -> Iterator[Group]:
    """The processes that torchrun started, joined while the context is open.

    Arguments:
        rank, size: of this process, and how many there are.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        LostRankError: another process died.
    """
    store, *_ = next(rendezvous("env://", rank, size))
    # The store of a launcher outlives restarts, and what died processes left there would be taken for the living.
    store = PrefixStore(f"umr-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}-{next(GROUPS)}", store)
    dist.init_process_group("nccl" if pick_device(device).type == "cuda" else "gloo", store=store, rank=rank, world_size=size)
    try:
        yield Group(rank, size)
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        what = f"rank {rank} lost another process of this training: it has died, or cannot be reached ({str(error).splitlines()[0][-300:]})"
        raise LostRankError(what, "its own message says why; start all again: the training goes on from its last state") from error
    finally:
        dist.destroy_process_group()
