"""Language models made once a session, by name and options."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import tiny


@pytest.fixture(scope="session")
def lm_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function: name of a maker in `tiny`, its options -> the folder of the model."""

    @cache
    def make(name: str, **options: Any) -> Path:
        folder: Path = getattr(tiny, name)(tmp_path_factory.mktemp(name), **options)
        return folder

    return make


@pytest.fixture(scope="session")
def lm(lm_folder: Callable[..., Path]) -> Callable[..., Any]:
    """A function: name and options -> the loaded `LanguageModel` in float32."""

    @cache
    def load(name: str, **options: Any) -> Any:
        import torch

        from umr.models.lm import find_lm, load_lm
        from umr.progress import Silent

        return load_lm(find_lm(str(lm_folder(name, **options)), Silent()), "fp32", torch.device("cpu"))

    return load


@pytest.fixture
def work(tmp_path: Path) -> Any:
    """A work folder with a mined round."""
    made = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "corpus"))
    tiny.mined(made, k=4)
    return made
