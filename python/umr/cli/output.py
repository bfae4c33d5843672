"""How a command ends: its result on stdout, an error on stderr with its hint, and the exit codes 0, 1, 2, or that of a signal."""

from __future__ import annotations

import json
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import typer
from rich.console import RenderableType
from rich.text import Text

from umr.errors import Interrupted, StorageError, UmrError
from umr.progress import Reporter, console
from umr.progress.reporter import Silent
from umr.progress.terminal import STEERING, Terminal, drop
from umr.storage import storage_error
from umr.work.ranks import Ranks, ranks_of

SIGNALS = (signal.SIGTERM, signal.SIGHUP)
"""Sent by Slurm, `kill` and a closed terminal; they end a command as Ctrl-C does, keeping what is finished."""


def obey_signals() -> None:
    """Let SIGTERM and SIGHUP interrupt the process as Ctrl-C does; one that is ignored, as `nohup` has it, stays so."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


@dataclass(frozen=True)
class Result:
    """What a command has found.

    Arguments:
        data: for `--json`.
        shown: what a person sees on stdout, in order: rich renderables or lines of text.
        code: the exit code.
    """

    data: Mapping[str, Any]
    shown: list[RenderableType] = field(default_factory=list)
    code: int = 0


def unfinished(ranks: Ranks | None) -> Result:
    """Of a rank that has done its part of a stage, while others are at work."""
    return Result({"finished": False}, [f"{ranks}: done; the last rank to end finishes the round"])


def finish(work: Callable[[Reporter], Result], as_json: bool, quiet: bool) -> None:
    """Run a command and end the process with its exit code.

    Arguments:
        work: the command, its options filled in.
        as_json: one JSON object on stdout.
        quiet: only warnings on stderr.
    """
    try:
        result = work(console.Console(quiet) if _speaks() else Silent())
        if _speaks():
            _show(result, as_json)
    except BrokenPipeError:
        drop(sys.stdout)
        raise typer.Exit(0) from None
    except (Exception, KeyboardInterrupt) as error:
        _fail(error, as_json)
    else:
        if result.code:
            raise typer.Exit(result.code)


def _speaks() -> bool:
    """Whether this process speaks: of the processes of one torchrun, rank 0 does for all."""
    ranks = ranks_of()
    return ranks is None or ranks.rank == 0


def _told(error: BaseException) -> tuple[str, str, int]:
    """Message, hint and exit code of an error."""
    if isinstance(error, UmrError):
        return error.message, error.hint, error.exit_code
    if isinstance(error, KeyboardInterrupt):
        number = error.signal if isinstance(error, Interrupted) else signal.SIGINT
        what = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        return what, "run the same command again: it goes on where it stopped", 128 + number
    if isinstance(error, MemoryError):
        hint = "compute fewer tokens at once: batch_tokens for mine, --memory for label, chunk_tokens for train (`umr init` explains them)"
        return "out of memory", hint, 2
    Terminal(stderr=True).print("".join(traceback.format_exception(error)), soft_wrap=True)
    return f"{type(error).__name__}: {error}", "this is a fault of umr: please report it with the lines above", 2


def _show(result: Result, as_json: bool) -> None:
    if sys.stdout is None:  # what Python makes of a descriptor that was closed
        raise StorageError("stdout is closed: there is nowhere to write the result", "the work is done: redirect stdout and run again")
    try:
        if as_json:
            sys.stdout.write(_json(result.data))
        console = Terminal()
        for item in () if as_json else result.shown:
            console.print(item, soft_wrap=isinstance(item, str))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        drop(sys.stdout)
        raise storage_error(error, Path("stdout"), "write") from error


def _json(value: Mapping[str, Any]) -> str:
    """One line of JSON in which nothing steers a terminal."""
    text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False)
    return STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def _fail(error: BaseException, as_json: bool) -> None:
    if isinstance(error, OSError):
        error = storage_error(error, Path(error.filename or "a file"))
    message, hint, code = _told(error)
    console = Terminal(stderr=True)
    console.print(Text.assemble(("error:", "bold red"), f" {message}"), soft_wrap=True)
    if hint:
        console.print(Text.assemble(("hint:", "bold cyan"), f" {hint}"), soft_wrap=True)
    if as_json and sys.stdout is not None and _speaks():
        value = {"kind": type(error).__name__, "message": message, "hint": hint}
        sys.stdout.write(_json({"error": value}))
    raise typer.Exit(code)
