"""`umr label --inspect`: its tables, its examples in any script, and its JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

import tiny
from umr.cli.inspect_labels import shown, side_by_side
from umr.data.labels import Labels
from umr.label.combine import normalise
from umr.label.inspect import Inspection
from umr.label.inspect.examples import Example, Place
from umr.label.inspect.statistics import Statistics
from umr.manifest import checksums, write_manifest
from umr.progress.foreign_text import FIRST_STRONG_ISOLATE, POP_ISOLATE, Foreign
from umr.progress.terminal import clean

Shell = Callable[..., Any]
LONG = {lang: ("" if lang in ("zh", "th") else " ").join(words * 30) for lang, words in tiny.WORDS.items()}
ROW = Statistics(
    queries=12345, unscored=0, candidates=100, score=-4.334, spread=0.49, range=1.98, entropy=0.54, effective=23.4, effective_share=0.234,
    top=0.793, saturated=0.1, constant=0, tau=0.28, rho=-0.38, score_tau=0.11, changed=0.4, place=12.3, kept=0.574, own_retriever=0.86,
    own_label=1,
)  # fmt: skip
EMPTY = replace(ROW, tau=float("nan"), rho=float("nan"), own_retriever=float("nan"), own_label=float("nan"))


def printed(*parts: Any, width: int = 100, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, highlight=False)
    for part in parts:
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def place(lang: str, **values: Any) -> Place:
    return replace(Place(f"{lang}:1", tiny.WORDS[lang][0], LONG[lang], 3, 0.8123, -3.019, 0.764), **values)


def example(left: str, right: str) -> Example:
    return Example("q1", left, LONG[left][:60] + "?", 8.5, place(left, rank=1), place(right))


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A work folder whose round 0 is labelled with random scores."""
    work = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "data", 9, 8))
    candidates = tiny.mined(work, 4)
    scores = np.random.default_rng(0).normal(-3, 0.3, candidates.rows.shape).astype(np.float32)
    place = work.layout.round(0)
    Labels(candidates, scores, normalise(scores, 0.1)).write(place.labels, work.passages)
    write_manifest(place.labelled, "label", {"lm": "b7c1", "temperature": 0.1}, {"files": checksums(place.labels), "lm": "some/lm"})
    return tmp_path / "work"


def inspection(**values: Any) -> Inspection:
    found = Inspection(
        3, "some/lm", {"lm": "b7c1", "temperature": 0.1}, {"ar": ROW, "zh-Hant": EMPTY}, ROW, {"ar": [example("ar", "zh")]}, []
    )
    return replace(found, **values)


def test_a_labelled_round_is_shown_without_a_language_model(shell: Shell, labelled: Path) -> None:
    done = shell("label", labelled, "--inspect")
    assert done.code == 0, done.err
    assert "labels of round 0: some/lm, temperature 0.1" in done.out
    assert all(word in done.out for word in ("entropy", "effective", "tau-b", "old place", "macro", "first passages changed"))
    assert "retriever's first: p" in done.out
    assert shell("label", labelled, "--inspect", "--round", 0).out == done.out


def test_a_round_is_labelled_and_then_shown(shell: Shell, kit: Any, work: Path) -> None:
    done = shell("label", work, "--lm", kit.llama, "--precision", "fp32", "--inspect", "--json")
    assert done.code == 0, done.err
    assert "labelled already" in done.talk
    assert done.json["lm"] == str(kit.llama)


def test_json_has_everything(shell: Shell, labelled: Path) -> None:
    found = shell("label", labelled, "--inspect", "--json")
    assert found.code == 0, found.err
    assert set(found.json) == {"round", "lm", "made_from", "combined", "per_language", "macro", "examples", "warnings"}
    assert set(found.json["per_language"]) == set(found.json["examples"]) == {"en", "de", "ru", "ar", "zh"}
    assert found.json["macro"]["queries"] == 8
    assert all(len(chosen) <= 3 for chosen in found.json["examples"].values())


def test_a_round_without_labels_is_refused(shell: Shell, labelled: Path) -> None:
    (labelled / "round-0" / "label.json").unlink()
    done = shell("label", labelled, "--inspect")
    assert done.code == 1
    assert "has not been through `umr label`" in done.talk


@pytest.mark.parametrize("combined", [False, True])
def test_the_tables_fit_80_columns(combined: bool) -> None:
    text = printed(*shown(inspection(examples={}, combined=combined)), width=80)
    assert "…" not in text
    assert ("LM's" in text) == combined
    assert all(cell_len(line) <= 80 for line in text.splitlines())
    assert "23.4/100" in text
    assert "+0.28" in text


def test_what_a_language_does_not_have_is_a_dash() -> None:
    line = next(line for line in printed(*shown(inspection(examples={}))).splitlines() if "zh-Hant" in line and "-4" not in line)
    assert line.replace("│", " ").split() == ["zh-Hant", "-", "-", "40.0", "12.3", "57.4", "-"]


def test_one_language_has_no_macro_row() -> None:
    assert "macro" not in printed(*shown(inspection(per_language={"ar": ROW})))


def test_the_title_names_the_options_that_are_set() -> None:
    made_from = {"lm": "b7c1", "temperature": 0.1, "fuse": 0.5, "correct": "none", "also": [{"lm": "9e20"}], "screen": None}
    title = printed(*shown(inspection(made_from=made_from))).splitlines()
    assert "labels of round 3: some/lm, also 1 more, fuse 0.5, temperature 0.1" in " ".join(" ".join(title[:2]).split())


def test_warnings_and_gaps_come_last() -> None:
    text = printed(*shown(inspection(warnings=["the labels of [ar] are nearly flat"], macro=replace(ROW, unscored=1234))))
    assert text.splitlines()[-2:] == ["1,234 candidates have no score and are left out", "warning: the labels of [ar] are nearly flat"]


@pytest.mark.parametrize("width", [60, 100, 160])
@pytest.mark.parametrize("right", list(tiny.WORDS))
@pytest.mark.parametrize("left", ["ar", "zh", "th", "de"])
def test_the_second_column_starts_at_the_same_cell_in_every_script(left: str, right: str, width: int) -> None:
    """The left side ends before the middle, the right one begins behind it: no script pushes the other away."""
    lines = printed(side_by_side(example(left, right)), width=width).splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("retriever's first"))
    half = min(width, 100) // 2
    for line in lines[begin:-1]:
        assert cell_len(line) == min(width, 100)
        assert any(cell_len(line[:i]) == half and line[:i].endswith("  ") for i in range(half // 2, len(line))), line


@pytest.mark.parametrize("lang", list(tiny.WORDS))
def test_a_passage_is_cut_by_cells(lang: str) -> None:
    text = "".join(printed(Foreign(LONG[lang], 160), width=400).split("\n"))
    assert text.rstrip().endswith("…")
    assert 155 <= cell_len(text.rstrip()) <= 160


def test_right_to_left_lines_are_isolated_in_a_terminal_alone() -> None:
    plain, seen = (printed(side_by_side(example("ar", "de")), terminal=terminal) for terminal in (False, True))
    assert FIRST_STRONG_ISOLATE not in plain
    assert seen.count(FIRST_STRONG_ISOLATE) == seen.count(POP_ISOLATE) > 3
    assert seen.replace(FIRST_STRONG_ISOLATE, "").replace(POP_ISOLATE, "") == plain
    for line in seen.splitlines():
        assert line.count(FIRST_STRONG_ISOLATE) == line.count(POP_ISOLATE), "an isolate must not reach over a line"
    assert FIRST_STRONG_ISOLATE not in printed(side_by_side(example("de", "zh")), terminal=True)


def test_a_corpus_cannot_steer_the_terminal() -> None:
    wild = "a\x1b[31mred\u202eback\u2066in\n\tnew \x07[bold]not bold[/bold]\x9b0m"
    assert clean(wild) == "a[31mredbackin new [bold]not bold[/bold]0m"
    assert clean("क्‍ष می‌خواهم") == "क्‍ष می‌خواهم", "joiners belong to the words"
    seen = printed(side_by_side(replace(example("de", "de"), query=wild, label=place("de", text=wild, title=wild))))
    assert not {"\x1b", "\u202e", "\u2066", "\x07", "\x9b"} & set(seen)
    assert "[bold]not bold[/bold]" in seen


def test_the_json_of_an_inspection_is_json() -> None:
    data = inspection().data()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["per_language"]["zh-Hant"]["tau"] is None
