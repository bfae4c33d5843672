"""Ctrl-C, SIGTERM and SIGHUP wait for the end of a step, so that a training state is never torn; a second one does not wait."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from umr.errors import Interrupted
from umr.progress import Reporter

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # of Ctrl-C, of Slurm and kill, of a closed terminal


class Stop:
    """Which signal asked the training to stop; 0 where none did."""

    signal = 0


@contextmanager
def deferred_interrupt(reporter: Reporter, patient: bool = False) -> Iterator[Stop]:
    """While the context is open, a signal is noted instead of ending the process; a second one ends it. One that is ignored stays so.

    Arguments:
        reporter: told that the step is being finished.
        patient: whether a second SIGTERM waits too: a scheduler sends one to each process, and a launcher another.

    Yields:
        what was noted. Outside the main thread signals cannot be caught, and nothing is.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.signal and not (patient and number == signal.SIGTERM):
            raise Interrupted(stop.signal)
        stop.signal = stop.signal or number
        reporter.say("finishing this step, then saving (Ctrl-C again stops at once, losing the steps since the last save)")

    caught = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = [(number, signal.signal(number, handle)) for number in caught]
    try:
        yield stop
    finally:
        for number, handler in before:
            signal.signal(number, handler)
