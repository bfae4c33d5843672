"""Published figures as commands: the page is made from the list, and a figure off its tolerance is noticed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benches import reproduce
from benches.harness import REPOSITORY, SHARED


def test_the_page_is_made_from_the_list() -> None:
    assert reproduce.PAGE.read_text(encoding="utf-8") == reproduce.page()


@pytest.mark.parametrize("name", reproduce.entries())
def test_an_entry_is_whole_and_its_command_is_there(name: str) -> None:
    entry = reproduce.entries()[name]
    assert set(entry) <= {"what", "minutes", "command", "environment", "expected", "peers"}
    assert all(figure.tolerance >= 0 for figure in reproduce.figures(entry))
    program = shlex.split(entry["command"])
    new = "{work}" in entry["command"] or "--predictions" in entry["command"] or "expected" not in entry
    assert new, "what an earlier run kept must not be read again"
    assert "expected" in entry or "--check" in entry["command"] or name == "reliability", "nothing decides"
    assert program[0] in (".venv/bin/umr", ".venv/bin/python")
    if program[0] == ".venv/bin/python":
        assert (REPOSITORY / program[1]).is_file()


def test_a_figure_is_found_by_its_path_and_compared() -> None:
    entry = {"expected": [
        {"at": ["rows", {"lang": "{each}"}, "R@1"], "values": {"de": 50.0, "fi": 40.0}, "tolerance": 1.0},
        {"at": ["facts", "seconds"], "value": 3.0, "tolerance": 0, "scale": 10},
    ]}  # fmt: skip
    found = {"rows": [{"lang": "de", "R@1": "50.9"}, {"lang": "fi", "R@1": "41.1"}], "facts": {"seconds": 0.3}}
    assert [(figure.name, round(value, 1), holds) for figure, value, holds in reproduce.compared(entry, found)] == [
        ("rows / de / R@1", 50.9, True), ("rows / fi / R@1", 41.1, False), ("facts / seconds", 3.0, True),
    ]  # fmt: skip
    with pytest.raises(KeyError, match="no row with"):
        reproduce.looked_up(found, ("rows", {"lang": "th"}, "R@1"))


@pytest.mark.data
@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the shared data are not there")
def test_a_command_gives_its_published_figures() -> None:
    entry = reproduce.entries()["xor-retrieve"]
    assert all(holds for _, _, holds in reproduce.compared(entry, reproduce.run(entry)))
