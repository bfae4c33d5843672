"""A work folder: made, opened again, refused when it is another's, and which round a stage belongs to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tiny
from umr.config import EncoderConfig
from umr.data.workspace import Workspace, create_workspace, open_workspace, round_for
from umr.errors import FormatError, InputError, MismatchError, UsageError
from umr.layout import WorkLayout
from umr.manifest import write_manifest

MODEL = EncoderConfig(model="no/encoder", pooling="mean", similarity="cosine")


@pytest.fixture
def corpus(tmp_path: Path) -> tiny.TinyCorpus:
    return tiny.tiny_corpus(tmp_path / "corpus")


def make(folder: Path, corpus: tiny.TinyCorpus, encoder: EncoderConfig = MODEL, lang: str | None = None, **options: Any) -> Workspace:
    return create_workspace(folder, [str(corpus.passages)], [str(corpus.queries)], encoder, lang, **options)


NOTHING: dict[str, Any] = {"files": {}, "config": {}, "steps": 0, "validation": []}


def finish(layout: WorkLayout, *stages: str) -> None:
    """Pretend that stages are finished: `0mine 0label ...`."""
    for stage in stages:
        place = layout.round(int(stage[0]))
        write_manifest({"mine": place.mined, "label": place.labelled, "train": place.trained}[stage[1:]], stage[1:], {}, NOTHING)


def test_a_work_folder_is_opened_as_it_was_made(tmp_path: Path, corpus: tiny.TinyCorpus) -> None:
    talk = tiny.Talk()
    made = make(tmp_path / "work", corpus, reporter=talk)
    assert talk.said[0] == "12 passages, 8 queries in 5 languages"
    for opened in (open_workspace(tmp_path / "work"), make(tmp_path / "work", corpus)):
        assert opened.queries.ids() == made.queries.ids() == [f"q{i}" for i in range(8)]
        assert opened.queries.langs == made.queries.langs
        assert opened.passages.fingerprint == made.passages.fingerprint
        assert opened.encoder == made.encoder == MODEL


def test_the_language_given_is_kept(tmp_path: Path, corpus: tiny.TinyCorpus) -> None:
    make(tmp_path / "work", corpus, lang="fi")
    assert set(open_workspace(tmp_path / "work").queries.langs) == {"fi"}


def test_paths_are_kept_whole(tmp_path: Path, corpus: tiny.TinyCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpus.passages.parent)
    create_workspace(tmp_path / "work", ["pass*.tsv"], ["queries.jsonl"], MODEL, None)
    monkeypatch.chdir("/")
    assert len(open_workspace(tmp_path / "work").passages) == 12


def test_a_local_encoder_is_kept_whole(tmp_path: Path, corpus: tiny.TinyCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "work", corpus, EncoderConfig(model="model"))
    assert open_workspace(tmp_path / "work").encoder.model == str(tmp_path / "model")


def test_before_anything_is_mined_everything_may_change(tmp_path: Path, corpus: tiny.TinyCorpus) -> None:
    make(tmp_path / "work", corpus)
    assert make(tmp_path / "work", corpus, EncoderConfig(model="other/encoder"), lang="sv").encoder.model == "other/encoder"
    assert set(open_workspace(tmp_path / "work").queries.langs) == {"sv"}


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("lang is None, asked for 'fi'", {"lang": "fi"}),
    (
        "model is 'no/encoder', asked for 'other/encoder'",
        {"encoder": EncoderConfig(model="other/encoder", pooling="mean", similarity="cosine")},
    ),
    ("pooling is 'mean', asked for 'cls'", {"encoder": EncoderConfig(model="no/encoder", pooling="cls", similarity="cosine")}),
]


@pytest.mark.parametrize(("message", "change"), CHANGES)
def test_a_mined_folder_refuses_other_settings(tmp_path: Path, corpus: tiny.TinyCorpus, message: str, change: dict[str, Any]) -> None:
    finish(make(tmp_path / "work", corpus).layout, "0mine")
    before = (tmp_path / "work" / "work.json").read_bytes()
    with pytest.raises(MismatchError, match=message) as caught:
        make(tmp_path / "work", corpus, **change)
    assert "new work folder" in caught.value.hint
    assert (tmp_path / "work" / "work.json").read_bytes() == before
    make(tmp_path / "work", corpus)


@pytest.mark.parametrize("which", ["passages", "queries"])
def test_a_mined_folder_refuses_other_files(tmp_path: Path, corpus: tiny.TinyCorpus, which: str) -> None:
    finish(make(tmp_path / "work", corpus).layout, "0mine")
    other = tiny.tiny_corpus(tmp_path / "other", seed=1)
    mixed = tiny.TinyCorpus(
        other.passages if which == "passages" else corpus.passages, other.queries if which == "queries" else corpus.queries
    )
    with pytest.raises(MismatchError, match=f"{which} is "):
        make(tmp_path / "work", mixed)


@pytest.mark.parametrize("which", ["passages", "queries"])
def test_files_that_have_changed_are_refused(tmp_path: Path, corpus: tiny.TinyCorpus, which: str) -> None:
    make(tmp_path / "work", corpus)
    path: Path = getattr(corpus, which)
    content = path.read_text(encoding="utf-8")
    path.write_text(content.replace("river", "rivers"), encoding="utf-8")
    with pytest.raises(MismatchError, match=f"the {which} have changed since the work began"):
        open_workspace(tmp_path / "work")
    path.write_text(content, encoding="utf-8")  # restored, with another time
    open_workspace(tmp_path / "work")


def test_files_that_have_gone_are_named(tmp_path: Path, corpus: tiny.TinyCorpus) -> None:
    make(tmp_path / "work", corpus)
    corpus.passages.unlink()
    with pytest.raises(InputError, match=r"no passages at '.*passages\.tsv'"):
        open_workspace(tmp_path / "work")


def test_what_is_no_work_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"it has no work\.json") as caught:
        open_workspace(tmp_path)
    assert "umr mine" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", ":1: not valid JSON"),
        ("[]", "expected a JSON object"),
        ('{"kind": "mine", "made_from": {}}', "expected the manifest of 'work'"),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path: Path, corpus: tiny.TinyCorpus, content: str, message: str) -> None:
    path = make(tmp_path / "work", corpus).layout.manifest
    path.write_text(content)
    with pytest.raises(FormatError, match=message) as caught:
        open_workspace(tmp_path / "work")
    assert str(path) in caught.value.message


def test_a_later_format_is_refused(tmp_path: Path, corpus: tiny.TinyCorpus) -> None:
    path = make(tmp_path / "work", corpus).layout.manifest
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 3}))
    with pytest.raises(FormatError, match="format version 3, this umr reads version 2"):
        open_workspace(tmp_path / "work")


def test_a_broken_input_leaves_no_work_folder_behind(tmp_path: Path, corpus: tiny.TinyCorpus) -> None:
    corpus.queries.write_text('{"id": "a", "question": ""}\n')
    with pytest.raises(InputError):
        make(tmp_path / "work", corpus)
    assert not (tmp_path / "work" / "work.json").exists()


ROUNDS = [
    # finished stages, stage, round asked for, round taken (or the error)
    ("", "mine", None, 0),
    ("", "mine", 0, 0),
    ("", "mine", 1, UsageError),
    ("", "mine", -1, UsageError),
    ("", "label", None, InputError),
    ("", "train", None, InputError),
    ("", "label", 1, UsageError),
    ("0mine", "mine", None, 0),
    ("0mine", "label", None, 0),
    ("0mine", "train", None, InputError),
    ("0mine", "label", 1, InputError),
    ("0mine", "mine", 2, UsageError),
    ("0mine 0label", "mine", None, 0),
    ("0mine 0label", "label", None, 0),
    ("0mine 0label", "train", None, 0),
    ("0mine 0label 0train", "mine", None, 1),
    ("0mine 0label 0train", "mine", 0, 0),
    ("0mine 0label 0train", "label", None, 0),
    ("0mine 0label 0train", "train", None, 0),
    ("0mine 0label 0train 1mine", "mine", None, 1),
    ("0mine 0label 0train 1mine", "label", None, 1),
    ("0mine 0label 0train 1mine", "label", 0, 0),
    ("0mine 0label 0train 1mine", "train", None, InputError),
    ("0mine 0label 0train 1mine 1label 1train", "mine", None, 2),
]


@pytest.mark.parametrize(("finished", "stage", "asked", "taken"), ROUNDS)
def test_the_round_of_a_stage(tmp_path: Path, finished: str, stage: str, asked: int | None, taken: int | type[Exception]) -> None:
    layout = WorkLayout(tmp_path)
    finish(layout, *finished.split())
    if isinstance(taken, int):
        assert round_for(layout, stage, asked).number == taken
        return
    with pytest.raises(taken):
        round_for(layout, stage, asked)


def test_a_round_that_was_begun_and_broken_off_is_gone_on_with(tmp_path: Path) -> None:
    layout = WorkLayout(tmp_path)
    finish(layout, "0mine", "0label", "0train")
    layout.round(1).folder.mkdir()
    (tmp_path / "round-x").mkdir()
    assert round_for(layout, "mine", None).number == 1


def test_rounds_after_nine_stand_in_order(tmp_path: Path) -> None:
    layout = WorkLayout(tmp_path)
    for number in range(11):
        for manifest in (layout.round(number).mined, layout.round(number).labelled, layout.round(number).trained):
            write_manifest(manifest, manifest.stem, {}, NOTHING)
    assert [r.number for r in layout.rounds()] == list(range(11))
    assert round_for(layout, "mine", None).number == 11


def test_a_round_mines_with_the_encoder_of_the_one_before(tmp_path: Path, corpus: tiny.TinyCorpus) -> None:
    work = make(tmp_path / "work", corpus)
    assert work.encoder_of(0) == MODEL
    with pytest.raises(InputError, match="round 1 needs the encoder trained in round 0") as caught:
        work.encoder_of(1)
    assert "umr train" in caught.value.hint
    finish(work.layout, "0mine", "0label", "0train")
    assert work.encoder_of(1) == EncoderConfig(model=str(work.layout.round(0).encoder))
