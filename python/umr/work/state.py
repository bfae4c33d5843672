"""How far each round of a work folder got, and what of it is gone or does not fit: read from manifests and file names alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from umr.data.embeddings import Embeddings
from umr.data.scores import ScoreStore
from umr.errors import UmrError
from umr.layout import RoundLayout, WorkLayout
from umr.manifest import flaws, read_manifest

STAGES = ("mine", "label", "train")


@dataclass(frozen=True)
class RoundState:
    """A round as its manifests describe it.

    Arguments:
        number: of the round.
        stage: the last finished stage, or empty.
        encoder: what it is mined with: as the user named it, or `trained in round R`.
        manifests: stage -> manifest of each finished stage; of an unfinished training that of its last state under `training`.
        damaged: stage -> what is gone or does not fit, a sentence each.
        aside: folders of what was trained before a stage was done again.
    """

    number: int
    stage: str
    encoder: str
    manifests: Mapping[str, Mapping[str, Any]]
    damaged: Mapping[str, list[str]]
    aside: list[Path] = field(default_factory=list)

    @property
    def top_k(self) -> int | None:
        """Candidates of a query."""
        made = self.manifests.get("mine", {}).get("made_from", {}).get("top_k")
        return made if isinstance(made, int) else None

    @property
    def lms(self) -> list[str]:
        """The language models that it was labelled with, as they were named."""
        made = self.manifests.get("label", {})
        return [str(name) for name in (made.get("lm"), *made.get("also", ())) if name]

    def options(self, stage: str) -> dict[str, Any]:
        """What a stage was called with, by setting, as far as manifests say; empty where it was not called."""
        made = self.manifests.get(stage, {})
        if stage == "train":
            return dict(self.manifests.get("training", made).get("made_from", {}))
        if stage == "label":
            return {**made.get("config", {}), **{name: made[name] for name in ("lm", "also") if name in made}}
        sources: Mapping[str, Mapping[str, Any]] = made.get("sources", {})
        asked = {name: made["made_from"][name] for name in ("top_k", "precision") if name in made.get("made_from", {})}
        further = {"also_encoder": re.compile(r"encoder\d+"), "run": re.compile(r"run\d+")}
        named = {key: [s["what"] for name, s in sources.items() if form.fullmatch(name)] for key, form in further.items()}
        return {**made.get("config", {}), **asked, **named} if made else {}

    @property
    def steps(self) -> tuple[int, int] | None:
        """Finished steps and steps in all of the training, where one was begun."""
        if unfinished := self.manifests.get("training"):
            return unfinished.get("steps", 0), unfinished.get("total", 0)
        steps = self.manifests.get("train", {}).get("steps")
        return None if steps is None else (steps, steps)

    @property
    def todo(self) -> str:
        """The first stage that is not finished or is damaged; empty where all is well."""
        return next((stage for stage in STAGES if stage not in self.manifests or stage in self.damaged), "")


def states(layout: WorkLayout, first_encoder: str) -> list[RoundState]:
    """The rounds that were begun, in order.

    Arguments:
        layout: the work folder.
        first_encoder: the encoder that the work began with, as it was named.
    """
    return [_state(place, first_encoder) for place in layout.rounds() if place.stage or place.training.exists() or place.plans()]


def unfinished(layout: WorkLayout) -> Iterator[str]:
    """How far the encodings and labellings got that run now or were broken off, a sentence each; nothing is read but manifests.

    Arguments:
        layout: the work folder.
    """
    for manifest in sorted(layout.embeddings.glob("*/manifest.json")):
        with suppress(UmrError):  # of means, or damaged: encoding says so
            done, rows = Embeddings.progress(manifest)
            if done < rows:
                yield f"encoding: {done:,} of {rows:,} vectors are in {manifest.parent}"
    for place in layout.rounds():
        for plan in place.plans():
            with suppress(UmrError, OSError, KeyError):  # damaged: labelling makes it again
                found = read_manifest(plan / "plan.json", "plan")
                done = ScoreStore(Path(found["store"]), "").records - found["records_before"]
                yield f"labelling of round {place.number}: {min(max(done, 0), found['pairs']):,} of {found['pairs']:,} pairs are scored"


def _state(place: RoundLayout, first_encoder: str) -> RoundState:
    manifests: dict[str, Mapping[str, Any]] = {}
    damaged: dict[str, list[str]] = {}
    paths = {"mine": place.mined, "label": place.labelled, "train": place.trained, "training": place.training_state}
    for stage, path in paths.items():
        try:
            if path.exists():
                manifests[stage] = read_manifest(path, stage)
        except UmrError as error:
            damaged[stage] = [error.message]
    for stage, what in _flaws(place, manifests):
        damaged.setdefault(stage, []).append(what)
    encoder = first_encoder if place.number == 0 else f"trained in round {place.number - 1}"
    return RoundState(place.number, place.stage, encoder, manifests, damaged, place.asides())


def _flaws(place: RoundLayout, manifests: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Stage and sentence of what can be told without reading the files."""
    for stage, path in (("mine", place.mined), ("label", place.labelled), ("train", place.trained)):
        if stage == "train" and stage in manifests and not place.encoder.exists():
            yield stage, f"{place.encoder} is gone"
        else:
            yield from ((stage, what) for what in flaws(path, manifests.get(stage, {}), read=False))
    candidates = manifests.get("mine", {}).get("files", {}).get(place.candidates.name)
    if "label" in manifests and manifests["label"]["made_from"].get("candidates") != candidates:
        yield "label", f"{place.labels} was made from other candidates than {place.candidates}"
    labels = manifests.get("label", {}).get("files", {}).get(place.labels.name)
    if "train" in manifests and manifests["train"]["made_from"].get("labels") != labels:
        yield "train", f"{place.encoder} was trained on other labels than {place.labels}"
