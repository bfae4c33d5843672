"""Queries: where their language comes from, what is repaired or warned about, and what names a question."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny
from umr._rust import fingerprint
from umr.data.queries import Queries, open_queries, typed_query

TEXTS = {
    "en": "Where does the river that flows through the old city begin?",
    "de": "Wo entspringt der Fluss, der durch die alte Stadt fließt?",
    "ru": "Где начинается река, которая течёт через старый город?",
    "th": "แม่น้ำที่ไหลผ่านเมืองเก่าเริ่มต้นที่ไหน",
}


def opened(folder: Path, records: list[dict[str, str]], lang: str | None = None) -> tuple[Queries, tiny.Talk]:
    path, talk = folder / "queries.jsonl", tiny.Talk()
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return open_queries([str(path)], folder / "cache", lang, talk), talk


def record(number: int, text: str, lang: str | None = None) -> dict[str, str]:
    return {"id": f"q{number}", "question": text} | ({} if lang is None else {"lang": lang})


def test_the_records_say_their_language(tmp_path: Path) -> None:
    queries, talk = opened(tmp_path, [record(0, "hm?", "fi"), record(1, "hm?", "te")])
    assert queries.langs == ["fi", "te"]
    assert (len(queries), queries.ids(), queries.texts()) == (2, ["q0", "q1"], ["hm?", "hm?"])
    assert talk.said == talk.warned == []


def test_a_given_language_is_that_of_every_query(tmp_path: Path) -> None:
    queries, talk = opened(tmp_path, [record(0, TEXTS["en"], "en"), record(1, TEXTS["ru"])], lang="sw")
    assert queries.langs == ["sw", "sw"]
    assert talk.said == talk.warned == []


def test_missing_languages_alone_are_identified_and_said(tmp_path: Path) -> None:
    records = [record(n, text, "xx" if n == 0 else None) for n, text in enumerate(TEXTS.values())]
    queries, talk = opened(tmp_path, [*records, record(4, TEXTS["ru"], "")])
    assert queries.langs == ["xx", "de", "ru", "th", "ru"]
    assert talk.said == ["4 queries carry no language; identified: ru 2, de 1, th 1 (--lang sets one)"]


def test_white_space_around_a_language_is_repaired_and_counted(tmp_path: Path) -> None:
    queries, talk = opened(tmp_path, [record(0, "a?", " ar"), record(1, "b?", "ar"), record(2, "c?", "ru \t")])
    assert queries.langs == ["ar", "ar", "ru"]
    assert talk.said == ["repaired 2 language codes with white space around them"]
    assert not talk.warned


def test_an_unknown_language_is_warned_about_and_kept(tmp_path: Path) -> None:
    queries, talk = opened(tmp_path, [record(0, "a?", "xx"), record(1, "b?", "en"), record(2, "c?", "xx")])
    assert queries.langs == ["xx", "en", "xx"]
    assert talk.warned == ["unknown language 'xx' (2 queries): the code itself goes into the prompt"]


def test_a_given_unknown_language_is_warned_about_too(tmp_path: Path) -> None:
    _, talk = opened(tmp_path, [record(0, "a?", "en")], lang="elvish")
    assert talk.warned == ["unknown language 'elvish' (1 queries): the code itself goes into the prompt"]


@pytest.mark.parametrize("code", ["pt-BR", "zh-Hant", "zh_TW", "sr-Latn", "EN", "yo"])
def test_regional_codes_are_known(tmp_path: Path, code: str) -> None:
    assert not opened(tmp_path, [record(0, "a?", code)])[1].warned


def test_a_question_and_its_language_make_the_key_not_its_id(tmp_path: Path) -> None:
    keys = opened(tmp_path, [record(0, "a?", "en"), record(1, "a?", "en"), record(2, "a?", "de"), record(3, "b?", "en")])[0].keys()
    assert keys.shape == (4, 2)
    assert keys[0].tolist() == keys[1].tolist()
    assert len({tuple(k) for k in keys.tolist()}) == 3
    digest = fingerprint("a?\x1fde")
    assert keys[2].tolist() == [int(digest[:16], 16), int(digest[16:32], 16)]


def test_a_typed_question() -> None:
    talk = tiny.Talk()
    assert typed_query(TEXTS["de"], "sv", talk).langs == ["sv"]
    assert typed_query("a?", "en", talk).texts() == ["a?"]
    assert not talk.said
    assert typed_query(TEXTS["de"], None, talk).langs == ["de"]
    assert len(talk.said) == 1
    assert "de" in talk.said[0]
