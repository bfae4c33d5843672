"""The official score of XOR-Retrieve: what the official script printed, the slow twin on real and adversarial texts, and wrong files."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from umr.errors import FormatError, InputError, MissingExtraError
from umr.evaluate import token_limit
from umr.evaluate.xor_retrieve import Gold, Prediction, doubts, read_gold, read_predictions, survives, xor_score
from umr.progress import Silent

nltk = pytest.importorskip("nltk")
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
OFFICIAL = {
    "afriqa_mixed": DATA / "xor" / "afriqa_train.retrieve_eng_span.jsonl",
    "xor_dev_mixed": DATA / "xor" / "xor-retrieve" / "xor_dev_retrieve_eng_span_v1_1.jsonl.gz",
}
needs_data = pytest.mark.skipif(not (DATA / "nltk_data").exists(), reason="the shared data are not there")
BITS = (
    "Rep.", "Dr.", "U.S.", "e.g.", "No. 5", "2.8%", "Maharashtra, India", "(b. 1867)", '"Gone"', "'tis", "'twas", "cannot", "gonna",
    "d'ye", "don't", "it's", "``", "''", "«ja»", "„so“", "...", "....", "--", "—", "J. S. Bach", "3:4", "a,b", "[1]", "?!", "$3", "Mr",
    ".", "'", '"', "\u00a0", "\u2028", "\n", "الملك.", "東京。", "A.B.", "etc.), and", "wanna go", "more'n", "cat", "cat", "The",
)  # fmt: skip
TEXT = st.lists(st.one_of(st.sampled_from(BITS), st.text(max_size=5)), max_size=12).map(" ".join) | st.lists(st.sampled_from(BITS)).map(
    "".join
)


@pytest.fixture(autouse=True)
def table_of_sentence_ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """NLTK finds its table in the shared data."""
    import nltk.data

    monkeypatch.setattr(nltk.data, "path", [str(DATA / "nltk_data")])
    token_limit.word_tokenizer.cache_clear()
    yield
    monkeypatch.undo()
    token_limit.word_tokenizer.cache_clear()


@needs_data
@pytest.mark.data
@pytest.mark.parametrize("name", OFFICIAL)
def test_the_official_scripts_own_output_comes_out(name: str) -> None:
    predictions = DATA / "xor" / "official" / f"{name}.pred.json.gz"
    found = xor_score(read_predictions(predictions), read_gold(OFFICIAL[name]), Silent()).data()
    assert json.dumps(found, sort_keys=True) == json.dumps(
        json.loads((predictions.parent / f"{name}.expected.json").read_text()), sort_keys=True
    )


@needs_data
@pytest.mark.data
def test_the_oracle_of_afriqa_scores_as_published() -> None:
    predictions = read_predictions(DATA / "xor" / "afriqa_train.oracle_prediction.json.gz")
    data = xor_score(predictions, read_gold(OFFICIAL["afriqa_mixed"]), Silent()).data()
    assert data["R@2kt"]["macro"] == data["R@5kt"]["macro"] == 88.80460302811579


@needs_data
@pytest.mark.data
def test_thousands_of_real_questions_score_as_their_twin() -> None:
    from reference import xor_retrieve as twin

    name = "xor_dev_mixed"
    rows = json.loads(gzip.decompress((DATA / "xor" / "official" / f"{name}.pred.json.gz").read_bytes()))
    gold, draw = read_gold(OFFICIAL[name]), random.Random(1)
    texts = [text for row in rows for text in row["ctxs"]]
    for number in range(2000):
        words = draw.choice(texts).split()
        at = draw.randrange(len(words)) if words else 0
        answers = [
            " ".join(words[at : at + draw.randint(1, 3)]).strip(draw.choice([".", ",.", ""])),
            *draw.choice(list(gold.values())).answers,
        ]
        found = draw.sample(texts, draw.randint(1, 5))
        limits = (draw.randint(1, 200), draw.randint(200, 1000))
        assert token_limit.within(found, answers, limits) == [twin.holds(found, answers, limit) for limit in limits], number


@needs_data
@pytest.mark.data
@settings(max_examples=1500)
@given(st.lists(TEXT, max_size=5), st.data(), st.integers(0, 40))
def test_adversarial_texts_score_as_their_twin(texts: list[str], data: st.DataObject, limit: int) -> None:
    from reference import xor_retrieve as twin

    words = " ".join(texts).split(" ")
    cut = st.integers(0, len(words)).flatmap(lambda at: st.integers(at, min(at + 4, len(words))).map(lambda end: " ".join(words[at:end])))
    answers = data.draw(st.lists(cut | st.sampled_from(BITS), max_size=3))
    limits = (limit, limit + 7)
    assert token_limit.within(texts, answers, limits) == [twin.holds(texts, answers, n) for n in limits]


@needs_data
@pytest.mark.data
@settings(max_examples=1000)
@given(TEXT)
@example('\'tis \'twas cannot gonna """ ..."')
def test_the_number_of_tokens_lies_between_its_bounds_and_only_white_space_and_quotes_change(text: str) -> None:
    tokens = nltk.tokenize.word_tokenize(text)
    least, most = token_limit.bounds(text)
    assert least <= len(tokens) <= most
    assert token_limit.squeezed("".join(tokens)) == token_limit.squeezed(text)


@needs_data
@pytest.mark.data
def test_a_tokenizer_that_changes_more_is_asked_for_every_passage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_limit, "word_tokenizer", lambda: lambda text: text.upper().split())
    assert token_limit.within(["one two unseen", "three"], ["TWO", "two"], (1, 2)) == [False, True]


@needs_data
@pytest.mark.data
def test_every_core_gives_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    gold = {f"q{n}": Gold("de" if n % 3 else "fi", (f"word{n}",)) for n in range(230)}
    found = [Prediction(name, one.lang, (f"a word{int(name[1:]) // 2 * 2}, and", "more")) for name, one in gold.items()]
    many = xor_score(found, gold, Silent())
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert many == xor_score(found, gold, Silent())
    assert many.hits["R@2kt"] == {lang: sum(n % 2 == 0 and (n % 3 > 0) == (lang == "de") for n in range(230)) for lang in ("fi", "de")}


@needs_data
@pytest.mark.data
def test_the_ceiling_counts_answers_that_survive() -> None:
    assert survives("Portland")
    assert survives("J. S. Bach")
    assert not survives("2.8%")
    assert not survives("Maharashtra, India")


def test_yes_and_no_and_unknown_questions_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text('{"id": "a", "question": "?", "lang": " ar", "answers": ["yes", "no"]}\n{"id": "b", "lang": "fi", "answers": ["x"]}\n')
    assert read_gold(path) == {"a": Gold("ar", ("yes", "no")), "b": Gold("fi", ("x",))}
    assert read_gold(path)["a"].spans == ()
    with pytest.raises(InputError, match="none of the 2 predictions is of a question with an answer"):
        xor_score([Prediction("a", "ar", ("yes",)), Prediction("z", "ar", ("x",))], read_gold(path), Silent())


def test_what_bends_the_score_is_said() -> None:
    gold = {"a": Gold("ar", ("x",)), "b": Gold("fi", ("y",)), "c": Gold("fi", ())}
    found = [
        Prediction("a", "ko", ("Bridges of Prague\nThe old bridge",)),
        Prediction("a", "ar", ("title: Prague text: x",)),
        Prediction("z", "ar", ()),
    ]
    assert [line.split(":")[0] for line in doubts(found, gold)] == [
        "1 questions with an answer have no prediction",
        "1 predictions are of questions that the gold file does not have",
        "1 questions are predicted more than once",
        "1 predictions name another language than the gold file",
        "2 predictions have fewer than 5,000 words",
        "2 predictions seem to have the title before the text",
    ]
    long = Prediction("b", "fi", ("word " * 5000,))
    assert doubts([long], {"b": gold["b"]}) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("{}", "a JSON dict, no list"),
        ('[{"id": 1, "lang": "ar", "ctxs": []}]', "record 0: id is missing or no str"),
        ('[{"id": "a", "lang": "ar", "ctxs": []}, 3]', "record 1: id is missing or no str"),
        ('[{"id": "a", "lang": "ar"}]', "record 0: ctxs is missing or no list"),
        ('[{"id": "a", "lang": "ar", "ctxs": [{"title": "t", "text": "x"}]}]', r"record 0 \(id 'a'\): a passage is no text"),
    ],
)
def test_predictions_of_another_form_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "predictions.json"
    path.write_text(content)
    with pytest.raises(FormatError, match=message):
        read_predictions(path)


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "a", "lang": "ar"}', '{"id": "a", "lang": "ar", "answers": "x"}'])
def test_gold_of_another_form_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text('{"id": "b", "lang": "fi", "answers": ["x"]}\n' + line)
    with pytest.raises(FormatError, match=r"gold.jsonl:2: "):
        read_gold(path)


def test_without_its_table_nothing_is_downloaded_and_the_cure_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import nltk.data
    import nltk.tokenize

    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    nltk.tokenize._get_punkt_tokenizer.cache_clear()
    with pytest.raises(MissingExtraError, match="without its table `punkt_tab`") as caught:
        token_limit.word_tokenizer()
    assert "NLTK_DATA" in caught.value.hint
    assert "nltk.downloader punkt_tab" in caught.value.hint


@needs_data
@pytest.mark.data
def test_a_text_is_cut_at_exactly_the_limit() -> None:
    assert token_limit.within(["one two three"], ["two three"], (2, 3)) == [False, True]
    assert token_limit.within(["one", "two three"], ["one two"], (1, 2)) == [False, True]
