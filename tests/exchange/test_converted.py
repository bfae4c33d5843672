"""LAReQA and MKQA from files in their published form: what becomes of them, and what is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny
from umr.data.qrels import read_qrels
from umr.errors import FormatError, InputError, MismatchError
from umr.exchange import converted
from umr.exchange.converted import convert_lareqa, convert_mkqa

SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "xor" / "mkqa" / "test_mkqa.jsonl.gz"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UMR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "converted"


def qa(name: str, text: str, start: int, question: str = "which?") -> dict[str, Any]:
    return {"id": name, "question": question, "answers": [{"text": text, "answer_start": start}]}


def paragraph(sentences: list[str], *asked: dict[str, Any], gap: str = " ") -> dict[str, Any]:
    breaks, at = [], 0
    for sentence in sentences:
        breaks.append([at, at + len(sentence)])
        at += len(sentence) + len(gap)
    return {"context": gap.join(sentences), "qas": list(asked), "sentence_breaks": breaks, "sentences": sentences}


EN = [
    paragraph(["One is here.", "Two is here."], qa("a", "One", 0), qa("b", "Two is", 13), qa("c", " Two", 12), qa("d", ". Two", 11)),
    paragraph(["Again.", "Again.", "End."], qa("e", "Again", 7)),
]
ZH = [paragraph(["一在这里。", "二在这里。"], qa("a", "一在", 0, "哪个？"), qa("b", "二", 5), gap="")]
ES = [paragraph(["Uno. ", "Dos."], qa("a", " Dos", 4), gap="")]
DE = [paragraph(["Wieder.", "Café\u0301 zu."], qa("e", "Café\u0301", 8), qa("only", "zu", 14))]


def published(folder: Path, monkeypatch: pytest.MonkeyPatch, **languages: list[dict[str, Any]]) -> list[Path]:
    """Files of some languages, the second article with a title and the rest without, and their counts as the published ones."""
    counts, files = {}, []
    for lang, rows in languages.items():
        counts[lang] = sum(len(row["qas"]) for row in rows), sum(len(row["sentences"]) for row in rows)
        data = [{"paragraphs": rows[:1]}, {"title": "T", "paragraphs": rows[1:]}]
        files.append(folder / f"{lang}.json")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        files[-1].write_text(json.dumps({"version": 1.0, "data": data}), encoding="utf-8")
    monkeypatch.setitem(converted.LAREQA, "xquad-r", counts)
    return files


def rows_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_sentences_of_all_languages_are_candidates_for_questions_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, count = convert_lareqa("xquad-r", published(tmp_path / "xquad-r", monkeypatch, de=DE, en=EN, zh=ZH))
    passages, queries = rows_of(folder / "passages.jsonl"), rows_of(folder / "queries.jsonl")
    assert count == len(passages) == 9
    assert passages[0] == {"id": "de:0:0", "text": "Wieder. Wieder. Café\u0301 zu.", "lang": "de"}
    assert [p["id"] for p in passages if p["text"] == "Again. Again. Again. End."] == ["en:1:0", "en:1:1"]
    assert queries[-2] == {"id": "a_zh", "query": "哪个？", "lang": "zh"}
    grades = {query: set(row) for query, row in read_qrels(folder / "qrels.txt").grades.items()}
    assert grades == {
        "a_en": {"en:0:0", "zh:0:0"}, "a_zh": {"en:0:0", "zh:0:0"}, "b_en": {"en:0:1", "zh:0:1"}, "b_zh": {"en:0:1", "zh:0:1"},
        "c_en": {"en:0:1"}, "d_en": {"en:0:0"}, "e_en": {"en:1:1", "de:0:1"}, "e_de": {"en:1:1", "de:0:1"}, "only_de": {"de:0:1"},
    }  # fmt: skip


def test_white_space_before_an_answer_is_not_where_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = convert_lareqa("xquad-r", published(tmp_path, monkeypatch, es=ES))
    assert (folder / "qrels.txt").read_text() == "a_es 0 es:0:1 1\n"


def test_files_are_converted_once_and_anew_when_they_are_others(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = published(tmp_path / "a", monkeypatch, en=EN)
    folder, _ = convert_lareqa("xquad-r", files)
    (folder / "mine").write_text("")
    assert convert_lareqa("xquad-r", files)[0] == folder
    assert (folder / "mine").exists()
    other, _ = convert_lareqa("xquad-r", published(tmp_path / "b", monkeypatch, en=EN[:1]))
    assert other != folder
    assert sorted(cache.iterdir()) == sorted([folder, other])


def test_other_numbers_than_the_published_are_refused(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = published(tmp_path / "x", monkeypatch, en=EN, zh=ZH)
    monkeypatch.setitem(converted.LAREQA["xquad-r"], "en", (5, 4))  # equal candidates once
    convert_lareqa("xquad-r", files)
    with pytest.raises(MismatchError, match=r"x: zh has 0 questions and 0 sentences, published are 2 and 2") as raised:
        convert_lareqa("xquad-r", files[:1])
    assert raised.value.hint == "fetch the files again"
    monkeypatch.setitem(converted.LAREQA["xquad-r"], "en", (1190, 1180))
    with pytest.raises(MismatchError, match=r"en has 5 questions and 5 sentences, published are 1,190 and 1,180"):
        convert_lareqa("xquad-r", files)
    assert len(list(cache.iterdir())) == 1


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda row: row.pop(key)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("sentences"), "'sentences' is missing"),
        (without("context"), "'context' is missing"),
        (lambda row: row.update(context=5), "context is no text but '5'"),
        (lambda row: row["sentences"].pop(), "1 sentences and 2 sentence_breaks"),
        (lambda row: row["sentences"].__setitem__(0, None), "NoneType"),
        (lambda row: row["qas"][0].pop("id"), "'id' is missing"),
        (lambda row: row["qas"][0].update(id="a b"), "question 'a b' is there twice, has white space in its id or has no answer"),
        (lambda row: row["qas"][0].update(answers=[]), "question 'a' is there twice, has white space in its id or has no answer"),
        (lambda row: row["qas"].append(row["qas"][0]), "question 'a' is there twice"),
        (lambda row: row["qas"][0].update(question=" "), "question is no text but ' '"),
        (lambda row: row["qas"][0]["answers"][0].pop("answer_start"), "'answer_start' is missing"),
        (lambda row: row["qas"][0]["answers"][0].update(answer_start=25), r"the answer 'One' at 25 is in no sentence of \[\[0,"),
        (lambda row: row["qas"][0]["answers"][0].update(answer_start=-1), "the answer 'One' at -1 is in no sentence"),
        (lambda row: row["qas"][0]["answers"][0].update(text="x", answer_start=12), "the answer 'x' at 12 is in no sentence"),
    ],
)  # fmt: skip
def test_damaged_paragraphs_are_refused_with_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, damage: Callable[[Any], object], message: str
) -> None:
    rows = json.loads(json.dumps([DE[0], EN[0]]))
    damage(rows[1])
    files = published(tmp_path, monkeypatch, en=EN)
    files[0].write_text(json.dumps({"data": [{"paragraphs": rows}]}))
    with pytest.raises(FormatError, match=rf"en\.json: paragraph 1: .*{message}") as raised:
        convert_lareqa("xquad-r", files)
    assert raised.value.hint.startswith('expected {"data": [{"paragraphs": [{"context", "qas", "sentences", "sentence_breaks"}]}]}')
    assert not cache.exists()


@pytest.mark.parametrize(
    ("text", "message"), [('{"data": [', r"en\.json:1: not valid JSON"), ('{"version": 1}', r"en\.json: 'data' is missing")]
)
def test_damaged_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "en.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        convert_lareqa("xquad-r", [path])


def example(name: int, english: list[dict[str, Any]], **queries: str) -> dict[str, Any]:
    return {"query": "q", "example_id": name, "queries": queries, "answers": {"en": english, "de": [{"type": "entity", "text": "Nein"}]}}


def entity(text: str, *aliases: str, kind: str = "entity") -> dict[str, Any]:
    return {"type": kind, "text": text, "aliases": list(aliases), "entity": "Q1"}


NONE = {"type": "unanswerable", "text": None}


def mkqa(path: Path, *rows: dict[str, Any]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as handle:
        handle.write("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_questions_with_an_english_span_are_asked_in_every_language(tmp_path: Path) -> None:
    rows = (
        example(-1, [entity("Café\u0301", "Cafe", "Cafe"), {"type": "date", "text": "1999"}], en="where", zh_cn="哪里"),
        example(2, [{"type": "binary", "text": "yes"}], en="is it", zh_cn="是吗"),
        example(3, [{"type": "long_answer", "text": None}], en="why", zh_cn="为什么"),
        example(4, [NONE, entity("Rhine")], en="which river"),
        example(5, [entity("Rhine"), NONE], en="which"),  # the last decides, as in mContriever's script
    )
    talk = tiny.Talk()
    path, answers = convert_mkqa(mkqa(tmp_path / "mkqa.jsonl.gz", *rows), talk)
    assert answers == {"-1_en": ("Café\u0301", "Cafe", "1999"), "-1_zh_cn": ("Café\u0301", "Cafe", "1999"), "4_en": ("Rhine",)}
    assert rows_of(path) == [
        {"id": "-1_en", "query": "where", "lang": "en"}, {"id": "-1_zh_cn", "query": "哪里", "lang": "zh_cn"},
        {"id": "4_en", "query": "which river", "lang": "en"},
    ]  # fmt: skip
    (warned,) = talk.warned
    assert "2 of 5 questions count, with 3 queries in 2 languages; published: 6,619 of 10,000 questions count, with 172,094" in warned


def test_the_published_number_is_said_and_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converted, "MKQA", "1 of 1 questions count, with 1 queries in 1 languages")
    talk = tiny.Talk()
    convert_mkqa(mkqa(tmp_path / "mkqa.jsonl.gz", example(1, [entity("Rhine")], en="which")), talk)
    assert not talk.warned
    assert any("1 of 1 questions count" in said for said in talk.said)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"example_id": 1, "queries": {"en": "q"}, "answers": {}}, "'en' is missing"),
        ({"queries": {"en": "q"}, "answers": {"en": [NONE]}}, "'example_id' is missing"),
        ({"example_id": 1, "queries": {"en": "q"}, "answers": {"en": []}}, "no English answer"),
        (example(1, [entity("Rhine")], en=""), "en is no text but ''"),
        (example(1, [{"type": "entity", "text": None}], en="q"), "answer is no text but 'None'"),
        (example(1, [{"text": "Rhine"}], en="q"), "'type' is missing"),
        (example(9, [entity("Rhine")], en="q"), "example_id 9 is there twice"),
    ],
)
def test_damaged_lines_are_refused_with_their_number(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = mkqa(tmp_path / "mkqa.jsonl.gz", example(9, [entity("Rhine")], en="which"), row)
    with pytest.raises(FormatError, match=rf"mkqa\.jsonl\.gz:2: ({message})") as raised:
        convert_mkqa(path, tiny.Talk())
    assert raised.value.hint.startswith('expected {"example_id"')


def test_a_file_without_json_or_without_a_question_that_counts_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "mkqa.jsonl"
    broken.write_text('{"example_id": 1,\n')
    with pytest.raises(FormatError, match=r"mkqa\.jsonl:1: Expecting"):
        convert_mkqa(broken, tiny.Talk())
    with pytest.raises(InputError, match=r"0 of 1 questions count"):
        convert_mkqa(mkqa(tmp_path / "none.gz", example(1, [NONE], en="q")), tiny.Talk())


@pytest.mark.data
@pytest.mark.skipif(not SAMPLE.exists(), reason="the shared data are not there")
def test_the_published_sample_of_mkqa_is_read() -> None:
    talk = tiny.Talk()
    path, answers = convert_mkqa(SAMPLE, talk)
    assert "3 of 6 questions count, with 78 queries in 26 languages" in talk.warned[0]
    assert len(rows_of(path)) == 78
    assert answers["7631360939705650347_km"] == ("Ridley Scott", "Sir Ridley Scott")
    assert "Hafthor Julius Bjornsson" in answers["-7449157003522518870_zh_tw"]
