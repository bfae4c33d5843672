"""Token ids on disk against those of every pair read by itself: cut or not, with common endings or without, whatever the tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from umr.config import LabelConfig
from umr.errors import UsageError
from umr.label import sources as endings
from umr.label import texts
from umr.label.pairs import EMPTY, Pairs, pairs_of
from umr.label.prompt import CAUSAL, ENCODER_DECODER, Prompt
from umr.label.ragged import Writer, read_ragged
from umr.label.reading import Reading
from umr.label.sources import Sources, distance, find_tails
from umr.progress import Silent

TOKENIZERS = {
    "unigram": lambda: tiny.unigram(length=10**6),
    "left": lambda: tiny.unigram(length=10**6, padding_side="left"),
    "no bos": lambda: tiny.unigram(bos=False, length=10**6),
    "bytes": lambda: tiny.byte_level(length=10**6),
}
PROMPTS = [CAUSAL, ("{title}: {text} =>", "{query}."), ("In {language}, of {title} {text}", " {query}"), ("{text}{language}", "{query}")]


def work_of(folder: Path, passages: int, queries: int, k: int, **options: Any) -> tuple[Any, Any]:
    work = tiny.workspace(folder / "work", tiny.tiny_corpus(folder / "corpus", passages, queries, **options))
    return work, tiny.mined(work, k=k)


def one_by_one(work: Any, pairs: Pairs, numbers: Sequence[int], reading: Reading) -> list[tuple[list[int], list[int]]]:
    """The slow twin: source and target of every pair, each from its own texts."""
    found, questions = [], work.queries.texts()
    for number in numbers:
        row, query = int(pairs.rows[number]), int(pairs.queries[number])
        passage = ("", "") if row == EMPTY else work.passages.texts(np.array([row], dtype=np.uint32))[0]
        target = reading.target("q", questions[query])
        found.append((reading.source(passage, pairs.candidates.langs[query], reading.room(len(target))), target))
    return found


def same(folder: Path, work: Any, candidates: Any, reading: Reading, config: LabelConfig, some: slice = slice(None)) -> texts.Texts:
    pairs = pairs_of(work, candidates, config)
    numbers = np.arange(len(pairs))[some]
    folder.mkdir()
    texts.write_texts(folder, work, pairs, numbers, reading, Silent())
    found = texts.read_texts(folder)
    read = [(found.sources.row(s), found.targets.row(t)) for s, t in zip(found.source_of.tolist(), found.target_of.tolist(), strict=True)]
    assert read == one_by_one(work, pairs, numbers.tolist(), reading)
    return found


@pytest.mark.parametrize("limit", [512, 60], ids=["whole", "cut"])
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("name", list(TOKENIZERS))
def test_ids_are_those_of_every_pair_by_itself(tmp_path: Path, name: str, prompt: tuple[str, str], limit: int) -> None:
    work, candidates = work_of(tmp_path, 12, 8, 4)
    config = LabelConfig(lm="lm", correct="empty")
    limit += 80 * (name == "bytes" and limit == 60)
    same(tmp_path / "plan", work, candidates, Reading(Prompt(*prompt), TOKENIZERS[name](), False, limit, limit + 30), config)
    same(tmp_path / "some", work, candidates, Reading(Prompt(*prompt), TOKENIZERS[name](), False, limit, None), config, slice(3, None, 5))


def test_an_encoder_decoder_ends_its_targets(tmp_path: Path) -> None:
    work, candidates = work_of(tmp_path, 12, 8, 4)
    tokenizer = tiny.unigram(bos=False, eos=True, length=10**6)
    found = same(tmp_path / "plan", work, candidates, Reading(Prompt(*ENCODER_DECODER), tokenizer, True, 80, None), LabelConfig(lm="lm"))
    assert all(found.targets.row(n)[-1] == tokenizer.eos_token_id for n in range(8))


@pytest.mark.parametrize("name", list(TOKENIZERS))
def test_a_common_ending_is_tokenised_once_a_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    work, candidates = work_of(tmp_path, 150, 45, 100, words=4)
    tokenizer, asked = TOKENIZERS[name](), []
    reading = Reading(Prompt(*CAUSAL), tokenizer, False, 512, None)
    encode = endings.encode_sources
    monkeypatch.setattr(endings, "SAMPLE", 10)
    monkeypatch.setattr(
        endings, "encode_sources", lambda prompt, tokens, filled: asked.append(len(filled)) or encode(prompt, tokens, filled)
    )  # type: ignore[func-returns-value]
    monkeypatch.setattr(texts, "CHUNK", 64)
    found = same(tmp_path / "plan", work, candidates, reading, LabelConfig(lm="lm"))
    count = len(np.unique(found.source_of))
    assert count == len(set(zip(candidates.rows.reshape(-1).tolist(), np.repeat(candidates.langs, 100).tolist(), strict=True)))
    assert sum(asked) < count / 2, "every passage once, and a sample in every language"


@given(
    st.lists(st.tuples(st.text(max_size=8), st.text(max_size=12)), min_size=1, max_size=8),
    st.sampled_from(PROMPTS),
    st.sampled_from(list(TOKENIZERS)),
)
def test_endings_are_taken_apart_only_where_it_makes_no_difference(
    passages: list[tuple[str, str]], template: tuple[str, str], name: str
) -> None:
    """Whatever the texts: sources put together from parts are those that were tokenised whole."""
    langs = ["en", "de", "ru", "zh"]
    whole = Sources(Prompt(*template), TOKENIZERS[name]())
    tails = find_tails(whole, passages, langs)
    asked = [langs[n % 3 : n % 3 + 2] for n in range(len(passages))]
    assert Sources(whole.prompt, whole.tokenizer, tails).ids(passages, asked) == whole.ids(passages, asked)


def test_how_far_the_language_stands_behind_the_passage() -> None:
    assert distance(CAUSAL[0]) == len("\n\nQuestion in ")
    assert distance("{text}{language}") == 0
    assert distance("{language}: {text}") == 0
    assert distance("{title} {text}") == 0
    assert distance("{text} {title} in {{}} {language} {language}") == len(" in {} ")


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=9), max_size=9))
def test_what_is_written_is_read(rows: list[list[int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        with Writer(Path(folder), "some") as writer:
            for row in rows:
                writer.add([row])
            assert writer.lengths.tolist() == list(map(len, rows))
        found = read_ragged(Path(folder), "some")
        assert [found.row(n) for n in range(len(rows))] == rows
        assert found.lengths.tolist() == list(map(len, rows))


def test_what_cannot_be_scored_is_named_before_any_work(tmp_path: Path) -> None:
    work, candidates = work_of(tmp_path, 12, 8, 4)
    pairs, tokenizer = pairs_of(work, candidates, LabelConfig(lm="lm")), tiny.unigram(length=10**6)
    for limit, context, words in (
        (9, None, r"query 'q\d' and passage 'p\d+': the prompt alone"),
        (512, 5, r"the question 'q\d+' \('.*tokens"),
    ):
        folder = tmp_path / f"plan-{limit}"
        folder.mkdir()
        reading = Reading(Prompt(*CAUSAL), tokenizer, False, limit, context)
        with pytest.raises(UsageError, match=words) as caught:
            texts.write_texts(folder, work, pairs, np.arange(len(pairs)), reading, Silent())
        assert caught.value.hint


def test_passages_and_the_empty_one(tmp_path: Path) -> None:
    work, _ = work_of(tmp_path, 5, 2, 2)
    rows = np.array([3, EMPTY, 1, EMPTY, 3])
    whole: Callable[[int], Any] = lambda row: work.passages.texts(np.array([row], dtype=np.uint32))[0]  # noqa: E731
    assert texts.passages(work, rows) == [whole(3), ("", ""), whole(1), ("", ""), whole(3)]
