"""The name and the flags of the machine under the figures."""

from __future__ import annotations

import os
import platform
from pathlib import Path

FLAGS = (
    "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8",
    "asimddp", "i8mm", "bf16",
)  # fmt: skip


def hardware(threads: int) -> str:
    """One line: processor, what it can, threads, memory, versions."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    found = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    flags = set((found.get("flags") or found.get("Features") or "").split())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    family = f"family {found.get('cpu family', '?')} model {found.get('model', '?')}"
    name = found.get("model name", platform.processor() or platform.machine())
    can = " ".join(f for f in FLAGS if f in flags)
    return f"{name} ({family}), {can}; {threads} of {os.cpu_count()} threads, {memory:.0f} GiB, Python {platform.python_version()}"
