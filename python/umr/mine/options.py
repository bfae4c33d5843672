"""What the options of mining stand for: files, names, and what enters the manifest of a round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from umr._rust import fingerprint_files
from umr.config import MineConfig
from umr.data.corpus import absolute, expand

MODEL_ENDINGS = (".safetensors", ".bin", ".json", ".txt", ".model")  # endings of the files that decide what an encoder computes


def options(config: MineConfig) -> dict[str, Any]:
    """What decides the candidates beside top-k, precision, dtype and encoder: the options that are not at their defaults.

    Raises:
        InputError: a run is missing.
    """
    names = ("index", "centre", "whiten", "bm25", "per_language", "min_score", "margin", "first_rank", "collapse", "exclude_source")
    found = {name: getattr(config, name) for name in names if getattr(config, name) != getattr(MineConfig, name)}
    if config.also_encoder:
        found["also_encoder"] = [_identity(absolute(name)) for name in config.also_encoder]
    if config.run:
        found["run"] = [fingerprint_files([path]) for path in run_paths(config)]
    return found


def _identity(name: str) -> str:
    """Of an encoder: the content of a local folder, the name of another."""
    files = sorted(str(path) for path in Path(name).rglob("*") if path.suffix in MODEL_ENDINGS) if Path(name).is_dir() else []
    return fingerprint_files(files) if files else name


def run_paths(config: MineConfig) -> list[str]:
    """The files of the runs.

    Raises:
        InputError: one is missing.
    """
    return [path for pattern in config.run for path in expand([pattern], "TREC run")]
