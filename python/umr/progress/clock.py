"""How fast a stage is and how long it will take: the one clock behind bars, lines of a log and notebooks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from threading import Lock

WINDOW_SECONDS = 60.0  # the speed is that of so long
STEP_SECONDS = 1.0  # between two moments that are remembered
LARGE = 1_000_000
TIMED_SECONDS, WARM_SECONDS = 30.0, 6.0  # of `seconds_of`: in all, and of a first call that does not count
UNITS = (("G", 1e9), ("M", 1e6), ("k", 1e3))


class Clock:
    """Counts finished items; the speed and the time left are those of the last minute, looked at anew each time they are asked for.

    Where less than one advance falls into a minute, the speed is that since the one before the last.

    Arguments:
        total: items in all; 0 where that is not known.
        now: the time in seconds.
    """

    def __init__(self, total: float, now: Callable[[], float] = time.monotonic) -> None:
        self.total, self.done, self._skipped, self._now, self._lock = total, 0.0, 0.0, now, Lock()
        self._seen = deque([(now(), 0.0)])  # (time, items done by then but for those skipped), the last one of the last advance
        self._start = self._seen[0][0]

    def advance(self, items: float) -> None:
        """Add items that have just been finished."""
        if not items:
            return
        with self._lock:
            self.done += items
            now = self._now()
            if len(self._seen) > 1 and now - self._seen[-2][0] < STEP_SECONDS:
                self._seen.pop()
            self._seen.append((now, self.done - self._skipped))
            self._forget(now)

    def skip(self, items: float) -> None:
        """Add items that an earlier run has finished."""
        with self._lock:
            self.done += items
            self._skipped += items

    def _forget(self, now: float) -> None:
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW_SECONDS:
            self._seen.popleft()

    @property
    def elapsed(self) -> float:
        """Seconds since the clock was made."""
        return self._now() - self._start

    @property
    def rate(self) -> float:
        """Items a second in the last minute; 0 where nothing has been finished."""
        with self._lock:
            now = self._now()
            self._forget(now)
            (since, before), (_, finished) = self._seen[0], self._seen[-1]
            return (finished - before) / (now - since) if now > since else 0.0

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes at the speed of the last minute; None where that cannot be said."""
        rate = self.rate
        return max(0.0, self.total - self.done) / rate if rate and self.total else None

    def count(self, unit: str) -> str:
        """Items done of all: `1,234/10,000 pairs`."""
        large = self.total >= LARGE
        return f"{number(self.done, large)}/{number(self.total, large)} {unit}"

    def speed(self) -> str:
        """The speed of the last minute, `12.3/s`; empty where there is none."""
        return _speed(self.rate) if self.rate else ""

    def line(self, unit: str) -> str:
        """Items done, speed and time left in one line; the time so far where the total is not known."""
        if not self.total:
            return f"{duration(self.elapsed)} so far"
        left = self.left
        return ", ".join(filter(None, (self.count(unit), self.speed(), "" if left is None else f"{duration(left)} left")))

    def summary(self, unit: str) -> str:
        """Items done since the clock was made, in what time and how fast: `8,960 pairs in 16 min, 9.4/s`."""
        new, elapsed = self.done - self._skipped, self.elapsed
        what = f"{number(new, new >= LARGE)} {unit} in " if self.total else ""
        return f"{what}{duration(elapsed)}" + (f", {_speed(new / elapsed)}" if self.total and elapsed else "")


def seconds_of(calls: Iterable[tuple[Callable[[], object], float]]) -> float:
    """Seconds that one item takes, by calls that each do some items.

    Arguments:
        calls: what is timed, and its items; the first one warms up, and counts only where it takes long. After half a minute
            no further one is made.
    """
    begun, seconds, items = time.monotonic(), 0.0, 0.0
    for number, (call, amount) in enumerate(calls):
        start = time.monotonic()
        call()
        now = time.monotonic()
        if number == 1 and seconds < WARM_SECONDS:
            seconds, items = 0.0, 0.0
        seconds, items = seconds + now - start, items + amount
        if now - begun > TIMED_SECONDS:
            break
    return seconds / items


def number(value: float, large: bool) -> str:
    """12,345,678; where such numbers are too long for a line 12.3M."""
    if not large:
        return f"{value:,.0f}"
    unit, size = next(((unit, size) for unit, size in UNITS if value >= size), ("", 1))
    return f"{value / size:.1f}{unit}"


def _speed(rate: float) -> str:
    return f"{rate:.2g}/s" if rate < 1 else f"{number(rate, True)}/s"


def duration(seconds: float) -> str:
    """A time in the two largest of its units: `3 h 20 min`."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"
