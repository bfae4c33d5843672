"""Benchmarks by name: which of their published files are needed, where to get and where to put them, and whether they are whole.

Counts and checksums are those of the published judgments; passages are far too large to be read for that.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from umr.errors import InputError, MismatchError, UsageError
from umr.languages import language_name
from umr.models import cache_folder

Grades = Mapping[str, Mapping[str, int]]
Whole = tuple[int, int, str]
"""Judged queries, judgments, and 48 bits of BLAKE2b of the judgments `query passage grade`, sorted, a line each."""

MIRACL: dict[str, Whole] = {
    "ar": (2896, 29197, "a2165d032768"), "bn": (411, 4206, "4211f31d5f74"), "de": (305, 3144, "f2b695e258ca"),
    "en": (799, 8350, "a13412acf902"), "es": (648, 6443, "596d989849d7"), "fa": (632, 6571, "6204a119d3dd"),
    "fi": (1271, 12008, "034abc621b10"), "fr": (343, 3429, "64cd29f831e8"), "hi": (350, 3494, "3aac367beaa4"),
    "id": (960, 9668, "cd906ac3b874"), "ja": (860, 8354, "0566eb0c6431"), "ko": (213, 3057, "5a4a035efdda"),
    "ru": (1252, 13100, "ed35e255a985"), "sw": (482, 5092, "7188c6b7a220"), "te": (828, 1606, "ff4bca545524"),
    "th": (733, 7573, "eefbbd6f78b5"), "yo": (119, 1188, "8457e814a475"), "zh": (393, 3928, "26a1fd595f90"),
}  # fmt: skip
MRTYDI: dict[str, Whole] = {
    "ar": (1081, 1257, "5e997d43f142"), "bn": (111, 130, "37429846923a"), "en": (744, 935, "b6051540048f"),
    "fi": (1254, 1451, "74806abe0f94"), "id": (829, 961, "548d0c2dc251"), "ja": (720, 923, "b360c8668508"),
    "ko": (421, 492, "21975c498437"), "ru": (995, 1168, "40d5a44d24fc"), "sw": (670, 743, "76b56bae67d0"),
    "te": (646, 677, "ed1619fef85c"), "th": (1190, 1368, "b97ff3d29858"),
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """A benchmark as its publisher gives it.

    Arguments:
        parts: name of a part, mostly a language -> what its judgments are known by; empty where any folder has the form.
        files: what -> patterns of names below the folder, one of which has to match; {part}, {language} in English.
        metrics: that its publishers report.
        source: where its files are, in words.
    """

    parts: Mapping[str, Whole]
    files: Mapping[str, tuple[str, ...]]
    metrics: tuple[str, ...]
    source: str


FAMILIES = {
    "miracl": Family(
        MIRACL,
        {
            "passages": ("miracl-corpus-v1.0-{part}/docs-*.jsonl.gz", "miracl-corpus-v1.0-{part}/docs-*.jsonl"),
            "queries": ("topics.miracl-v1.0-{part}-dev.tsv", "topics.miracl-v1.0-{part}-dev.tsv.gz"),
            "qrels": ("qrels.miracl-v1.0-{part}-dev.tsv", "qrels.miracl-v1.0-{part}-dev.tsv.gz"),
        },
        ("nDCG@10", "R@100"),
        "miracl/miracl (topics and qrels) and miracl/miracl-corpus of the Hugging Face hub",
    ),
    "mrtydi": Family(
        MRTYDI,
        {
            "passages": (
                "mrtydi-v1.1-{language}/corpus.jsonl.gz",
                "mrtydi-v1.1-{language}/**/docs.jsonl.gz",
                "mrtydi-v1.1-{language}/**/docs.jsonl",
            ),
            "queries": (
                "topics.mrtydi-v1.1-{part}.test.txt",
                "topics.mrtydi-v1.1-{part}.test.txt.gz",
                "mrtydi-v1.1-{language}/ir-format-data/topics.test.tsv",
            ),
            "qrels": (
                "qrels.mrtydi-v1.1-{part}.test.txt",
                "qrels.mrtydi-v1.1-{part}.test.txt.gz",
                "mrtydi-v1.1-{language}/**/qrels.test.txt",
            ),
        },
        ("MRR@100", "R@100"),
        "castorini/mr-tydi and castorini/mr-tydi-corpus of the Hugging Face hub (topics and qrels: castorini/anserini-tools)",
    ),
    "beir": Family(
        {},
        {
            "passages": ("corpus.jsonl", "corpus.jsonl.gz", "corpus.parquet"),
            "queries": ("queries.jsonl", "queries.jsonl.gz", "queries.parquet"),
            "qrels": ("qrels/test.tsv",),
        },
        ("nDCG@10", "R@100"),
        "BEIR's own archives, one folder a data set",
    ),
}
LAREQA = ("mAP", "mAP@20"), "google-research-datasets/lareqa on GitHub"
CONVERTED = {
    "lareqa/xquad-r": Family({}, {"queries": ("xquad-r/??.json",)}, *LAREQA),
    "lareqa/mlqa-r": Family({}, {"queries": ("mlqa-dev-r/??.json", "mlqa-r/??.json")}, *LAREQA),
    "mkqa": Family({}, {"queries": ("mkqa.jsonl.gz", "mkqa.jsonl")}, ("Success@20", "Success@100"), "apple/ml-mkqa on GitHub, dataset/"),
}
"""Benchmarks whose files have a form of their own (`converted.py`): passages and judgments come from those of the queries, or later."""


@dataclass(frozen=True)
class Benchmark:
    """The files of one part of a benchmark.

    Arguments:
        passages, queries: paths.
        qrels: the judgments; with those of `CONVERTED` the folder, whose files are all queries.
        lang: of every query; None where the benchmark does not say it.
        metrics: that are reported.
        whole: what its judgments are known by.
    """

    passages: tuple[str, ...]
    queries: tuple[str, ...]
    qrels: Path
    lang: str | None
    metrics: tuple[str, ...]
    whole: Whole | None

    def require_whole(self, grades: Grades) -> None:
        """Compare judgments with the published ones.

        Raises:
            MismatchError: they are others.
        """
        found = whole_of(grades)
        if self.whole is not None and found != self.whole:
            what = "{0:,} queries, {1:,} judgments, checksum {2}"
            raise MismatchError(f"{self.qrels}: {what.format(*found)}", f"published: {what.format(*self.whole)}; fetch the file again")


def whole_of(grades: Grades) -> Whole:
    """What judgments are known by."""
    lines = sorted(f"{query} {passage} {grade}" for query, row in grades.items() for passage, grade in row.items())
    return len(grades), len(lines), hashlib.blake2b("\n".join(lines).encode(), digest_size=6).hexdigest()


def benchmark_folder(family: str) -> Path:
    """Where the files of a benchmark are looked for: `benchmarks/NAME` beside the cache of the models."""
    return cache_folder().parent / "benchmarks" / family


def find_benchmark(name: str, folder: Path | None = None) -> Benchmark:
    """The files of a benchmark.

    Arguments:
        name: `miracl/sw`, `mrtydi/ar`, `beir/scifact`, or one of `CONVERTED`.
        folder: where they are, at any depth; None for `benchmark_folder`.

    Raises:
        UsageError: no such benchmark, or no such part.
        InputError: a file is missing; says which, where to get it and where to put it.
    """
    family, _, part = name.partition("/")
    known = CONVERTED.get(name) or FAMILIES.get(family)
    if known is None or (name not in CONVERTED and (not part or (known.parts and part not in known.parts))):
        names = ", ".join(f"{one}/{{{','.join(f.parts)}}}" if f.parts else f"{one}/NAME" for one, f in FAMILIES.items())
        raise UsageError(f"there is no benchmark {name!r}", f"known: {names}, {', '.join(CONVERTED)}, xor-retrieve")
    place = folder or benchmark_folder(family)
    if family == "beir" and (place.name != part or not place.is_dir()):
        place = place / part
    found = {what: _find(place, patterns, part) for what, patterns in known.files.items()}
    missing = [f"{what} ({_named(known.files[what][0], part)})" for what, files in found.items() if not files]
    if missing:
        raise InputError(
            f"{name}: no {', no '.join(missing)} below {place}", f"get them from {known.source}, and put them there, in any folder"
        )
    for what, files in found.items():
        if len({Path(file).parent for file in files}) > 1:
            raise InputError(
                f"{name}: {what} of several copies below {place}: {files[0]}, {files[-1]}",
                "leave one of them there, or name its folder with --data",
            )
    lang, (qrels, *_) = part if known.parts else None, found.get("qrels", [place])
    passages, queries = (tuple(found.get(what, ())) for what in ("passages", "queries"))
    return Benchmark(passages, queries, Path(qrels), lang, known.metrics, known.parts.get(part))


def _named(pattern: str, part: str) -> str:
    return pattern.format(part=part, language=language_name(part).lower())


def _find(folder: Path, patterns: tuple[str, ...], part: str) -> list[str]:
    """The files of the first pattern that matches any, wherever below the folder."""
    for pattern in patterns:
        files = sorted({os.fspath(path) for path in folder.glob(f"**/{_named(pattern, part)}")})
        if files:
            return files
    return []
