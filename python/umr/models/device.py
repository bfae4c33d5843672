"""Where and how to compute: the device, and the faster of fp32 and bf16 measured on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from umr.config import Precision
from umr.errors import UsageError
from umr.manifest import read_manifest, write_manifest
from umr.progress import Reporter
from umr.settings import require_device

SIZE = 1024  # rows and columns of the matrices that are timed
ROUNDS = 5
MEMORY_ERRORS = ("out of memory", "can't allocate", "not enough memory", "cannot allocate memory")


def pick_device(name: str) -> torch.device:
    """The device of a name; `auto` takes CUDA where there is one.

    Raises:
        UsageError: the name is no device, or the device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    require_device(name, "device")
    if name == "cuda" and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1:
        name = f"cuda:{os.environ['LOCAL_RANK']}"  # each process of a launcher has a GPU of its own
    device = torch.device(name)
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise UsageError(f"device {name!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices", "use --device cpu")
    if device.index is not None:
        torch.cuda.set_device(device)  # so that nothing is taken on another one
    return device


@cache
def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """GFLOP/s of one matrix product of 1,024 x 1,024 x 1,024, the best of five.

    Arguments:
        device: where.
        dtype: of the matrices.
    """
    a = torch.ones(SIZE, SIZE, device=device).to(dtype)
    best = float("inf")
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * SIZE**3 / best / 1e9


def settle_precision(precision: Precision, device: torch.device, reporter: Reporter) -> Precision:
    """fp32 or bf16: what was asked for, or the faster of the two here.

    Arguments:
        precision: fp32, bf16 or auto.
        device: where it will run.
        reporter: told what was measured.
    """
    if precision != "auto":
        return precision
    single, half = (matrix_rate(device, dtype) for dtype in (torch.float32, torch.bfloat16))
    chosen: Precision = "bf16" if half > single else "fp32"
    reporter.say(f"precision {chosen}: one matrix product runs at {single:,.0f} GFLOP/s in fp32, {half:,.0f} in bf16 on this machine")
    return chosen


def keep_precision(
    plan: Path, precision: Precision, device: torch.device, reporter: Reporter, measure: Callable[[], Precision] | None = None
) -> Precision:
    """fp32 or bf16 as asked for; where that is auto, as measured the first time and kept in a small manifest.

    Arguments:
        plan: where the choice is kept, so that a later call does not measure anew and choose otherwise.
        precision: fp32, bf16 or auto.
        device: where it will run.
        reporter: told what was measured or kept.
        measure: finds and tells the faster one; None times a matrix product in each.
    """
    if precision != "auto":
        return precision
    if plan.exists():
        kept: Precision = read_manifest(plan, "precision")["precision"]
        reporter.say(f"precision {kept}, as measured when this work began")
        return kept
    chosen = measure() if measure else settle_precision("auto", device, reporter)
    write_manifest(plan, "precision", {}, {"precision": chosen})
    return chosen


def product_in_float32(left: Tensor, right: Tensor) -> Tensor:
    """Left [m, d] bf16 times right [n, d] bf16 transposed: products exact, sums in float32, nothing rounded to bf16: [m, n]."""
    if _sums_in_float32(left.device):
        return torch.mm(left, right.T, out_dtype=torch.float32)
    return left.float() @ right.float().T


@cache
def _sums_in_float32(device: torch.device) -> bool:
    """Whether torch multiplies bf16 into float32 here; else it would round the sums to bf16."""
    probe = torch.ones(16, 16, dtype=torch.bfloat16, device=device)
    try:
        return torch.mm(probe, probe, out_dtype=torch.float32).dtype == torch.float32
    except (TypeError, RuntimeError):
        return False


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, in Python's, torch's or an allocator's words."""
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in MEMORY_ERRORS)


def without_memory(error: BaseException) -> str:
    """How memory ran out, as the end of a sentence.

    Raises:
        the error, where it says something else.
    """
    if not out_of_memory(error):
        raise error
    said = ". ".join(str(error).split(". ")[:3])  # torch: what was asked for, what there is, what is free
    return f": {said}" if said else ""


def release_memory() -> None:
    """Give back what a GPU's allocator keeps for later; to be called when the tensors are gone."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def autocast(precision: Precision, device: torch.device) -> Iterator[None]:
    """bf16 autocast, or nothing; on a GPU without cuDNN's attention, which makes a plan for every new shape: batches of texts have many."""
    with ExitStack() as stack:
        if precision == "bf16":
            stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
        if device.type == "cuda":
            stack.enter_context(sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]))
        yield
