"""Ctrl-C waits for the end of a step, so that a training state is never torn; a second one does not wait."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from umr.progress import Reporter


@contextmanager
def deferred_interrupt(reporter: Reporter) -> Iterator[threading.Event]:
    """While the context is open, Ctrl-C sets an event instead of raising; pressed twice, it raises.

    Arguments:
        reporter: told that the step is being finished.

    Yields:
        the event. Outside the main thread signals cannot be caught, and it is never set.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        reporter.say("finishing this step, then saving (Ctrl-C again stops at once, losing the steps since the last save)")

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
