"""Amounts of memory: as people write them, and what is free."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

from umr.errors import UsageError

UNKNOWN = 4 << 30  # bytes, where the system does not say what is free
LEAST = 10**6  # bytes: less is a slip, not a limit
GROUPS = Path("/sys/fs/cgroup")
UNITS = {"b": 1} | {
    f"{letter}{middle}b": base**power
    for power, letter in enumerate("kmgt", start=1)
    for middle, base in (("", 1000), ("i", 1024))
}  # fmt: skip


def bytes_of(text: str, name: str = "size") -> int:
    """The number of bytes that a size stands for: `8GB`, `512 MiB`, `1.5 gb`.

    Arguments:
        text: a number and a unit: B; KB, MB, GB, TB (powers of 1000); KiB, MiB, GiB, TiB (powers of 1024). Case does not matter.
        name: of the option, for the message.

    Raises:
        UsageError: it has another form, or is less than one byte.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]+)", str(text).strip().lower(), re.ASCII)
    if not found or found[2] not in UNITS:
        raise UsageError(
            f"{name} is {text!r}, expected a number of bytes with its unit",
            "write a number and B, KB, MB, GB, TB, KiB, MiB, GiB or TiB: 8GB",
        )
    size = int(Decimal(found[1]) * UNITS[found[2]])
    if size < 1:
        raise UsageError(f"{name} is {text!r}, expected at least one byte", "write a size such as 8GB")
    return size


def working_memory(text: str, name: str) -> int:
    """The bytes of a size in which a stage can work.

    Raises:
        UsageError: it is no size, or less than a megabyte.
    """
    size = bytes_of(text, name)
    if size < LEAST:
        raise UsageError(f"{name} is {text!r}, expected at least 1MB", "write a size such as 8GB")
    return size


def free_memory(device: str) -> int:
    """Bytes that are free: on `cuda` or `cuda:N` its own, else those of the machine within the limit of the control group."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    return min(_available(), _group_room())


def total_memory(device: str) -> int:
    """Bytes in all: of a CUDA device its own, else those of the machine within the limit of the control group."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(torch.device(device))[1])
    try:
        limit = (GROUPS / "memory.max").read_text(encoding="ascii").strip()
    except OSError:
        limit = "max"
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return machine if limit == "max" else min(machine, int(limit))


def _available() -> int:
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return UNKNOWN


def _group_room() -> int:
    """What the control group (a container, a job) may still take; without one, anything."""
    try:
        limit = (GROUPS / "memory.max").read_text(encoding="ascii").strip()
        taken = int((GROUPS / "memory.current").read_text(encoding="ascii"))
        return 1 << 62 if limit == "max" else max(0, int(limit) - taken)
    except (OSError, ValueError):
        return 1 << 62
