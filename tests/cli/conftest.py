"""The command line in this process: `shell("mine", work, ...)` gives exit code, stdout and stderr apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tiny
from umr.cli import app


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout; nothing else may stand there."""
        assert self.out.count("\n") == 1, self.out
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value

    @property
    def talk(self) -> str:
        """Stderr on one line, as it reads."""
        return " ".join(self.err.split())


Shell = Callable[..., Done]


def run(*arguments: object, columns: int = 200) -> Done:
    """Run one command in a terminal of so many columns."""
    found = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"})
    return Done(found.exit_code, found.stdout, found.stderr)


@pytest.fixture
def shell() -> Shell:
    return run


@dataclass(frozen=True)
class Kit:
    """Tiny models and files to call commands with."""

    bert: Path
    llama: Path
    passages: Path
    queries: Path

    @property
    def inputs(self) -> tuple[object, ...]:
        """The options that begin a work folder."""
        return (*self.files, *self.encoder)

    @property
    def files(self) -> tuple[object, ...]:
        return ("--passages", self.passages, "--queries", self.queries)

    @property
    def encoder(self) -> tuple[object, ...]:
        return ("--encoder", self.bert, "--pooling", "mean", "--similarity", "cosine")


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    folder = tmp_path_factory.mktemp("kit")
    corpus = tiny.tiny_corpus(folder / "data", 9, 8)
    return Kit(tiny.encoder(folder / "bert"), tiny.llama(folder / "llama"), corpus.passages, corpus.queries)


TRAIN = ("--epochs", 1, "--batch-size", 4, "--passages-per-query", 2, "--held-out", 0.2)


@pytest.fixture(scope="session")
def trained(kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder after one round through the command line."""
    work = tmp_path_factory.mktemp("trained") / "work"
    for call in (
        ("mine", work, *kit.inputs, "--top-k", 4),
        ("label", work, "--lm", kit.llama, "--precision", "fp32"),
        ("train", work, *TRAIN),
    ):
        done = run(*call)
        assert done.code == 0, done.err
    return work


@pytest.fixture
def work(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained work folder."""
    return Path(shutil.copytree(trained, tmp_path / "work"))
