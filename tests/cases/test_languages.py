"""Languages: a code that names none is no language, names are without territory, what was meant is asked, identification is restricted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
import umr
from umr.data.corpus_langs import corpus_languages
from umr.errors import UsageError
from umr.languages import language_name
from umr.progress import Silent

GERMAN = "Wo entspringt der Fluss, der durch die alte Stadt fließt?"
SPANISH = "hola que tal amigos"  # Catalan, where every language may be meant


def opened(folder: Path, langs: Sequence[str | None], texts: Sequence[str] = (), lang: str | None = None, talk: Any = None) -> Any:
    """A work folder whose queries state these languages."""
    records = [{"id": f"q{i}", "question": text} for i, text in enumerate(texts or [GERMAN] * len(langs))]
    stated = [record | ({} if code is None else {"lang": code}) for record, code in zip(records, langs, strict=True)]
    (folder / "q.jsonl").write_text("".join(json.dumps(record) + "\n" for record in stated))
    (folder / "p.tsv").write_text("p0\tthe old bridge\tRiver\n")
    encoder = umr.EncoderConfig(model="no/encoder", pooling="mean", similarity="cosine")
    return umr.create_workspace(folder / "work", [str(folder / "p.tsv")], [str(folder / "q.jsonl")], encoder, lang, talk)


@pytest.mark.parametrize("code", ["und", "mul", "zxx", "mis", "UND", "und-Latn", " und "])
def test_a_code_that_names_no_language_counts_as_none(tmp_path: Path, code: str) -> None:
    talk = tiny.Talk()
    work = opened(tmp_path, [code, "fi"], talk=talk)
    assert work.queries.langs == ["de", "fi"]
    assert [line for line in talk.said if "1 queries carry no language; identified: de 1" in line]
    assert not talk.warned


def test_a_passage_without_language_is_identified_too(tmp_path: Path) -> None:
    work = opened(tmp_path, ["en"])
    lines = [
        {"id": "a", "text": GERMAN, "lang": "und"},
        {"id": "b", "text": GERMAN, "lang": "zxx"},
        {"id": "c", "text": GERMAN, "lang": "fi"},
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    work = umr.create_workspace(tmp_path / "other", [str(tmp_path / "p.jsonl")], [str(tmp_path / "q.jsonl")], work.encoder)
    assert corpus_languages(work.passages, work.layout, Silent()).of(np.arange(3)) == ["de", "de", "fi"]


NAMES = {
    "rus": "Russian", "pt-BR": "Portuguese", "en-US": "English", "en_GB": "English", "deu": "German", "gug": "Guarani", "kik": "Kikuyu",
    "zh-Hant": "Traditional Chinese", "zh-TW": "Traditional Chinese", "zh-CN": "Chinese", "sr-Latn": "Serbian", "EN": "English",
    "iw": "Hebrew", "tl": "Tagalog", "und": "und", "xx": "xx", "zh": "Chinese", "bn": "Bengali",  # the last two as in the paper's code
}  # fmt: skip


@pytest.mark.parametrize(("code", "name"), NAMES.items())
def test_a_language_is_named_without_a_territory(code: str, name: str) -> None:
    assert language_name(code) == name


@pytest.mark.parametrize(("code", "meant"), {"jp": "ja", "cn": "zh", "gr": "el", "CZ": "cs", "german": "de"}.items())
def test_what_was_meant_by_a_wrong_language_is_asked(tmp_path: Path, code: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"lang is '{code}', which is no language") as caught:
        opened(tmp_path, ["en"], lang=code)
    assert caught.value.hint.startswith(f"{meant} (")
    assert not (tmp_path / "work").exists()
    talk = tiny.Talk()
    opened(tmp_path, [code], talk=talk)
    assert talk.warned == [f"unknown language {code!r} (1 queries): the code itself goes into the prompt; {meant}?"]


@pytest.mark.parametrize("lang", ["und", "mul", "es,und", "es,xqz"])
def test_what_cannot_be_the_language_of_queries_is_a_usage_error(tmp_path: Path, lang: str) -> None:
    with pytest.raises(UsageError):
        opened(tmp_path, ["en"], lang=lang)


def test_several_languages_restrict_identification(tmp_path: Path) -> None:
    assert opened(tmp_path, [None, None], [SPANISH, GERMAN]).queries.langs == ["ca", "de"]
    work = opened(tmp_path, [None, None, "fi"], [SPANISH, GERMAN, SPANISH], "es,de, ja")
    assert work.queries.langs == ["es", "de", "fi"]
    assert umr.open_workspace(tmp_path / "work").queries.langs == ["es", "de", "fi"]
    assert set(opened(tmp_path, [None, None], [SPANISH, GERMAN], "ar,ja").queries.langs) <= {"ar", "ja"}


def test_what_is_no_language_is_never_identified(tmp_path: Path) -> None:
    work = opened(tmp_path, [None] * 3, ["https://example.org/a?b=c", "4711 0815", "!!! ???"])
    assert not set(work.queries.langs) & {"zxx", "und", "mul"}
