"""What the machine can do: the peak of its matrix product, and a process whose memory is watched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benches.harness import REPOSITORY, UnavailableError

POLL = 0.005  # seconds between two looks at a child's memory
TAIL = 1500  # characters of a failed child's talk that are shown


@dataclass
class Peaks:
    """GFLOP/s (int8: Gop/s) of a square matrix product; the best of all looks."""

    f32: float = 0.0
    bf16: float = 0.0
    int8: float = 0.0

    def look(self, size: int, threads: int) -> None:
        """Measure, best of three products each, and keep what is faster than before."""
        import torch

        torch.set_num_threads(threads)
        for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
            a = torch.randn(size, size).to(dtype)
            setattr(self, name, max(getattr(self, name), _rate(partial(torch.matmul, a, a), size)))
        b = torch.randint(-127, 127, (size, size), dtype=torch.int8)
        self.int8 = max(self.int8, _rate(lambda: torch._int_mm(b, b), size))

    @property
    def faster(self) -> str:
        """fp32 or bf16, whichever multiplies faster here."""
        return "bf16" if self.bf16 > self.f32 else "fp32"

    def __str__(self) -> str:
        return f"f32 {self.f32:,.0f}, bf16 {self.bf16:,.0f} GFLOP/s, int8 {self.int8:,.0f} Gop/s"


def _rate(product: Callable[[], Any], size: int) -> float:
    product()
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


@dataclass(frozen=True)
class Finished:
    """A child that ended well: the JSON object on its last line, and its peak anonymous memory (RssAnon) in MiB."""

    value: dict[str, Any]
    anonymous: float


def child(command: Sequence[str], environment: dict[str, str] | None = None) -> Finished:
    """Run a program of its own and watch its memory: mapped files do not count, whatever else it holds does.

    Arguments:
        command: arguments of this Python; the last line that it prints is a JSON object.
        environment: added to ours.

    Raises:
        UnavailableError: it ended with exit code 2, which says that something is missing.
        RuntimeError: it failed.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as talk:
        process = subprocess.Popen(
            [sys.executable, *command], stdout=out, stderr=talk, cwd=REPOSITORY, env=os.environ | (environment or {})
        )  # fmt: skip
        try:
            anonymous = _watch(process)
        finally:
            process.kill()
            process.wait()
        out.seek(0)
        talk.seek(0)
        if process.returncode:
            message = f"{' '.join(command[:3])} ended with {process.returncode}: {talk.read()[-TAIL:].strip()}"
            raise UnavailableError(message) if process.returncode == 2 else RuntimeError(message)
        return Finished(json.loads(out.read().strip().splitlines()[-1]), anonymous / 1024)


def _watch(process: subprocess.Popen[bytes]) -> int:
    status, most = Path(f"/proc/{process.pid}/status"), 0
    while process.poll() is None:
        most = max(most, _anonymous(status))
        time.sleep(POLL)
    return most


def _anonymous(status: Path) -> int:
    try:
        text = status.read_text(encoding="ascii", errors="replace")
    except OSError:  # it has just ended
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("RssAnon:")), 0)
