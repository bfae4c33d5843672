"""Real inputs: rows of the files under shared/data, and the cache folder of what is made once."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benches.harness import UnavailableError, require_file, require_model

E5 = "pypi:multilingual-e5-small"
GEMMA = "pypi:gemma-3-270m"


def cache_folder() -> Path:
    """Where benchmarks keep what is made once: `$UMR_CACHE/benches` or `~/.cache/umr/benches`."""
    base = os.environ.get("UMR_CACHE")
    folder = (Path(base) if base else Path.home() / ".cache" / "umr") / "benches"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def key_of(corpus: str) -> str:
    """What stands for a corpus and for e5-small in the names of files that are made of both."""
    from umr._rust import fingerprint_files

    made_from = [require_file("data", corpus, name) for name in ("passages.tsv.gz", "queries.jsonl.gz")]
    made_from += [Path(require_model(E5)) / name for name in ("model.safetensors", "tokenizer.json")]
    return fingerprint_files([str(path) for path in made_from])[:12]


def table(*parts: str) -> Iterator[dict[str, str]]:
    """The rows of a tab-separated file under shared/data."""
    csv.field_size_limit(1 << 24)
    with gzip.open(require_file("data", *parts), "rt", encoding="utf-8", newline="") as rows:
        yield from csv.DictReader(rows, delimiter="\t")


def passages(corpus: str) -> list[dict[str, str]]:
    """All passages of a corpus: id, text and title."""
    return list(table(corpus, "passages.tsv.gz"))


def queries(corpus: str) -> Iterator[dict[str, Any]]:
    """All queries of a corpus: id, query and lang; answers are dropped."""
    path = require_file("data", corpus, "queries.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        for line in handle:
            row = json.loads(line)
            yield {"id": row["id"], "question": row["question"], "lang": row["lang"]}


def sample(rows: list[dict[str, Any]], count: int, seed: int = 0) -> list[dict[str, Any]]:
    """A random sample in random order, the same one every time.

    Raises:
        UnavailableError: there are not so many.
    """
    if count > len(rows):
        raise UnavailableError(f"{count:,} rows are asked for, there are {len(rows):,}")
    return random.Random(seed).sample(rows, count)


def write_tsv(path: Path, rows: Iterable[Mapping[str, str]]) -> Path:
    """Write passages, tab-separated: id, text and title."""
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, ("id", "text", "title"), delimiter="\t", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write rows, one JSON object a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path
