"""The processes of one torchrun, as a training uses them: sums, the leader's word, and who goes first. NCCL on GPUs, gloo on processors."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor, distribute_tensor

from umr.errors import LostRankError, MismatchError, UsageError
from umr.models.device import pick_device


@dataclass(frozen=True)
class Group:
    """Some processes that train together; one alone is a group too, and does nothing of this.

    Arguments:
        rank: of this process, from 0.
        size: how many there are.
        memories: how many of them have a memory of their own: processes on one machine's processor share it.
        device: of what is exchanged.
        sharded: whether each process keeps only its part of the weights, their gradients and moments (FSDP2).
        used: which weights have gradients.
    """

    rank: int = 0
    size: int = 1
    memories: float = 1
    device: str = "cpu"
    sharded: bool = False
    used: list[bool] = field(default_factory=list, repr=False, compare=False)

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, sizes: Sequence[int]) -> tuple[list[int], int]:
        """Which of some pieces of work fall to this process: the largest go first, each to the process with the least so far.

        Arguments:
            sizes: of the pieces.

        Returns:
            the places of its pieces, and how many it has fewer than another process.
        """
        loads, places = [0] * self.size, [list[int]() for _ in range(self.size)]
        for place in sorted(range(len(sizes)), key=lambda n: -sizes[n]):
            least = min(range(self.size), key=loads.__getitem__)
            loads[least] += sizes[place]
            places[least].append(place)
        mine = sorted(places[self.rank])
        return mine, max(map(len, places)) - len(mine)

    def shard(self, encoder: nn.Module, layers: Iterable[nn.Module]) -> None:
        """Leave to each process its part of an encoder's weights: a layer's are put together while it computes, and its gradients are
        summed and sharded again (FSDP2, `torch.distributed.fsdp.fully_shard`; Zhao et al. 2023, arXiv 2304.11277).

        Arguments:
            encoder: with the same weights on every process; changed in place.
            layers: its layers.
        """
        from torch.distributed.fsdp import FSDPModule, fully_shard

        if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
            raise UsageError(f"shard needs a newer torch than {torch.__version__}", "leave shard out, or take the newest torch")
        mesh = DeviceMesh.from_group(dist.group.WORLD, torch.device(self.device).type)  # type: ignore[arg-type]
        for module in (*layers, encoder):
            fully_shard(module, mesh=mesh, reshard_after_forward=True)  # else what is loaded afterwards would not be seen
        for module in encoder.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)  # gradients add up, as in `sum_gradients`
                module.set_force_sum_reduction_for_comms(True)  # which gloo can do

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in its place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def sum_gradients(self, weights: Sequence[nn.Parameter]) -> None:
        """Add up the gradients of all processes, in one exchange; weights that no process has one of keep none.

        Arguments:
            weights: the same everywhere, in the same order.
        """
        if self.size == 1 or self.sharded:
            return
        if not self.used:  # found in the first step: a process that had nothing to encode lacks those of others
            self.used.extend(map(any, zip(*self._all([weight.grad is not None for weight in weights]), strict=True)))
        some = [weight for weight, used in zip(weights, self.used, strict=True) if used]
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in some]
        flat = self.sum(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for weight, part in zip(some, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            weight.grad = part.view_as(weight)

    def first(self, value: Any) -> Any:
        """What the leader has: a JSON value."""
        return self._all(value)[0]

    def largest(self, number: int) -> int:
        """The largest of the numbers of all processes."""
        return int(max(self._all(number)))

    def _all(self, value: Any) -> list[Any]:
        """The JSON values of all processes; torch's own exchange of objects would unpickle them."""
        if self.size == 1:
            return [value]
        text = json.dumps(value).encode()
        sizes = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([len(text)], device=self.device))
        widths = [int(size) for size in sizes]
        texts = [torch.zeros(max(widths), dtype=torch.uint8, device=self.device) for _ in widths]
        own = torch.zeros_like(texts[0])
        own[: len(text)] = torch.tensor(list(text), dtype=torch.uint8)
        dist.all_gather(texts, own)
        return [json.loads(bytes(found[:width].tolist())) for found, width in zip(texts, widths, strict=True)]

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
        first, *others = self._all(dict(what))
        for rank, other in enumerate(others, 1):
            differing = [key for key in sorted({*first, *other}) if other.get(key) != first.get(key)]
            if differing:
                said = "; ".join(f"rank {rank} has {key} {other.get(key)!r}, rank 0 has {first.get(key)!r}" for key in differing)
                raise MismatchError(said, "start all processes with the same options and version, on the same files")


def whole(value: Tensor) -> Tensor:
    """A tensor of which each process may have a part; all of them ask for it together."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def sharded_like(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor as another one is kept: the part of this process where that one is sharded."""
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def join(encoder: nn.Module) -> None:
    """Put whole weights in main memory in the place of shards, on every process, when the training is over: the encoder can be saved,
    but not called, for what FSDP2 left on it would ask the other processes.
    """
    for module in encoder.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            if isinstance(value, DTensor):
                setattr(module, name, nn.Parameter(whole(value.detach()).cpu(), value.requires_grad))


ALONE = Group()
LIMIT = timedelta(hours=2)  # that processes wait for each other: one may have to encode a side first


@contextmanager
def process_group(rank: int, size: int, device: str, sharded: bool = False) -> Iterator[Group]:
    """The processes that torchrun started, joined while the context is open.

    Arguments:
        rank, size: of this process, and how many there are.
        device: auto, cpu, cuda or cuda:N.
        sharded: see `Group`.

    Raises:
        LostRankError: another process died.
    """
    place = pick_device(device)
    if device.startswith("cuda:") and int(os.environ.get("LOCAL_WORLD_SIZE", size)) > 1:
        raise UsageError(f"the device is {device} for all processes of a machine", "leave --device out: each takes a GPU of its own")
    try:
        store, *_ = next(rendezvous("env://", rank, size))
        backend, met = "nccl" if place.type == "cuda" else "gloo", PrefixStore(_meeting(store, rank, size), store)
        dist.init_process_group(backend, store=met, rank=rank, world_size=size, timeout=LIMIT)
        memories = size if place.type == "cuda" else size / int(os.environ.get("LOCAL_WORLD_SIZE", size))
        yield Group(rank, size, memories, str(place), sharded and size > 1)
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        what = f"rank {rank} lost another process of this training: it has died, or cannot be reached ({str(error).splitlines()[0][-300:]})"
        raise LostRankError(what, "its own message says why; start all again: the training goes on from its last state") from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _meeting(store: Any, rank: int, size: int) -> str:
    """A name that the living processes agree on. The store of a launcher outlives restarts, and what died processes left there would
    be taken for theirs: rank 0 chooses the name, and the others wait until it has answered them.
    """
    me, until = uuid4().hex, time.monotonic() + LIMIT.total_seconds()
    if rank == 0:
        store.set("umr/leader", me)
        waiting = {f"umr/{me}/{other}" for other in range(1, size)}
        while waiting:
            for key in [key for key in waiting if store.check([key])]:
                store.set(f"{key}/{store.get(key).decode()}", "here")
                waiting.remove(key)
            _pause(until)
        return me
    while True:
        leader = store.get("umr/leader").decode()
        store.set(f"umr/{leader}/{rank}", me)
        for _ in range(20):
            if store.check([f"umr/{leader}/{rank}/{me}"]):
                return str(leader)
            _pause(until)


def _pause(until: float) -> None:
    if time.monotonic() > until:
        raise dist.DistNetworkError("the others did not come")
    time.sleep(0.05)
