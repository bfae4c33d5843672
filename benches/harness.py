"""What every benchmark shares: options, timing, the table, the JSON file and the verdict.

A benchmark is a function that fills a `Report`; `bench` runs it and decides the exit code:

    0  the targets hold (with --check), or everything ran and agreed (without)
    1  a target does not hold, or results differ that must be equal
    2  nothing was decided: a rival, a data file or a model is missing, the extension is a debug build, --check was
       given sizes other than the stated ones, or something failed

Not a benchmark itself: running this file does nothing. Machine facts are in hardware.py and parts/machine.py.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benches.hardware import hardware

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"
REPEATS = 3
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "TOKENIZERS_NUM_THREADS")


class UnavailableError(Exception):
    """Something that the benchmark needs is not here: nothing can be decided (exit 2)."""


class DiffersError(Exception):
    """Two results that must be equal are not (exit 1)."""


@dataclass(frozen=True)
class Target:
    """A stated figure.

    Arguments:
        name: what is measured.
        value: what was measured.
        bound: what it must reach.
        at_least: whether the bound is from below; else the value must not exceed it.
        strict: a value equal to the bound does not do.
    """

    name: str
    value: float
    bound: float
    at_least: bool = True
    strict: bool = False

    @property
    def holds(self) -> bool:
        """Whether the target is reached; a value that is no number reaches nothing."""
        inside = self.value >= self.bound if self.at_least else self.value <= self.bound
        return bool(inside and not (self.strict and self.value == self.bound))

    def line(self) -> str:
        """One line for people."""
        sign = (">" if self.at_least else "<") + ("" if self.strict else "=")
        return f"{'holds' if self.holds else 'FAILS'}  {self.name}: {self.value:.4g} ({sign} {self.bound:g})"


@dataclass
class Report:
    """What a benchmark found: rows of the table, facts for the reader, targets for the verdict."""

    name: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    problem: str = ""

    def row(self, **cells: Any) -> None:
        """Add a row; its keys are the columns, units included."""
        self.rows.append(cells)

    def fact(self, name: str, value: Any) -> None:
        """Keep a fact and say it at once."""
        self.facts[name] = value
        say(f"{name}: {value}")

    def target(self, name: str, value: float, bound: float, at_least: bool = True, strict: bool = False) -> None:
        """State a figure that decides."""
        self.targets.append(Target(name, float(value), bound, at_least, strict))

    @property
    def holds(self) -> bool:
        """Whether there are targets and all of them hold."""
        return bool(self.targets) and all(t.holds for t in self.targets)


def say(message: str) -> None:
    """One line of talk on stderr; stdout is for the table and the verdict."""
    print(message, file=sys.stderr, flush=True)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark; the file's docstring is its help."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    made.add_argument("--check", action="store_true", help="only the stated cells; exit 0 exactly when the targets hold")
    made.add_argument("--threads", type=positive, default=cores(), help="threads of every engine [default: all]")
    made.add_argument("--repeats", type=positive, default=REPEATS, help="timed runs a cell, the median counts [default: 3]")
    made.add_argument("--gemm", type=positive, default=4096, help="size of the matrices whose product is the peak [default: 4096]")
    return made


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("expected at least 1")
    return value


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def bench(options: argparse.ArgumentParser, body: Callable[[argparse.Namespace, Report], None]) -> int:
    """Run a benchmark.

    Arguments:
        options: from `parser`, with the benchmark's own. The stated cells are their defaults.
        body: fills the report.

    Returns:
        the exit code.
    """
    args = options.parse_args()
    report = Report(Path(sys.argv[0]).stem)
    set_threads(args.threads)
    code = _run(args, report, body)
    other = [n for n, v in vars(args).items() if n not in ("json", "check", "work") and v != options.get_default(n)]
    if args.check and code == 0 and other:
        report.problem, code = f"not the stated cells ({', '.join(other)} changed): nothing is decided", 2
    elif args.check and code == 0 and not report.holds:
        code = 1
    _show(report, code, args.check)
    if args.json:
        _write(args.json, report, args, code)
    return code


def set_threads(threads: int) -> None:
    """Give every engine of this process and of its children the same threads; call before they are imported."""
    for name in THREADS:
        os.environ[name] = str(threads)
    os.environ |= {"TOKENIZERS_PARALLELISM": "true", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


def _run(args: argparse.Namespace, report: Report, body: Callable[[argparse.Namespace, Report], None]) -> int:
    try:
        require_release()
        report.fact("hardware", hardware(args.threads))
        body(args, report)
    except UnavailableError as error:
        report.problem = f"cannot decide: {error}"
        return 2
    except DiffersError as error:
        report.problem = f"results differ: {error}"
        return 1
    except Exception as error:
        traceback.print_exc()
        report.problem = f"cannot decide: {type(error).__name__}: {error}"
        return 2
    return 0


def require_release() -> None:
    """Refuse a missing extension and a debug build."""
    try:
        from umr._rust import build_info
    except ImportError as error:
        raise UnavailableError(f"umr is not installed here ({error}); run `make test` and use .venv/bin/python") from error
    profile = build_info()["profile"]
    if profile != "release":
        raise UnavailableError(f"the extension is a {profile} build, its times mean nothing; run `make test` for the release build")


def require_package(module: str, package: str) -> None:
    """Refuse to go on without a rival."""
    if find_spec(module) is None:
        raise UnavailableError(f"the rival {package} is not installed; run `make test`, which installs the dev extra")


def require_file(*parts: str) -> Path:
    """A file beside the repository, under shared/."""
    path = SHARED.joinpath(*parts)
    if not path.is_file():
        raise UnavailableError(f"{path} is not there; the benchmark needs it")
    return path


def require_model(name: str) -> str:
    """The folder of a `pypi:` model, converted when it is met first."""
    from umr.errors import UmrError
    from umr.models import resolve

    try:
        return resolve(name)
    except UmrError as error:
        raise UnavailableError(f"the model {name} is not here: {error.message} ({error.hint})") from error


@contextmanager
def stopwatch(times: list[float]) -> Iterator[None]:
    """Append the seconds that the block takes."""
    start = time.perf_counter()
    yield
    times.append(time.perf_counter() - start)


def timed(call: Callable[[], Any], repeats: int, warm_up: Callable[[], Any] | None = None) -> tuple[float, Any]:
    """The median seconds of a call, and what it returned last.

    Arguments:
        call: is timed `repeats` times.
        repeats: timed runs.
        warm_up: is run once before; None runs the call itself.
    """
    (warm_up or call)()
    times: list[float] = []
    result = None
    for _ in range(repeats):
        with stopwatch(times):
            result = call()
    return statistics.median(times), result


def _show(report: Report, code: int, check: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160)
    columns = list(dict.fromkeys(key for row in report.rows for key in row))
    if columns:
        table = Table(title=report.name)
        for column in columns:
            table.add_column(column, justify="left" if isinstance(report.rows[0].get(column), str) else "right")
        for row in report.rows:
            table.add_row(*(_text(row.get(column)) for column in columns))
        console.print(table)
    for name, value in report.facts.items():
        print(f"{name}: {value}")
    print("\n".join(_verdict(report, code, check)), flush=True)


def _verdict(report: Report, code: int, check: bool) -> list[str]:
    lines = [t.line() for t in report.targets]
    if report.problem:
        return [*lines, report.problem]
    if not check:
        return ["results agree; --check decides by the stated cells", *lines]
    return ["all targets hold" if code == 0 else "a target does not hold", *lines]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"


def _write(path: Path, report: Report, args: argparse.Namespace, code: int) -> None:
    options = {k: v for k, v in vars(args).items() if k != "json"}
    targets = [asdict(t) | {"holds": t.holds} for t in report.targets]
    value = {
        "bench": report.name, "exit": code, "problem": report.problem, "options": options,
        "facts": report.facts, "rows": report.rows, "targets": targets,
    }  # fmt: skip
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
