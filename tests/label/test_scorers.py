"""Scores of both kinds of language model against one pair at a time through plain transformers calls."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from reference import likelihood as twin
from umr.errors import UsageError
from umr.label.causal import CausalScorer
from umr.label.prompt import CAUSAL, ENCODER_DECODER, Prompt, source_ids
from umr.label.seq2seq import EncoderDecoderScorer
from umr.label.work import Group, Question
from umr.progress import Silent

Loader = Callable[..., Any]
NATS = 1e-4
BUDGETS = (1, 90, 5000)  # every branch alone; trunks beyond it and trunks side by side; all in one row


def groups(seed: int = 0) -> list[Group]:
    """Passages short and long, with and without title, shared by questions of several languages, one longer than its passage."""
    rng = random.Random(seed)

    def question(lang: str, words: int) -> tuple[str, str]:
        return tiny.sentence(rng, lang, words) + "?", lang

    shapes = [
        ("ru", 3, True, [question("ru", 3), question("en", 2), question("ar", 5), question("en", 4), ("song?", "xx")]),
        ("en", 20, True, [question("en", 1), question("de", 9), question("en", 6)]),
        ("th", 25, False, [question("th", 3), question("hi", 3)]),
        ("zh", 1, False, [question("zh", 30)]),
        ("de", 45, True, [question("de", 7), question("de", 7), question("zh", 2)]),
        ("hi", 2, False, [question("en", 1), ("the {river}?", "en"), ("  two  spaces ", "en")]),
    ]
    made, pair = [], 100  # numbers that are not places in a list
    for lang, words, titled, questions in shapes:
        asked = []
        for text, code in questions:
            asked.append(Question(pair, text, code))
            pair += 3
        made.append(Group(tiny.sentence(rng, lang, 2) if titled else "", tiny.sentence(rng, lang, words), asked))
    return made


def scored(scorer: Any, work: Iterable[Group]) -> dict[int, float]:
    """Pair -> score; every pair must come exactly once, as float32."""
    found: dict[int, float] = {}
    for pairs, values in scorer.score(work):
        assert values.dtype == np.float32
        assert len(pairs) == len(values)
        assert not found.keys() & set(pairs)
        found |= zip(pairs, values.tolist(), strict=True)
    return found


def cut(lm: Any, template: str, group: Group, question: Question, limit: int) -> str:
    """The source, by hand, with the beginning of the passage that umr kept; that this is the right one is shown in test_prompt.py."""
    plain = template.replace("{{", "{").replace("}}", "}")
    kept = source_ids(Prompt(template, "{query}"), lm.tokenizer, group.title, group.text, question.lang, limit)
    assert len(kept) <= limit
    beginnings = (twin.source(plain, group.title, group.text[:end], question.lang) for end in range(len(group.text), -1, -1))
    return next(filled for filled in beginnings if lm.tokenizer(filled).input_ids == kept)


def expected_causal(
    lm: Any, work: list[Group], limit: int, source: str = twin.CAUSAL, target: str = twin.CAUSAL_TARGET, reduction: Any = "mean"
) -> dict[int, float]:
    found = {}
    for group in work:
        for q in group.questions:
            wanted = target.replace("{query}", q.text)
            room = limit
            if lm.context is not None:
                room = min(limit, lm.context - len(lm.tokenizer(wanted, add_special_tokens=False).input_ids))
            filled = cut(lm, source, group, q, room)
            found[q.pair] = twin.causal(lm.model, lm.tokenizer, filled, wanted, reduction)
    return found


def expected_pairs(
    lm: Any,
    work: list[Group],
    limit: int,
    source: str = twin.ENCODER_DECODER,
    target: str = twin.ENCODER_DECODER_TARGET,
    reduction: Any = "mean",
) -> dict[int, float]:
    found = {}
    for group in work:
        for q in group.questions:
            filled = cut(lm, source, group, q, limit)
            found[q.pair] = twin.encoder_decoder(lm.model, lm.tokenizer, filled, target.replace("{query}", q.text), reduction)
    return found


def same(found: dict[int, float], expected: dict[int, float], nats: float = NATS) -> None:
    assert found.keys() == expected.keys()
    assert max(abs(found[p] - expected[p]) for p in expected) <= nats


MODELS = [
    ("llama", {}), ("llama", {"bos": False}), ("llama", {"padding_side": "right"}), ("gemma3", {}), ("gemma3", {"window": 7, "bos": False}),
    ("mistral", {}), ("gpt2", {}), ("gpt2", {"positions": 224}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), MODELS, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values())) or "plain")
@pytest.mark.parametrize("limit", [512, 60], ids=["whole", "cut"])
def test_causal_scores_equal_one_pair_at_a_time(lm: Loader, name: str, options: dict[str, Any], limit: int) -> None:
    model, work = lm(name, **options), groups()
    expected = expected_causal(model, work, limit + 60 * (name == "gpt2"))
    for budget in BUDGETS:
        same(scored(CausalScorer(model, Prompt(*CAUSAL), limit + 60 * (name == "gpt2"), "mean", budget), work), expected)
    same(scored(CausalScorer(model, Prompt(*CAUSAL), limit + 60 * (name == "gpt2"), "mean", 256, share=False), work), expected)


@pytest.mark.parametrize("name", ["t5", "mt5"])
@pytest.mark.parametrize("limit", [512, 100], ids=["whole", "cut"])
def test_encoder_decoder_scores_equal_one_pair_at_a_time(lm: Loader, name: str, limit: int) -> None:
    model, work = lm(name), groups()
    expected = expected_pairs(model, work, limit)
    for budget in BUDGETS:
        same(scored(EncoderDecoderScorer(model, Prompt(*ENCODER_DECODER), limit, "mean", budget), work), expected)
    same(scored(EncoderDecoderScorer(model, Prompt(*ENCODER_DECODER), limit, "mean", 256, share=False), work), expected)


TEMPLATES = [
    ("{title}: {text} =>", "{query} ."),
    ("Question in {language} on {title} {text}", "{query}"),
    ("{{braces}} {text}", "Q: {query}"),
]


@pytest.mark.parametrize(("source", "target"), TEMPLATES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_templates_of_the_user_and_both_reductions(lm: Loader, source: str, target: str, reduction: Any) -> None:
    work = groups(1)
    causal, pairs = lm("gemma3"), lm("mt5")
    nats = NATS if reduction == "mean" else 5 * NATS  # a sum over up to 50 tokens, near 300 nats, in float32
    same(
        scored(CausalScorer(causal, Prompt(source, target), 70, reduction, 150), work),
        expected_causal(causal, work, 70, source, target, reduction),
        nats,
    )
    same(
        scored(EncoderDecoderScorer(pairs, Prompt(source, target), 70, reduction, 150), work),
        expected_pairs(pairs, work, 70, source, target, reduction),
        nats,
    )


def test_a_sliding_window_matters_in_these_tests(lm: Loader, lm_folder: Loader) -> None:
    """The twin itself must see the window, or the comparisons above would show nothing."""
    from transformers import AutoModelForCausalLM

    for name in ("gemma3", "mistral"):
        model = lm(name)
        wide = AutoModelForCausalLM.from_pretrained(lm_folder(name), sliding_window=500).eval()
        filled = twin.source(twin.CAUSAL, "", groups()[4].text, "de")
        narrow = twin.causal(model.model, model.tokenizer, filled, " Fluss?")
        assert abs(narrow - twin.causal(wide, model.tokenizer, filled, " Fluss?")) > 100 * NATS


def test_the_order_and_company_of_groups_change_nothing(lm: Loader) -> None:
    model, work = lm("llama"), groups()
    scorer = CausalScorer(model, Prompt(*CAUSAL), 512, "mean", 300)
    together = scored(scorer, work)
    apart = {p: v for g in reversed(work) for q in reversed(g.questions) for p, v in scored(scorer, [Group(g.title, g.text, [q])]).items()}
    same(together, apart)


def test_a_passage_runs_once_for_all_its_questions(lm: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    model = lm("llama")
    computed: list[int] = []
    forward = model.model.forward

    def counting(*args: Any, **options: Any) -> Any:
        computed.append(options["input_ids"].shape[1])
        return forward(*args, **options)

    monkeypatch.setattr(model.model, "forward", counting)
    text = tiny.sentence(random.Random(3), "en", 60)
    work = [Group("", text, [Question(i, f"river {i}?", lang) for i, lang in enumerate(["en", "de", "ru", "en"])])]
    scorer = CausalScorer(model, Prompt(*CAUSAL), 512, "mean", 1000)
    scorer._keeps = True  # the counting wrapper hides the signature
    scored(scorer, work)
    passage = len(model.tokenizer(text).input_ids)
    assert len(computed) == 1
    assert passage < computed[0] < 2 * passage
    computed.clear()
    scorer.share = False
    scored(scorer, work)
    assert len(computed) == 4
    assert min(computed) > passage


def test_an_encoder_decoder_encodes_a_passage_once_a_language(lm: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    model = lm("t5")
    scorer, seen = EncoderDecoderScorer(model, Prompt(*ENCODER_DECODER), 512, "mean", 5000), []
    encode = scorer._encode
    monkeypatch.setattr(scorer, "_encode", lambda ids: seen.append(1) or encode(ids))  # type: ignore[func-returns-value]
    work = groups()
    scored(scorer, work)
    assert len(seen) == sum(len({q.lang for q in g.questions}) for g in work)


def test_a_long_question_takes_the_room_from_the_passage(lm: Loader) -> None:
    model = lm("gpt2", positions=224)
    text = tiny.sentence(random.Random(1), "en", 60)
    question = tiny.sentence(random.Random(2), "en", 25)
    work = [Group("", text, [Question(0, question, "en"), Question(1, "river?", "en")])]
    same(scored(CausalScorer(model, Prompt(*CAUSAL), 512, "mean", 2000), work), expected_causal(model, work, 512))


def test_a_question_beyond_the_context_is_refused_by_name(lm: Loader) -> None:
    model = lm("gpt2", positions=224)
    work = [Group("", "the river", [Question(0, "x" * 300, "en")])]
    with pytest.raises(UsageError, match=r"the question 'xxxx.*has 301 tokens, the model takes 224"):
        scored(CausalScorer(model, Prompt(*CAUSAL), 512, "mean", 2000), work)


OTHERS = [("XGLM", True), ("Qwen2", True), ("OPT", True), ("Bloom", False), ("Mamba", False)]


@pytest.mark.parametrize(("family", "shares"), OTHERS)
def test_a_model_that_cannot_share_is_found_out_and_scored_pair_by_pair(tmp_path: Path, family: str, shares: bool) -> None:
    import torch
    import transformers

    from umr.models.lm import find_lm, load_lm

    shapes = {
        "XGLM": {"d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4, "pad_token_id": 0},
        "Qwen2": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
        "OPT": {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "word_embed_proj_dim": 32},
        "Bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
        "Mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    }
    tokenizer = tiny.unigram()
    config = getattr(transformers, f"{family}Config")(vocab_size=len(tokenizer), **shapes[family])
    folder = tiny.save(tmp_path, config, tokenizer, "AutoModelForCausalLM", 0)
    model = load_lm(find_lm(str(folder), Silent()), "fp32", torch.device("cpu"))
    scorer, talk, work = CausalScorer(model, Prompt(*CAUSAL), 512, "mean", 300), tiny.Talk(), groups()
    scorer.check(work[:2], talk)
    assert scorer.share is shares
    assert len(talk.warned) == (not shares)
    same(scored(scorer, work), expected_causal(model, work, 512))


def test_a_wrong_mask_is_found_out_before_anything_is_scored(lm: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, talk = CausalScorer(lm("llama"), Prompt(*CAUSAL), 512, "mean", 300), tiny.Talk()
    monkeypatch.setattr(scorer, "_mask", lambda row, window: torch_zeros(len(row.ids)))
    scorer.check(groups()[:2], talk)
    assert not scorer.share
    assert "does not score shared passages correctly (off by" in talk.warned[0]


def torch_zeros(tokens: int) -> Any:
    """A mask under which everything sees everything."""
    import torch

    return torch.zeros(1, 1, tokens, tokens)
