"""One labelled work folder a session, copied for every test that trains in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny
from train.rig import encoder_config, labelled, opened
from umr.data.workspace import Workspace, open_workspace

Begin = Callable[..., Workspace]


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory, bert: Path) -> Path:
    """A work folder, mined and labelled."""
    folder = tmp_path_factory.mktemp("ready")
    labelled(opened(folder / "work", tiny.tiny_corpus(folder / "data", 13, 17), encoder_config(bert)))
    return folder / "work"


@pytest.fixture
def begin(ready: Path, tmp_path: Path) -> Begin:
    """A function: name -> a copy of the labelled work folder, open."""

    def make(name: str = "work", **_: Any) -> Workspace:
        return open_workspace(Path(shutil.copytree(ready, tmp_path / name)))

    return make
