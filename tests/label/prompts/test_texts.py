"""Token ids on disk against those of every pair read by itself: cut or not, with common endings or without, whatever the tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from umr.data.candidates import PADDING
from umr.errors import UsageError
from umr.label.plan.pairs import Pairs, pairs_of
from umr.label.prompts import texts
from umr.label.prompts.prompt import CAUSAL, ENCODER_DECODER, Prompt
from umr.label.prompts.token_ids import TokenIds, read_token_ids, write_token_ids
from umr.progress import Silent

Found = tuple[Any, Any, TokenIds, TokenIds]
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


def one_by_one(work: Any, pairs: Pairs, numbers: Any, prompt: Prompt) -> list[tuple[list[int], list[int]]]:
    """The slow twin: source and target of every pair, each from its own texts."""
    found, queries = [], work.queries.texts()
    for number, query in zip(numbers, pairs.queries(numbers).tolist(), strict=True):
        (passage,) = work.passages.texts(pairs.rows[number : number + 1])
        target = prompt.target_ids("q", queries[query])
        found.append((prompt.source_ids(*passage, pairs.candidates.langs[query], prompt.room(len(target))), target))
    return found


def same(folder: Path, work: Any, candidates: Any, prompt: Prompt, some: slice = slice(None)) -> Found:
    pairs = pairs_of(work, candidates, None)
    numbers = np.arange(len(pairs))[some]
    folder.mkdir()
    made = texts.write_texts(folder, work, candidates, pairs.queries(numbers), pairs.rows[numbers].astype(np.int64), prompt, Silent())
    sources, targets = (read_token_ids(folder, name) for name in ("sources", "targets"))
    read = [(sources[s].tolist(), targets[t].tolist()) for s, t in zip(*made, strict=True)]
    assert read == one_by_one(work, pairs, numbers, prompt)
    return (*made, sources, targets)


@pytest.mark.parametrize("limit", [512, 60], ids=["whole", "cut"])
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("name", list(TOKENIZERS))
def test_ids_are_those_of_every_pair_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, prompt: tuple[str, str], limit: int
) -> None:
    work, candidates = work_of(tmp_path, 12, 8, 4)
    limit += 80 * (name == "bytes" and limit == 60)
    monkeypatch.setattr(texts, "CHUNK", 7)
    same(tmp_path / "plan", work, candidates, Prompt(*prompt, TOKENIZERS[name](), limit=limit, context=limit + 30))
    same(tmp_path / "some", work, candidates, Prompt(*prompt, TOKENIZERS[name](), limit=limit), slice(3, None, 5))


def test_an_encoder_decoder_ends_its_targets(tmp_path: Path) -> None:
    work, candidates = work_of(tmp_path, 12, 8, 4)
    tokenizer = tiny.unigram(bos=False, eos=True, length=10**6)
    *_, targets = same(tmp_path / "plan", work, candidates, Prompt(*ENCODER_DECODER, tokenizer, True, 80))
    assert all(targets[n][-1] == tokenizer.eos_token_id for n in range(8))


def test_a_source_is_kept_once(tmp_path: Path) -> None:
    work, candidates = work_of(tmp_path, 12, 20, 8)
    source_of, _, sources, _ = same(tmp_path / "plan", work, candidates, Prompt(*CAUSAL, tiny.unigram(length=10**6)))
    asked = set(zip(candidates.rows.reshape(-1).tolist(), np.repeat(candidates.langs, 8).tolist(), strict=True))
    assert len(np.unique(source_of)) == len(sources.lengths) == len(asked) < 160


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=9), max_size=9))
def test_what_is_written_is_read(rows: list[list[int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        write_token_ids(Path(folder), "some", iter(rows))
        found = read_token_ids(Path(folder), "some")
        assert [found[n].tolist() for n in range(len(rows))] == rows
        assert found.lengths.tolist() == list(map(len, rows))


def test_what_cannot_be_scored_is_named_before_any_work(tmp_path: Path) -> None:
    work, candidates = work_of(tmp_path, 12, 8, 4)
    pairs, tokenizer = pairs_of(work, candidates, None), tiny.unigram(length=10**6)
    numbers = np.arange(len(pairs))
    for limit, context, words in (
        (9, None, r"query 'q\d' and passage 'p\d+': the prompt alone"),
        (512, 5, r"the query 'q\d+' \('.*tokens"),
    ):
        folder = tmp_path / f"plan-{limit}"
        folder.mkdir()
        prompt = Prompt(*CAUSAL, tokenizer, limit=limit, context=context)
        with pytest.raises(UsageError, match=words) as caught:
            texts.write_texts(folder, work, candidates, pairs.queries(numbers), pairs.rows.astype(np.int64), prompt, Silent())
        assert caught.value.hint


@pytest.mark.parametrize("encoder_decoder", [False, True])
def test_the_sample_takes_long_passages_that_serve_several_questions(tmp_path: Path, encoder_decoder: bool) -> None:
    work, candidates = work_of(tmp_path, 12, 8, 4)
    prompt = Prompt(*CAUSAL, tiny.unigram(length=10**6), encoder_decoder)
    trees = texts.sample_trees(work, candidates, prompt)
    shared = [row for row in range(12) if (candidates.rows == row).sum() >= texts.SHARED]
    longest = sorted(shared, key=lambda row: len(work.passages.texts(np.array([row], dtype=np.uint32))[0][1]))[-texts.SAMPLED_PASSAGES :]
    assert sum(len(tree.branches) for tree in trees) == texts.SAMPLED_PASSAGES * texts.SHARED
    assert len(trees) == (4 if encoder_decoder else 2)
    begun = {tuple(prompt.encode([f"Passage: {work.passages.texts(np.array([row], dtype=np.uint32))[0][1]}"])[0]) for row in longest}
    assert {next(b for b in begun if tuple(tree.trunk[: len(b)]) == b) for tree in trees} == begun


def test_without_candidates_there_is_no_sample(tmp_path: Path) -> None:
    work, candidates = work_of(tmp_path, 5, 2, 2)
    candidates.rows[:] = PADDING
    assert texts.sample_trees(work, candidates, Prompt(*CAUSAL, tiny.unigram())) == []
