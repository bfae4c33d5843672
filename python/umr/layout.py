"""Every path in a work folder, spelled here and nowhere else (docs/formats.md specifies the files)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path


class _In:
    """A path in the folder of a layout."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, place: RoundLayout | WorkLayout, kind: type) -> Path:
        return place.folder / self.name


@dataclass(frozen=True)
class RoundLayout:
    """The paths of one round.

    Arguments:
        folder: `WORK/round-R`.
        number: R, from 0.
    """

    folder: Path
    number: int

    mined = _In("mine.json")
    """Manifest of the mining stage; its presence says that the stage is finished."""
    candidates = _In("candidates.parquet")
    """Mined candidates, one row a (query, passage)."""
    labelled = _In("label.json")
    """Manifest of the labelling stage."""
    labels = _In("labels.parquet")
    """Scores and labels, one row a (query, passage)."""

    def plan(self, fingerprint: str) -> Path:
        """Plan of an unfinished labelling: removed when it ends."""
        return self.folder / f"plan-{fingerprint[:16]}"

    def plans(self) -> list[Path]:
        """The plans that are there."""
        return sorted(self.folder.glob("plan-*"))

    training = _In("training")
    """State of an unfinished training: removed when it ends."""
    training_state = _In("training/state.json")
    """Manifest of the last saved state of an unfinished training."""
    trained = _In("train.json")
    """Manifest of the training stage."""
    encoder = _In("encoder")
    """The trained encoder: a sentence-transformers folder, or `query/` and `passage/` where they differ."""

    def asides(self) -> list[Path]:
        """Folders of what was trained before a stage was done again, the newest last."""
        numbers = (path.name.removeprefix("aside-") for path in self.folder.glob("aside-*") if path.is_dir())
        return [self.folder / f"aside-{n}" for n in sorted(int(n) for n in numbers if n.isdigit())]

    def next_aside(self) -> Path:
        """The next free one."""
        return next(path for n in itertools.count(len(self.asides()) + 1) if not (path := self.folder / f"aside-{n}").exists())

    @property
    def stage(self) -> str:
        """The last finished stage: `""`, `mine`, `label` or `train`."""
        for name, manifest in (("train", self.trained), ("label", self.labelled), ("mine", self.mined)):
            if manifest.exists():
                return name
        return ""


@dataclass(frozen=True)
class WorkLayout:
    """The paths of a work folder.

    Arguments:
        folder: the work folder.
    """

    folder: Path

    manifest = _In("work.json")
    """What the folder works on: passages, queries, language, encoder of round 0."""
    lock = _In("lock")
    """Locked by the process that writes to the folder, whose number, host and command it holds."""
    ranks = _In("ranks")
    """Of ranks that work here together: what they agreed on, and a file for each unit of work. Removed by the next writer."""
    entrance = _In("entrance")
    """Locked by a rank while it begins."""
    corpus = _In("corpus")
    """Offset indexes, unpacked gzip files and token stores."""
    inputs = _In("inputs")
    """Passages and queries that were handed over in memory, as files."""
    embeddings = _In("embeddings")
    """Embedding stores, one folder a fingerprint, shared by the rounds."""
    scores = _In("scores")
    """Score stores, one folder a language model and prompt, shared by the rounds."""
    mining_precision = _In("embeddings/precision.json")
    """The arithmetic that `--precision auto` chose for encoding, kept for every round."""

    def tokens(self, fingerprint: str) -> Path:
        """The token store of one tokenizer, prefix and length."""
        return self.corpus / f"tokens-{fingerprint[:16]}"

    def languages(self, fingerprint: str) -> Path:
        """The languages of a collection's passages."""
        return self.corpus / f"languages-{fingerprint[:16]}"

    def means(self, fingerprint: str) -> Path:
        """The means that an encoder's vectors are centred with."""
        return self.embeddings / f"means-{fingerprint[:16]}"

    def round(self, number: int) -> RoundLayout:
        """The paths of round `number`."""
        return RoundLayout(self.folder / f"round-{number}", number)

    def rounds(self) -> list[RoundLayout]:
        """The rounds that exist, in order."""
        numbers = (p.name.removeprefix("round-") for p in self.folder.glob("round-*") if p.is_dir())
        return [self.round(n) for n in sorted(int(n) for n in numbers if n.isdigit())]


def near_index(embeddings: Path) -> Path:
    """The folder of the approximate index over the embeddings in a folder: it goes when they go."""
    return embeddings / "hnsw"


def int8_manifest(embeddings: Path) -> Path:
    """The manifest of the int8 shards beside the embeddings in a folder."""
    return embeddings / "int8.json"


def unfinished_search(embeddings: Path, fingerprint: str) -> Path:
    """What one unfinished exact search among the embeddings in a folder has found: removed when it ends."""
    return embeddings / f"search-{fingerprint[:16]}.partial"
