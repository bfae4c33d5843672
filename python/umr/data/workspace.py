"""A work folder: which passages and queries it works on, and which round a stage belongs to."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umr.config import EncoderConfig, encoder_config
from umr.data.corpus import expand, open_passages
from umr.data.inputs import Inputs, first_record, input_files
from umr.data.queries import Queries, open_queries
from umr.errors import InputError, MismatchError, UsageError
from umr.layout import RoundLayout, WorkLayout
from umr.manifest import read_manifest, require_same, write_manifest
from umr.progress import Reporter, Reporting, reporter_of
from umr.run_file import from_mapping

if TYPE_CHECKING:
    from umr._rust import Records


@dataclass(frozen=True)
class Workspace:
    """An open work folder.

    Arguments:
        layout: its paths.
        passages: the corpus.
        queries: the unlabelled queries.
        encoder: the encoder of round 0, as the user named it.
    """

    layout: WorkLayout
    passages: Records
    queries: Queries
    encoder: EncoderConfig

    def __repr__(self) -> str:
        rounds = ", ".join(f"round {place.number}: {place.stage}" for place in self.layout.rounds() if place.stage) or "no round"
        size = f"{len(self.passages):,} passages, {len(self.queries):,} queries in {len(set(self.queries.langs))} languages"
        return f"Workspace({str(self.layout.folder)!r}: {size}, encoder {self.encoder.model!r}; {rounds})"

    def encoder_of(self, number: int) -> EncoderConfig:
        """The encoder that round `number` mines with: the user's in round 0, then the one trained in the round before.

        Raises:
            InputError: the round before has not been trained.
        """
        if number == 0:
            return self.encoder
        before = self.layout.round(number - 1)
        if not before.trained.exists():
            raise InputError(
                f"round {number} needs the encoder trained in round {number - 1}, which is not there",
                f"run `umr train {self.layout.folder} --round {number - 1}`",
            )
        return EncoderConfig(model=str(before.encoder))

    def encoder_name(self, number: int) -> dict[str, Any]:
        """The encoder of a round as manifests name it: what umr trained by its content, so that the work folder may move."""
        from umr._rust import fingerprint_files

        config = self.encoder_of(number)
        if number == 0:
            return asdict(config)
        weights = sorted(str(path) for path in self.layout.round(number - 1).encoder.rglob("*.safetensors"))
        return {"trained_in_round": number - 1, "weights": fingerprint_files(weights)}


def require_mined_with(workspace: Workspace, place: RoundLayout) -> None:
    """Refuse the candidates of a round whose encoder is another one by now.

    Raises:
        MismatchError: the round before has been trained again since, or a local encoder was replaced by name.
    """
    found = read_manifest(place.mined, "mine")["made_from"]
    wanted = {"encoder": workspace.encoder_name(place.number)}
    require_same(place.mined, f"round {place.number} was mined", found, wanted, f"run `umr mine --round {place.number} --force` first")


def create_workspace(
    folder: Path | str,
    passages: Inputs,
    queries: Inputs,
    encoder: EncoderConfig | str | PathLike[str],
    lang: str | None = None,
    reporter: Reporting = None,
) -> Workspace:
    """Open a work folder for these inputs, making it when it is new.

    Arguments:
        folder: the work folder.
        passages, queries: files or globs, or records: texts, tuples, dicts, a frame, a data set (`umr.data.inputs.input_files`).
        encoder: the encoder of round 0, or its name.
        lang: the language of every query; several (`es,ar,ja`) restrict identification to these; or None.
        reporter: told what was read.

    Raises:
        InputError: a file is missing or cannot be used.
        UsageError: lang is no language.
        MismatchError: the folder works on other passages, queries, language or encoder.
    """
    reporter, layout, new = reporter_of(reporter), WorkLayout(Path(folder)), not WorkLayout(Path(folder)).manifest.exists()
    encoder = _absolute(encoder_config(encoder))
    files = {"passages": input_files(passages, "passages", layout), "queries": input_files(queries, "queries", layout)}
    inputs = {**{what: [_recorded(path, layout) for path in paths] for what, paths in files.items()}, "lang": lang}
    workspace = _open(layout, inputs, encoder, reporter)
    if new:
        _show_first(workspace, reporter)
    if layout.manifest.exists() and any(place.stage for place in layout.rounds()):
        _refuse_other(workspace, lang)
    write_manifest(layout.manifest, "work", _fingerprints(workspace), {**inputs, "encoder": asdict(encoder)})
    return workspace


def open_workspace(folder: Path | str, reporter: Reporting = None) -> Workspace:
    """Open an existing work folder.

    Raises:
        InputError: it is not one, or its files have gone.
        MismatchError: its passages or queries have changed since.
    """
    layout = WorkLayout(Path(folder))
    if not layout.manifest.exists():
        raise InputError(
            f"{folder} is not a work folder: it has no work.json",
            "begin with `umr mine WORK --passages P --queries Q --encoder M`",
        )
    value = read_manifest(layout.manifest, "work")
    encoder = from_mapping(EncoderConfig, {k: v for k, v in value["encoder"].items() if v is not None}, str(layout.manifest))
    workspace = _open(layout, value, encoder, reporter_of(reporter))
    if _fingerprints(workspace) != value["made_from"]:
        changed = [k for k, v in _fingerprints(workspace).items() if value["made_from"].get(k) != v]
        raise MismatchError(
            f"{layout.manifest}: the {' and '.join(changed)} have changed since the work began",
            "restore the files, or begin in a new work folder",
        )
    return workspace


def _open(layout: WorkLayout, inputs: Mapping[str, Any], encoder: EncoderConfig, reporter: Reporter) -> Workspace:
    files = {what: expand([layout.folder / path for path in inputs[what]], what) for what in ("passages", "queries")}
    with reporter.bar("reading passages and queries", 0, ""):
        queries = open_queries(files["queries"], layout.corpus, inputs["lang"], reporter)
        passages = open_passages(files["passages"], layout.corpus, reporter)
    reporter.say(f"{len(passages):,} passages, {len(queries):,} queries in {len(set(queries.langs))} languages")
    return Workspace(layout, passages, queries, encoder)


def _recorded(path: str, layout: WorkLayout) -> str:
    """How the work folder names an input: absolute, or from itself where the file lies in it, so that it may move."""
    folder = layout.folder.absolute()
    return str(Path(path).relative_to(folder)) if Path(path).is_relative_to(layout.inputs.absolute()) else path


def _show_first(workspace: Workspace, reporter: Reporter) -> None:
    """Say how the first passage and the first query were read."""
    first = np.zeros(1, dtype=np.uint32)
    for what, records in (("passage", workspace.passages), ("query", workspace.queries.records)):
        reporter.say(f"first {what}: {first_record(records.ids(first), records.texts(first))}")


def _fingerprints(workspace: Workspace) -> dict[str, str]:
    return {"passages": workspace.passages.fingerprint, "queries": workspace.queries.records.fingerprint}


def _refuse_other(workspace: Workspace, lang: str | None) -> None:
    """The same content under another path is the same work; other content, language or encoder is not."""
    found = read_manifest(workspace.layout.manifest, "work")
    wanted = {**_fingerprints(workspace), "lang": lang, **asdict(workspace.encoder)}
    hint = "use a new work folder, or leave these options out to go on"
    began = {**found["made_from"], "lang": found["lang"], **found["encoder"]}
    require_same(workspace.layout.manifest, "the work began", began, wanted, hint)


def _absolute(encoder: EncoderConfig) -> EncoderConfig:
    """The same encoder with local folders as absolute paths, so that a later call may come from another folder."""
    names = {name: getattr(encoder, name) for name in ("model", "passage_model")}
    local: dict[str, Any] = {
        name: str(Path(value).expanduser().absolute()) for name, value in names.items() if value and Path(value).expanduser().exists()
    }
    return replace(encoder, **local)


def clear_from(place: RoundLayout, stage: str) -> None:
    """Remove what a round holds from a stage on, before that stage is done again; scores and embeddings are kept.

    Arguments:
        place: the round.
        stage: `mine` or `label`.
    """
    manifests = (place.trained, place.labelled) if stage == "label" else (place.trained, place.labelled, place.mined)
    for manifest in manifests:
        manifest.unlink(missing_ok=True)
    for folder in (place.training, place.encoder):
        shutil.rmtree(folder, ignore_errors=True)


def round_for(layout: WorkLayout, stage: str, number: int | None) -> RoundLayout:
    """The round that a stage works on.

    Arguments:
        layout: the work folder.
        stage: `mine`, `label` or `train`.
        number: the round the user named, or None for the newest unfinished one (mining opens the next when it is trained).

    Raises:
        InputError: the stage before has not been run in that round.
        UsageError: a round that cannot exist yet.
    """
    rounds = [r for r in layout.rounds() if r.stage]
    if number is None:
        number = rounds[-1].number if rounds else 0
        if stage == "mine" and rounds and rounds[-1].stage == "train":
            number += 1
    if number < 0 or number > len(rounds):
        raise UsageError(
            f"there is no round {number} in {layout.folder}",
            f"rounds so far: {', '.join(str(r.number) for r in rounds) or 'none'}",
        )
    chosen = layout.round(number)
    needed = {"mine": "", "label": "mine", "train": "label"}[stage]
    if needed and not {"mine": chosen.mined, "label": chosen.labelled}[needed].exists():
        raise InputError(
            f"round {number} of {layout.folder} has not been through `umr {needed}`",
            f"run `umr {needed} {layout.folder}` first",
        )
    return chosen
