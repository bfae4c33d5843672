"""What a language model reads of a pair: the user's templates, passages that are cut, queries that take their room, refusals."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tiny
from reference import reading as slow
from reference import sources
from umr.errors import UsageError
from umr.label.prompts.prompt import CAUSAL, ENCODER_DECODER, Prompt
from umr.label.scorers.causal import CausalScorer
from umr.label.scorers.seq2seq import EncoderDecoderScorer
from umr.label.scorers.trees import Tree

Loader = Callable[..., Any]
Asked = tuple[str, str, str, str]  # title, text, language, query
NATS = 1e-4


def prompt_of(lm: Any, templates: tuple[str, str], limit: int) -> Prompt:
    return Prompt(*templates, lm.tokenizer, lm.encoder_decoder, limit, lm.context)


def asked(seed: int = 0) -> list[list[Asked]]:
    """Passages short and long, each with its queries; some hold what a template could take for its own."""
    made = [[(title, text, lang, question) for lang, question in questions] for title, text, questions in sources.asked(seed)]
    rng = random.Random(seed)
    river = tiny.sentence(rng, "en", 3)
    odd = [("", river, "en", "the {river}?"), ("", river, "en", "  two  spaces "), ("", river, "xx", "song?")]
    return [*made, odd, [("", "", "en", "the river?")], [("", "der", "zh", tiny.sentence(rng, "zh", 30))]]


def read(prompt: Prompt, passages: list[list[Asked]]) -> list[Tree]:
    """Trees in the order of the pairs."""
    made: list[Tree] = []
    for pairs in passages:
        targets = [prompt.target_ids("q", question) for *_, question in pairs]
        found = [prompt.source_ids(t, x, lang, prompt.room(len(ids))) for (t, x, lang, _), ids in zip(pairs, targets, strict=True)]
        if prompt.encoder_decoder:
            made += [prompt.tree([s], [t], [n]) for n, (s, t) in enumerate(zip(found, targets, strict=True))]
        else:
            made.append(prompt.tree(found, targets, list(range(len(pairs)))))
    return made


def same(lm: Any, prompt: tuple[str, str], limit: int, passages: list[list[Asked]], reduction: Any = "mean", nats: float = NATS) -> None:
    trees = read(prompt_of(lm, prompt, limit), passages)
    scorer = EncoderDecoderScorer(lm, reduction) if lm.encoder_decoder else CausalScorer(lm, reduction)
    wanted = [slow.score(lm, *prompt, pair, limit, reduction) for pairs in passages for pair in pairs]
    assert np.abs(scorer.score(trees) - np.array(wanted)).max() <= nats


@pytest.mark.parametrize("limit", [512, 120], ids=["whole", "cut"])
@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2", "mt5"])
def test_scores_of_what_is_read_equal_one_pair_at_a_time(lm: Loader, name: str, limit: int) -> None:
    model = lm(name, positions=1500) if name == "gpt2" else lm(name)
    same(model, ENCODER_DECODER if model.encoder_decoder else CAUSAL, limit, asked())


TEMPLATES = [
    ("{title}: {text} =>", "{query} ."),
    ("Question in {language} on {title} {text}", "{query}"),
    ("{{braces}} {text}", "Q: {query}"),
]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", ["gemma3", "mt5"])
def test_templates_of_the_user_and_both_reductions(lm: Loader, template: tuple[str, str], reduction: Any, name: str) -> None:
    # a sum is over up to 50 tokens, near 300 nats, in float32
    same(lm(name), template, 70, asked(1), reduction, NATS if reduction == "mean" else 5 * NATS)


def test_a_passage_is_cut_by_its_own_length_and_its_questions_alone(lm: Loader) -> None:
    """What shares the passage changes nothing: the same ids come out as for every pair by itself."""
    model = lm("gpt2", positions=256)
    prompt, text = prompt_of(model, CAUSAL, 512), tiny.sentence(random.Random(1), "en", 60)
    pairs = [("", text, "en", question) for question in ("river?", tiny.sentence(random.Random(2), "en", 25), "a")]
    together = read(prompt, [pairs])[0]
    alone = [read(prompt, [[pair]])[0] for pair in pairs]
    assert [together.trunk + b.ids for b in together.branches] == [tree.trunk + tree.branches[0].ids for tree in alone]
    lengths = [len(tree.trunk) - len(pair[3]) for tree, pair in zip(alone, pairs, strict=True)]
    assert len(set(lengths)) > 1
    same(model, CAUSAL, 512, [pairs])
    for tree in alone:
        assert model.context - 2 <= tree.tokens <= model.context


def test_the_trunk_of_a_causal_model_is_what_its_sources_share(lm: Loader) -> None:
    model = lm("llama")
    pairs = [("", "the old river", lang, "Fluss?") for lang in ("de", "en", "de")]
    (tree,) = read(prompt_of(model, CAUSAL, 512), [pairs])
    passage = model.tokenizer("Passage: the old river\n\nQuestion in").input_ids
    assert tree.trunk[: len(passage)] == passage
    assert [branch.targets for branch in tree.branches] == [len(model.tokenizer(" Fluss?", add_special_tokens=False).input_ids)] * 3


@pytest.mark.parametrize("length", [300, 222])
def test_a_question_that_leaves_no_room_is_refused_by_its_id(lm: Loader, length: int) -> None:
    model = lm("gpt2", positions=224)
    prompt = prompt_of(model, CAUSAL, 512)
    with pytest.raises(UsageError) as caught:
        prompt.source_ids("", "the river", "en", prompt.room(len(prompt.target_ids("q17", "x" * length))))
    if length == 300:
        assert "the query 'q17' ('xxxx" in caught.value.message
        assert "has 301 tokens, the model takes 224 with its passage" in caught.value.message
    else:
        assert "the prompt alone has more than 1 tokens" in caught.value.message
    assert caught.value.hint


def test_a_question_without_tokens_is_refused_by_its_id(lm: Loader) -> None:
    with pytest.raises(UsageError, match=r"the query 'q3' \(''\) has no tokens"):
        prompt_of(lm("llama"), ("{text}", "{query}"), 512).target_ids("q3", "")


def test_a_limit_beyond_the_context_is_the_context(lm: Loader) -> None:
    model = lm("gpt2", positions=224)
    assert [prompt_of(model, CAUSAL, 512).room(n) for n in (1, 100)] == [223, 124]
    assert prompt_of(model, CAUSAL, 50).room(1) == 50
    assert prompt_of(lm("mt5"), ENCODER_DECODER, 512).room(10**6) == 512
