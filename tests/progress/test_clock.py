"""Speed and time left, on a clock that the test turns."""

from __future__ import annotations

import pytest

from umr.progress.clock import Clock, duration


class Time:
    """A time that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def run(clock: Clock, time: Time, seconds: float, rate: float, step: float = 0.5) -> None:
    """Let a clock run at a rate."""
    for _ in range(round(seconds / step)):
        time.now += step
        clock.advance(rate * step)


def test_the_speed_is_that_of_the_last_minute() -> None:
    time = Time()
    clock = Clock(100_000, time)
    run(clock, time, 600, 100)
    assert clock.rate == pytest.approx(100)
    run(clock, time, 61, 10)
    assert clock.rate == pytest.approx(10)
    assert clock.left == pytest.approx((100_000 - 60_610) / 10)
    assert clock.elapsed == 661


def test_the_time_left_changes_while_nothing_is_finished() -> None:
    """A step takes 100 s, then one does not end: the estimate is made anew at every look."""
    time = Time()
    clock = Clock(10, time)
    run(clock, time, 200, 0.01, step=100)
    assert clock.left == pytest.approx(800)
    time.now += 100
    assert clock.left == pytest.approx(8 * 200)
    time.now += 700
    assert clock.left == pytest.approx(8 * 900)


def test_what_an_earlier_run_finished_says_nothing_about_the_speed() -> None:
    time = Time()
    clock = Clock(1000, time)
    clock.skip(900)
    assert clock.left is None
    run(clock, time, 10, 5)
    clock.skip(25)
    assert clock.rate == pytest.approx(5)
    assert clock.left == pytest.approx(5)
    assert clock.count("steps") == "975/1,000 steps"
    assert clock.summary("steps") == "50 steps in 10 s, 5.0/s"


def test_many_small_advances_take_no_memory() -> None:
    time = Time()
    clock = Clock(1e9, time)
    run(clock, time, 1000, 1000, step=0.01)
    assert len(clock._seen) < 70
    assert clock.rate == pytest.approx(1000)


def test_nothing_is_made_up() -> None:
    time = Time()
    clock = Clock(10, time)
    assert (clock.rate, clock.left, clock.line("texts")) == (0, None, "0/10 texts")
    clock.advance(4)
    assert (clock.rate, clock.left) == (0, None), "no time has passed"
    unknown = Clock(0, time)
    time.now += 90
    unknown.advance(3)
    assert unknown.left is None
    assert unknown.line("texts") == "2 min so far"


def test_a_line_says_done_speed_and_time_left() -> None:
    time = Time()
    clock = Clock(123_456_789, time)
    run(clock, time, 30, 1e6)
    assert clock.line("tokens") == "30.0M/123.5M tokens, 1.0M/s, 2 min left"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (59, "59 s"), (90, "2 min"), (3540, "59 min"), (3600, "1 h 0 min"), (12000, "3 h 20 min"), (900000, "10 days 10 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
