"""The terminal: nothing that a file holds steers it, nothing is swallowed as markup, and a closed or full stdout is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tiny
import umr
from umr.cli import app

STEERING = "\x1b]0;x\x07\x1b[2J\x9b31m\u202e"
SHOWN = "]0;x[2J31m"
MARKUP = "[red]bridge[/red] [/] :smile: \\[x]"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mined work folder in a folder whose name looks like markup; ids, titles, texts and languages steer."""
    folder = tmp_path_factory.mktemp("terminal") / "[bold] :smile:"
    folder.mkdir()
    passages = [{"id": f"p{i}{STEERING}", "title": f"T{STEERING} {MARKUP}", "text": f"the old {STEERING} {MARKUP} {i}"} for i in range(4)]
    queries = [{"id": f"q{i}{STEERING}", "question": f"old bridge {i}?", "lang": f"xq{STEERING}"} for i in range(3)]
    for name, records in (("p.jsonl", passages), ("q.jsonl", queries)):
        (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "qrels.tsv").write_text(
        "".join(f"q{i}{STEERING}\tp{i}{STEERING}\t1\n" for i in range(3)) + f"q0{STEERING}\tlost{STEERING}\t1\n"
    )
    done = shell("mine", folder / "work", "--passages", folder / "p.jsonl", "--queries", folder / "q.jsonl", "--top-k", 3,
                 "--encoder", tiny.encoder(folder / "bert"), "--pooling", "mean", "--similarity", "cosine")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "unknown language" in done.stderr
    harmless(done.stderr)
    return folder / "work"


def shell(*words: object) -> Any:
    return CliRunner().invoke(app, [str(w) for w in words], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


def harmless(text: str) -> None:
    """No control character but newlines, and none that changes the direction of text."""
    assert not set(text) & {chr(code) for code in (*range(10), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F))}


def test_what_search_shows_cannot_steer_and_is_whole(work: Path) -> None:
    done = shell("search", work, "old bridge", "--lang", "en")
    assert done.exit_code == 0, done.stderr
    harmless(done.stdout + done.stderr)
    assert f"T{SHOWN} {MARKUP}  (p" in done.stdout
    assert f"the old {SHOWN} {MARKUP}" in done.stdout


def test_json_holds_the_same_without_control_characters(work: Path) -> None:
    done = shell("search", work, "old bridge", "--lang", "en", "--json")
    harmless(done.stdout)
    assert all(hit["title"] == f"T{STEERING} {MARKUP}" for hit in json.loads(done.stdout)["hits"])


@pytest.mark.parametrize("call", [("status",), ("eval",)])
def test_tables_titles_and_warnings_are_harmless_and_whole(work: Path, call: tuple[str]) -> None:
    done = shell(*call, work, *(("--qrels", work.parent / "qrels.tsv") if call == ("eval",) else ()))
    assert done.exit_code == 0, done.stderr
    harmless(done.stdout + done.stderr)
    if call == ("status",):
        assert "[bold] :smile:" in done.stdout
    else:
        assert f"xq{SHOWN}" in done.stdout


def test_errors_that_quote_a_file_are_harmless(work: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(f"[mine]\n'top{STEERING}' = 3\n", encoding="utf-8")
    (tmp_path / "qrels.tsv").write_text(f"q{STEERING} 0 p 1\n")
    for call in (("label", work, "--config", tmp_path / "run.toml"), ("eval", work, "--qrels", tmp_path / "qrels.tsv")):
        done = shell(*call)
        assert done.exit_code in (1, 2)
        harmless(done.stdout + done.stderr)
        assert "Traceback" not in done.stderr


def test_the_extra_of_a_model_is_shown() -> None:
    assert "umr[demo]" in shell("models").stdout


# ---------------------------------------------------------------- stdout


def umr_process(*words: object, stdout: str) -> Any:
    """A command in a process of its own, its stdout as the shell makes it."""
    env = os.environ | {"PYTHONPATH": str(Path(umr.__file__).parents[1]), "NO_COLOR": "1"}
    call = f'"$0" -c "from umr.cli import main; main()" "$@" {stdout}'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", call, sys.executable, *map(str, words)], env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("stdout", [">&-", ">/dev/full"])
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_stdout_that_takes_nothing_is_said(work: Path, stdout: str, more: tuple[str, ...]) -> None:
    done = umr_process("status", work, *more, stdout=stdout)
    assert done.returncode == 2, done.stderr
    assert "error:" in done.stderr
    assert "stdout" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_reader_that_goes_is_no_error(work: Path, more: tuple[str, ...]) -> None:
    done = umr_process("search", work, "old bridge", "--lang", "en", *more, stdout="| (exec <&-; sleep 0.1; true)")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_files_are_whole_where_stdout_is_closed(work: Path, tmp_path: Path) -> None:
    """What is printed must not go into a file that took the place of the closed descriptor."""
    done = umr_process("init", tmp_path / "run.toml", stdout=">&- 2>&-")
    assert done.returncode == 2
    assert (tmp_path / "run.toml").read_text().startswith("# `umr run FILE`")
    assert "is written" not in (tmp_path / "run.toml").read_text()
