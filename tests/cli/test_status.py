"""`umr status --verify`: every kind of file that a work folder keeps is read again, and what was changed is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Shell = Callable[..., Any]


@pytest.fixture
def centred(shell: Shell, work: Path) -> Path:
    """A second round, mined in a space centred by language and with the approximate index."""
    done = shell("mine", work, "--top-k", 4, "--centre", "language", "--index", "hnsw")
    assert done.code == 0, done.err
    return work


def test_means_languages_and_the_index_are_verified_too(shell: Shell, centred: Path) -> None:
    done = shell("status", centred, "--verify")
    assert done.code == 0, done.err
    kept = [*(centred / "embeddings").rglob("manifest.json"), *(centred / "corpus").glob("languages-*/manifest.json")]
    assert {path.parent.name.split("-")[0] for path in kept} >= {"means", "hnsw", "languages"}
    stages = [*centred.glob("round-*/mine.json"), *centred.glob("round-*/label.json")]
    assert f"{len(kept) + len(stages)} manifests: every file is as it was written" in done.talk


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("embeddings/means-*/means.safetensors", "has changed since it was written"),
        ("corpus/languages-*/part-00000.parquet", "has changed since it was written"),
        ("embeddings/*/hnsw/equal.npy", "bytes, expected"),
        ("embeddings/*/shard-00000.npy", "has changed since it was written"),
        ("round-1/candidates.parquet", "has changed since it was written"),
    ],
)
def test_a_changed_file_is_named(shell: Shell, centred: Path, pattern: str, said: str) -> None:
    path = next(centred.glob(pattern))
    path.write_bytes(path.read_bytes() + b"more")
    done = shell("status", centred, "--verify")
    assert done.code == 1
    assert path.name in done.talk
    assert said in done.talk
