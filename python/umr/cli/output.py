"""How a command ends: its result on stdout, errors on stderr with their hint, and the exit codes 0, 1, 2 (130 for Ctrl-C)."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.markup import escape

from umr.cli.reporter import RichReporter
from umr.errors import UmrError
from umr.storage import storage_error

INTERRUPTED = 130


@dataclass(frozen=True)
class Result:
    """What a command has found.

    Arguments:
        data: for `--json`.
        shown: what a person sees on stdout, in order: rich renderables or lines of text.
    """

    data: Mapping[str, Any]
    shown: list[RenderableType] = field(default_factory=list)


def finish(work: Callable[[RichReporter], Result], as_json: bool, quiet: bool) -> None:
    """Run a command and end the process with its exit code.

    Arguments:
        work: the command, its options filled in.
        as_json: one JSON object on stdout.
        quiet: no talk.
    """
    try:
        _show(work(RichReporter(quiet)), as_json)
    except UmrError as error:
        _fail(error.message, error.hint, type(error).__name__, error.exit_code, as_json)
    except KeyboardInterrupt:
        _fail(
            "interrupted",
            "run the same command again: it goes on where it stopped",
            "Interrupted",
            INTERRUPTED,
            as_json,
        )
    except BrokenPipeError:
        sys.stderr.close()
        raise typer.Exit(0) from None
    except OSError as error:
        known = storage_error(error, getattr(error, "filename", None) or "a file")  # type: ignore[arg-type]
        _fail(known.message, known.hint, type(known).__name__, known.exit_code, as_json)
    except MemoryError:
        _fail(
            "out of memory",
            "use fewer tokens at once: --batch-tokens (mine), --memory (label), --chunk-tokens (train)",
            "MemoryError",
            2,
            as_json,
        )
    except Exception as error:
        traceback.print_exc()
        _fail(
            f"{type(error).__name__}: {error}",
            "this is a fault of umr: please report it with the lines above",
            type(error).__name__,
            2,
            as_json,
        )


def _show(result: Result, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(dict(result.data), ensure_ascii=False, allow_nan=False) + "\n")
        return
    console = Console(highlight=False)
    for item in result.shown:
        console.print(escape(item) if isinstance(item, str) else item, soft_wrap=isinstance(item, str))


def _fail(message: str, hint: str, kind: str, code: int, as_json: bool) -> None:
    console = Console(stderr=True, highlight=False)
    console.print(f"[bold red]error:[/bold red] {escape(message)}", soft_wrap=True)
    if hint:
        console.print(f"[bold cyan]hint:[/bold cyan] {escape(hint)}", soft_wrap=True)
    if as_json:
        sys.stdout.write(json.dumps({"error": {"kind": kind, "message": message, "hint": hint}}, ensure_ascii=False) + "\n")
    raise typer.Exit(code)
