"""Every path in a work folder, spelled here and nowhere else (docs/formats.md specifies the files)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RoundLayout:
    """The paths of one round.

    Arguments:
        folder: `WORK/round-R`.
        number: R, from 0.
    """

    folder: Path
    number: int

    @property
    def mined(self) -> Path:
        """Manifest of the mining stage; its presence says that the stage is finished."""
        return self.folder / "mine.json"

    @property
    def candidates(self) -> Path:
        """Mined candidates, one row a (query, passage)."""
        return self.folder / "candidates.parquet"

    @property
    def labelled(self) -> Path:
        """Manifest of the labelling stage."""
        return self.folder / "label.json"

    @property
    def labels(self) -> Path:
        """Scores and labels, one row a (query, passage)."""
        return self.folder / "labels.parquet"

    def plan(self, fingerprint: str) -> Path:
        """Plan of an unfinished labelling: removed when it ends."""
        return self.folder / f"plan-{fingerprint[:16]}"

    def plans(self) -> list[Path]:
        """The plans that are there."""
        return sorted(self.folder.glob("plan-*"))

    @property
    def training(self) -> Path:
        """State of an unfinished training: removed when it ends."""
        return self.folder / "training"

    @property
    def training_state(self) -> Path:
        """Manifest of the last saved state of an unfinished training."""
        return self.training / "state.json"

    @property
    def trained(self) -> Path:
        """Manifest of the training stage."""
        return self.folder / "train.json"

    @property
    def encoder(self) -> Path:
        """The trained encoder: a sentence-transformers folder, or `query/` and `passage/` where they differ."""
        return self.folder / "encoder"

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

    @property
    def manifest(self) -> Path:
        """What the folder works on: passages, queries, language, encoder of round 0."""
        return self.folder / "work.json"

    @property
    def lock(self) -> Path:
        """Locked by the process that writes to the folder, whose number, host and command it holds."""
        return self.folder / "lock"

    @property
    def corpus(self) -> Path:
        """Offset indexes, unpacked gzip files and token stores."""
        return self.folder / "corpus"

    @property
    def inputs(self) -> Path:
        """Passages and queries that were handed over in memory, as files."""
        return self.folder / "inputs"

    @property
    def embeddings(self) -> Path:
        """Embedding stores, one folder a fingerprint, shared by the rounds."""
        return self.folder / "embeddings"

    @property
    def scores(self) -> Path:
        """Score stores, one folder a language model and prompt, shared by the rounds."""
        return self.folder / "scores"

    @property
    def mining_precision(self) -> Path:
        """The arithmetic that `--precision auto` chose for encoding, kept for every round."""
        return self.embeddings / "precision.json"

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
