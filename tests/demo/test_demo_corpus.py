"""The shipped corpus is what the demonstration says it is, and the demonstration ends as the README says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tiny
from umr import demo
from umr.config import EncoderConfig, LabelConfig
from umr.data.qrels import read_qrels

SCRIPTS = {"ar": "Arabic", "el": "Greek", "hi": "Devanagari", "ja": "Kana", "ru": "Cyrillic", "zh": "Han"}  # the rest: Latin


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (demo.DATA / name).read_text(encoding="utf-8").splitlines()]


def test_the_corpus_has_the_promised_size_languages_and_scripts() -> None:
    passages, loop, test = rows("passages.jsonl"), rows("queries.loop.jsonl"), rows("queries.test.jsonl")
    assert len(passages) >= 200
    assert len(loop) + len(test) >= 500
    assert len(loop) == len(test)
    for questions in (loop, test):
        languages = Counter(q["lang"] for q in questions)
        assert len(languages) >= 8
        assert min(languages.values()) >= 25
        assert len({SCRIPTS.get(lang, "Latin") for lang in languages}) >= 4


def test_ids_and_questions_are_unique_and_gold_is_apart() -> None:
    passages, questions = rows("passages.jsonl"), [*rows("queries.loop.jsonl"), *rows("queries.test.jsonl")]
    assert len({p["id"] for p in passages}) == len(passages)
    assert len({p["text"] for p in passages}) == len(passages)
    assert len({q["question"] for q in questions}) == len(questions)
    assert all(set(q) == {"id", "question", "lang"} for q in questions)


def test_every_test_question_has_one_gold_passage_and_no_loop_question_has_any() -> None:
    grades = read_qrels(demo.DATA / "qrels.test.txt").grades
    ids = {p["id"] for p in rows("passages.jsonl")}
    assert set(grades) == {q["id"] for q in rows("queries.test.jsonl")}
    assert all(len(row) == 1 and set(row) <= ids for row in grades.values())


def test_the_demonstration_runs_through_and_ends_with_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from umr.cli import app

    encoder, lm = tiny.encoder(tmp_path / "encoder"), tiny.llama(tmp_path / "lm")
    monkeypatch.setattr(demo, "ENCODER", EncoderConfig(model=str(encoder), pooling="mean", similarity="cosine"))
    monkeypatch.setattr(demo, "LABELLING", LabelConfig(lm=str(lm), precision="fp32"))
    done = CliRunner().invoke(app, ["demo", "--work", str(tmp_path / "work"), "--device", "cpu", "--quiet"])
    assert done.exit_code == 0, done.output
    last = done.stdout.strip().splitlines()[-1]
    assert tmp_path.joinpath("work/round-1/mine.json").exists()
    before, after = last.removeprefix("macro R@1: ").split(" -> ")
    assert 0 <= float(before) <= 100
    assert 0 <= float(after) <= 100
