"""`umr data check`: each finding on records that have it and on records that have not, with the place where it stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from umr._rust import Records
from umr.exchange.check import Check, Kind, check, is_other_script, scripts_of
from umr.progress import Silent


def records(folder: Path, kind: Kind, rows: list[dict[str, str]]) -> Records:
    path = folder / f"{kind}.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return Records.open([str(path)], kind, str(folder / "cache"))


def looked_at(folder: Path, *texts: str, kind: Kind = "passages", lang: str = "en") -> Check:
    return check(records(folder, kind, [{"id": f"r{n}", "text": text, "lang": lang} for n, text in enumerate(texts)]), kind, Silent())


FINE = "The old stone bridge was built in 1357."


@pytest.mark.parametrize(
    ("finding", "text"),
    [
        ("empty", "  "), ("nearly_empty", "A stub."), ("duplicates", "the  OLD stone bridge was built in 1357."),
        ("other_script", "Старый каменный мост был построен в 1357 году."), ("damaged", "The cafÃ\u00a9 was built beside the bridge."),
        ("damaged", "The old bridge \ufffd was built in 1402."), ("markup", "The old <ref name=x> bridge was built in 1402."),
        ("markup", "Bridges &amp; towers were built there in 1402."),
    ],
)  # fmt: skip
def test_a_finding_is_counted_with_its_place(tmp_path: Path, finding: str, text: str) -> None:
    made = looked_at(tmp_path, FINE, text)
    found = made.data()["languages"]["en"]
    names = ("empty", "nearly_empty", "duplicates", "other_script", "damaged", "markup", "copies")
    assert {name: found[name] for name in names if found[name]} == {finding: 1}
    assert made.examples == {finding: [(str(tmp_path / "passages.jsonl"), 2, "r1")]}


def test_what_is_fine_has_no_finding(tmp_path: Path) -> None:
    made = looked_at(tmp_path, FINE, "Café 5 < 7 in Zürich, naïve & Ångström at 100 % of £3.", "AT&T built R&D there; a<b holds too.")
    assert not made.examples
    assert made.languages["en"].records == 3
    assert made.languages["en"].lengths[2] == 54


def test_a_query_that_is_a_title_or_text_of_a_passage_is_a_copy(tmp_path: Path) -> None:
    passages = records(tmp_path, "passages", [{"id": "p", "title": "Charles Bridge", "text": FINE}])
    queries = records(
        tmp_path, "queries", [{"id": q, "query": t, "lang": "en"} for q, t in (("a", FINE), ("b", "charles bridge"), ("c", "when?"))]
    )
    known = set[int]()
    check(passages, "passages", Silent(), known)
    made = check(queries, "queries", Silent(), known)
    assert made.languages["en"].copies == 2
    assert [name for _, _, name in made.examples["copies"]] == ["a", "b"]


def test_untagged_records_are_identified_from_a_sample(tmp_path: Path) -> None:
    german = "Der Rhein entspringt in den Alpen und fließt durch sechs Länder bis zur Nordsee."
    made = looked_at(tmp_path, german, german + " Ja.", lang="und")
    assert list(made.languages) == ["untagged"]
    assert made.sample == {"de": 1.0}
    assert made.languages["untagged"].other_script == 0


def test_the_sample_is_drawn_from_all_over_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umr.exchange.check.SAMPLE", 4)
    texts = [f"Der Rhein entspringt in den Alpen, Nummer {n}." for n in range(20)] + [
        f"The old stone bridge, number {n}." for n in range(20)
    ]
    assert looked_at(tmp_path, *texts, lang="").sample == {"de": 0.5, "en": 0.5}


@pytest.mark.parametrize(
    ("lang", "own", "other"),
    [("ja", "東京タワーはどこ", "Tokyo Tower"), ("ko", "서울은 어디", "東京タワーひらがな"), ("zh-Hant", "臺北在哪裡", "Where is it"),
     ("sr-Latn", "gde je", "где је"), ("sr", "где је", "gde je"), ("hi", "दिल्ली कहाँ", "Delhi"), ("xx", "anything", "что угодно")],
)  # fmt: skip
def test_scripts_are_those_of_the_language(lang: str, own: str, other: str) -> None:
    assert not is_other_script(own, lang)
    assert is_other_script(other, lang) is bool(scripts_of(lang))
    assert not is_other_script("1357 + 2", lang)
