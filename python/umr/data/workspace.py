"""A work folder: which passages and queries it works on, and which round a stage belongs to."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from umr._rust import Records
from umr.config import EncoderConfig, encoder_config
from umr.data.corpus import absolute, expand, open_passages
from umr.data.inputs import Inputs, input_files
from umr.data.queries import Queries, open_queries
from umr.errors import InputError, LockedError, MismatchError, UsageError
from umr.languages import chosen_languages
from umr.layout import RoundLayout, WorkLayout
from umr.manifest import digest, read_manifest, require_same, require_whole, write_manifest
from umr.progress import Reporter, Reporting, reporter_of
from umr.run_file import from_record
from umr.work.lock import writing

OTHER_WORK = "use a new work folder, or leave these options out to go on"


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

    def fingerprints(self) -> dict[str, str]:
        """Of the passages and of the queries."""
        return {"passages": self.passages.fingerprint, "queries": self.queries.records.fingerprint}

    @contextmanager
    def writing(self, reporter: Reporter) -> Iterator[None]:
        """Be the one process that writes to the work folder while the context is open; see `umr.work.lock.writing`.

        Raises:
            LockedError: another process writes to it.
            MismatchError: it works on something else by now.
        """
        with writing(self.layout, reporter):
            found = read_manifest(self.layout.manifest, "work")
            now, then = (found["made_from"], found["encoder"]), (self.fingerprints(), self.encoder.record())
            if now != then:
                raise MismatchError(f"{self.layout.manifest} is of other inputs by now", "open the work folder again")
            yield

    def encoder_of(self, number: int) -> EncoderConfig:
        """The encoder that round `number` mines with: the user's in round 0, then the one trained in the round before.

        Raises:
            InputError: the round before has not been trained.
            MismatchError: its encoder is not the one that training wrote.
        """
        if number == 0:
            return self.encoder
        before = self.layout.round(number - 1)
        if not before.trained.exists():
            raise InputError(
                f"round {number} needs the encoder trained in round {number - 1}, which is not there",
                f"run `umr train {self.layout.folder} --round {number - 1}`",
            )
        files = {name: of for name, of in read_manifest(before.trained, "train")["files"].items() if not name.endswith("README.md")}
        require_whole(before.trained, {"files": files}, f"train round {number - 1} again with --force")
        return EncoderConfig(model=str(before.encoder))

    def encoder_name(self, number: int) -> dict[str, Any]:
        """The encoder of a round as manifests name it: what umr trained by its content, so that the work folder may move."""
        config = self.encoder_of(number)
        if number == 0:
            return config.record()
        files = read_manifest(self.layout.round(number - 1).trained, "train")["files"]
        return {"trained_in_round": number - 1, "files": digest(files)}


def require_mined_with(workspace: Workspace, place: RoundLayout) -> None:
    """Refuse the candidates of a round whose encoder is another one by now.

    Raises:
        MismatchError: the round before has been trained again since, or a local encoder was replaced by name.
    """
    found = read_manifest(place.mined, "mine")["made_from"]
    wanted = {"encoder": workspace.encoder_name(place.number)}
    hint = f"run `umr mine {workspace.layout.folder} --round {place.number} --force` first"
    require_same(place.mined, f"round {place.number} was mined", found, wanted, hint)


def require_labels_of(workspace: Workspace, place: RoundLayout) -> None:
    """Refuse the labels of a round whose candidates are others by now.

    Raises:
        MismatchError: the round was mined again since, or one of the files is from elsewhere.
    """
    found, mined = read_manifest(place.labelled, "label")["made_from"], read_manifest(place.mined, "mine")
    wanted = {"candidates": mined.get("files", {}).get(place.candidates.name)}
    hint = f"run `umr label {workspace.layout.folder} --round {place.number} --force` first: scores are kept"
    require_same(place.labelled, f"round {place.number} was labelled", found, wanted, hint)


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
    reporter, layout, named = reporter_of(reporter), WorkLayout(Path(folder)), encoder_config(encoder)
    encoder = replace(
        named,
        model=absolute(named.model),
        passage_model=named.passage_model and absolute(named.passage_model),
        checkpoint=named.checkpoint and absolute(named.checkpoint),
    )
    new = not layout.manifest.exists()
    chosen_languages(lang)  # refused before a folder is made
    files = {"passages": input_files(passages, "passages", layout), "queries": input_files(queries, "queries", layout)}
    inputs = {**{what: [_recorded(path, layout) for path in paths] for what, paths in files.items()}, "lang": lang}
    wanted = {**inputs, "encoder": encoder.record()}
    if _is_settled(layout) and {**read_manifest(layout.manifest, "work"), **wanted} == read_manifest(layout.manifest, "work"):
        return open_workspace(folder, reporter)
    try:
        return _written(layout, inputs, encoder, wanted, new, reporter)
    except LockedError:
        if new or not layout.manifest.exists():
            raise
        found = read_manifest(layout.manifest, "work")  # others are at work there: a rank may join them, if its inputs are named alike
        for began, asked in ((found, inputs), (found["encoder"], encoder.record())):
            require_same(layout.manifest, "the work began", began, asked, OTHER_WORK)
        return open_workspace(folder, reporter)


def _written(
    layout: WorkLayout, inputs: dict[str, Any], encoder: EncoderConfig, wanted: dict[str, Any], new: bool, reporter: Reporter
) -> Workspace:
    with writing(layout, reporter):
        if _is_settled(layout):
            _refuse_other(layout, wanted)
        workspace = _open(layout, inputs, encoder, reporter)
        if new:
            _show_first(workspace, reporter)
        if _is_settled(layout):
            _require_unchanged(workspace)
        write_manifest(layout.manifest, "work", workspace.fingerprints(), wanted)
    return workspace


def require_work_folder(layout: WorkLayout) -> None:
    """Refuse a folder that is none.

    Raises:
        InputError: it has no work.json.
    """
    if not layout.manifest.exists():
        raise InputError(
            f"{layout.folder} is not a work folder: it has no work.json",
            "begin with `umr mine WORK --passages P --queries Q --encoder M`",
        )


def open_workspace(folder: Path | str, reporter: Reporting = None) -> Workspace:
    """Open an existing work folder.

    Raises:
        InputError: it is not one, or its files have gone.
        MismatchError: its passages or queries have changed since.
    """
    layout = WorkLayout(Path(folder))
    require_work_folder(layout)
    value = read_manifest(layout.manifest, "work")
    encoder = from_record(EncoderConfig, value["encoder"], layout.manifest)
    workspace = _open(layout, value, encoder, reporter_of(reporter))
    _require_unchanged(workspace)
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
    """Say how the first passage and the first query were read, so that a column taken for another is seen."""
    first = np.zeros(1, dtype=np.uint32)
    for what, records in (("passage", workspace.passages), ("query", workspace.queries.records)):
        ((title, text),) = records.texts(first)
        parts = {"id": records.ids(first)[0], "title": title, "text": text}
        shown = [f"{name} {' '.join(value.split(maxsplit=40)[:40])[:60]!r}" for name, value in parts.items() if value]
        reporter.say(f"first {what}: {', '.join(shown)}")


def _require_unchanged(workspace: Workspace) -> None:
    manifest, now = workspace.layout.manifest, workspace.fingerprints()
    began = read_manifest(manifest, "work")["made_from"]
    changed = [name for name, fingerprint in now.items() if began.get(name) != fingerprint]
    if changed:
        what = f"{manifest}: the {' and '.join(changed)} have changed since the work began"
        raise MismatchError(what, "restore the files, or begin in a new work folder")


def _is_settled(layout: WorkLayout) -> bool:
    """Whether something was mined, so that the inputs stay what they are."""
    return layout.manifest.exists() and any(place.stage for place in layout.rounds())


def _refuse_other(layout: WorkLayout, wanted: Mapping[str, Any]) -> None:
    """The same content under another path is the same work; other content, language or encoder is not.

    Other files are read with a cache of their own: a call that is refused leaves the work folder's as it is.
    """
    found = read_manifest(layout.manifest, "work")
    began, asked = ({"lang": value["lang"], **value["encoder"]} for value in (found, wanted))
    require_same(layout.manifest, "the work began", began, asked, OTHER_WORK)
    with tempfile.TemporaryDirectory(prefix=".inputs-", suffix=".part", dir=layout.folder) as cache:
        for side in ("passages", "queries"):
            files = [str(layout.folder / path) for path in wanted[side]]
            if found[side] != wanted[side] and Records.open(files, side, cache).fingerprint != found["made_from"][side]:
                began, asked = ({side: ", ".join(value[side])} for value in (found, wanted))
                require_same(layout.manifest, "the work began", began, asked, OTHER_WORK)


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
