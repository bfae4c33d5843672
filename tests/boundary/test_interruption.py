"""Long calls release the GIL, count what they do, and end at Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from umr._rust import Counter, search

LONG_SEARCH = """
import signal, sys, time
import numpy as np
from umr._rust import search

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would inherit an ignored one

print("searching", flush=True)
started = time.perf_counter()
try:
    search(np.ones((20_000, 256), np.float32), [(sys.argv[1], 0, 1_000_000)], "f32", 100)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.fixture
def zeros(tmp_path: Path) -> Path:
    """A million rows of 256 zeros; the file is sparse and takes no room."""
    path = tmp_path / "zeros"
    with path.open("wb") as file:
        file.truncate(1_000_000 * 256 * 4)
    return path


def test_ctrl_c_ends_a_long_search(zeros: Path) -> None:
    command = [sys.executable, "-c", LONG_SEARCH, str(zeros)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "searching\n"
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        sent = time.perf_counter()
        assert child.stdout.readline() == "interrupted\n"
        assert time.perf_counter() - sent < 5
        assert child.wait(30) == 0


def test_another_thread_runs_meanwhile(zeros: Path) -> None:
    queries, counter = np.ones((60, 256), np.float32), Counter()
    work = threading.Thread(target=lambda: search(queries, [(str(zeros), 0, 1_000_000)], "f32", 1, counter=counter), daemon=True)
    work.start()
    seen = set()
    while work.is_alive():
        seen.add(counter.value)
        time.sleep(0.001)
    work.join()
    assert counter.value == 60
    assert len(seen) > 3
