"""Published figures again: the command that gave each, run and compared with what docs/results.md and the others say.

docs/reproduce.yaml lists them; docs/reproduce.md is made from it. Texts in braces stand for files: {out} is the JSON file of a benchmark,
{work} a new folder, {shared} the data beside the repository. A figure is found by a path into the JSON: a key, or {key: value, ...} for
the first row of a list that has these. An entry without figures is a benchmark of speed or faults, whose machine decides: its own
targets, which are ratios, and its exit code stand for them.

    .venv/bin/python benches/reproduce.py            the names
    .venv/bin/python benches/reproduce.py NAME ...   runs them: exit 0 when every figure is within its tolerance, 1 when one is not,
                                                     2 when a command failed
    .venv/bin/python benches/reproduce.py --write    docs/reproduce.md
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benches.harness import REPOSITORY, SHARED

LIST, PAGE = REPOSITORY / "docs" / "reproduce.yaml", REPOSITORY / "docs" / "reproduce.md"
HEAD = """\
# Results as commands

Made from reproduce.yaml by `benches/reproduce.py --write`. `make reproduce NAME=...` runs a figure's command and compares what comes
out with what [results.md](results.md) says; it ends with exit code 1 where a figure is out of its tolerance. Values are percent;
tolerances are in points, wider by language, since one query moves a language by much. They hold for other processors too. Benchmarks
of speed and of faults (the last ones) have targets of their own, which are ratios and equalities: their exit code decides.
"""


@dataclass(frozen=True)
class Figure:
    """One number.

    Arguments:
        at: the path of it in the JSON.
        value: what was published.
        tolerance: how far another run may be off.
        scale: what the JSON's number is multiplied by.
    """

    at: tuple[Any, ...]
    value: float
    tolerance: float
    scale: float = 1.0

    @property
    def name(self) -> str:
        """The path in words."""
        return " / ".join(" ".join(map(str, step.values())) if isinstance(step, Mapping) else str(step) for step in self.at)


def entries() -> dict[str, dict[str, Any]]:
    """Name -> what is published, as the list has it."""
    import yaml

    found: dict[str, dict[str, Any]] = yaml.safe_load(LIST.read_text(encoding="utf-8"))
    return found


def figures(entry: Mapping[str, Any]) -> Iterator[Figure]:
    """The numbers of an entry; a step `{each}` of a path stands for every key of `values`."""
    for one in entry.get("expected", []):
        for key, value in one["values"].items() if "values" in one else [("", one["value"])]:
            yield Figure(tuple(_filled(step, str(key)) for step in one["at"]), value, one["tolerance"], one.get("scale", 1.0))


def _filled(step: Any, key: str) -> Any:
    if isinstance(step, Mapping):
        return {name: _filled(value, key) for name, value in step.items()}
    return step.replace("{each}", key) if isinstance(step, str) else step


def looked_up(found: Any, at: tuple[Any, ...]) -> float:
    """The number at a path.

    Raises:
        KeyError: there is none.
    """
    for step in at:
        if isinstance(step, Mapping):
            rows = [row for row in found if all(str(row.get(name)) == str(value) for name, value in step.items())]
            if not rows:
                raise KeyError(f"no row with {dict(step)}")
            found = rows[0]
        else:
            found = found[step]
    return float(found)


def compared(entry: Mapping[str, Any], found: Any) -> list[tuple[Figure, float, bool]]:
    """Every figure of an entry with what was found, and whether it is within its tolerance."""
    pairs = [(figure, figure.scale * looked_up(found, figure.at)) for figure in figures(entry)]
    return [(figure, value, abs(value - figure.value) <= figure.tolerance + 1e-9) for figure, value in pairs]


def run(entry: Mapping[str, Any]) -> Any:
    """The JSON that an entry's command gives.

    Raises:
        CalledProcessError: it fails.
    """
    with tempfile.TemporaryDirectory(prefix="umr-reproduce-") as folder:
        places = {"out": f"{folder}/out.json", "work": f"{folder}/work", "shared": str(SHARED)}
        words = [word.format(**places) for word in shlex.split(entry["command"])]
        environment = {**os.environ, **{name: value.format(**places) for name, value in entry.get("environment", {}).items()}}
        done = subprocess.run(words, cwd=REPOSITORY, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        text = Path(places["out"]).read_text(encoding="utf-8") if "{out}" in entry["command"] else done.stdout
        return json.loads(text)


def page() -> str:
    """docs/reproduce.md."""
    parts = [HEAD]
    for name, entry in entries().items():
        parts.append(f"## {name}\n\n{entry['what']}. About {entry['minutes']} minutes on 2 cores.\n\n```text\n{_shown(entry)}\n```\n")
        rows = [f"| {figure.name} | {figure.value:g} | {figure.tolerance:g} |" for figure in figures(entry)]
        if rows:
            parts.append("\n".join(["| figure | expected | tolerance |", "|---|---:|---:|", *rows]) + "\n")
        else:
            parts.append("The benchmark states its targets itself and compares the results; exit code 0 says that they hold.\n")
        if entry.get("peers"):
            peers = [f"| {one['name']} | {one['value']} | {one['source']} |" for one in entry["peers"]]
            parts.append("\n".join(["| published elsewhere | value | source |", "|---|---|---|", *peers]) + "\n")
    return "\n".join(parts)


def _shown(entry: Mapping[str, Any]) -> str:
    before = "".join(f"{name}={value} " for name, value in entry.get("environment", {}).items())
    return f"{before}{entry['command']}"


def main() -> int:
    """Run what is named."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("names", nargs="*", metavar="NAME")
    made.add_argument("--write", action="store_true", help="make docs/reproduce.md")
    args, known = made.parse_args(), entries()
    if args.write:
        PAGE.write_text(page(), encoding="utf-8")
    unknown = [name for name in args.names if name not in known]
    if unknown or not (args.names or args.write):
        print("\n".join(f"{name}: {entry['what']} ({entry['minutes']} minutes)" for name, entry in known.items()))
        return 2 if unknown else 0
    right = True
    for name in args.names:
        try:
            found = run(known[name])
        except subprocess.CalledProcessError as error:
            print(f"not decided: {name}: its command ended with {error.returncode}", file=sys.stderr)
            return 2
        for figure, value, holds in compared(known[name], found):
            said = "holds  " if holds else "DIFFERS"
            print(f"{said} {name}: {figure.name}: {value:.1f}, expected {figure.value:g} +- {figure.tolerance:g}")
            right &= holds
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
