"""The labelling stage: what is scored, what is never scored twice, what is kept when it breaks, and what is refused."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from reference import labels as slow
from reference import likelihood as twin
from umr.config import LabelConfig
from umr.data.candidates import read_candidates
from umr.data.labels import read_labels
from umr.errors import InputError, MismatchError, ScoreError, UsageError
from umr.label import scoring
from umr.label.scorers.trees import Tree
from umr.manifest import read_manifest, write_manifest

stage = import_module("umr.label")  # the module: `umr.label` is the function

Pair = tuple[int, ...]  # token ids of source and target
Contents = Callable[..., list[Pair]]
TEMPLATE = "{title}. {text} {language}:"


class Counting:
    """A scorer that counts: a score that is a function of the pair's tokens."""

    bytes_per_token, share = 1000, True

    def __init__(self) -> None:
        self.scored: list[Pair] = []
        self.made = self.calls = 0
        self.stop_after: int | None = None
        self.spoil: Pair | None = None
        self.value = float("nan")

    def __call__(self, *_: Any) -> Counting:
        self.made += 1
        return self

    def score(self, trees: Sequence[Tree]) -> Any:
        pairs = [(*tree.trunk, *branch.ids) for tree in trees for branch in tree.branches]
        if self.stop_after is not None and len(self.scored) + len(pairs) > self.stop_after:
            raise KeyboardInterrupt
        self.calls += 1
        self.scored += pairs
        return np.array([self.of(pair) for pair in pairs], dtype=np.float32)

    def flops(self, trees: Sequence[Tree]) -> float:
        return 1e6 * sum(tree.tokens for tree in trees)

    def of(self, pair: Pair) -> float:
        return self.value if pair == self.spoil else -(zlib.crc32(str(pair).encode()) % 1000) / 300


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> Counting:
    counting = Counting()
    monkeypatch.setattr(scoring, "load_scorer", counting)
    return counting


@pytest.fixture
def config(lm_folder: Callable[..., Path]) -> LabelConfig:
    return LabelConfig(lm=str(lm_folder("llama")), precision="fp32", template=TEMPLATE, batch_tokens=200)


@pytest.fixture
def contents(lm: Callable[..., Any]) -> Callable[..., list[Pair]]:
    """All pairs of a round as the model reads them, slowly."""
    tokenizer = lm("llama").tokenizer

    def tokens(text: str, special: bool) -> list[int]:
        return list(tokenizer(text, add_special_tokens=special).input_ids)

    def make(work: Any, candidates: Any, template: str = TEMPLATE) -> list[Pair]:
        texts, found = work.queries.texts(), []
        for q, row in enumerate(candidates.rows):
            for title, text in work.passages.texts(row):
                filled = twin.source(template, title, text, work.queries.langs[q])
                found.append((*tokens(filled, True), *tokens(texts[q], False)))  # its tokenizer puts the space itself
        return found

    return make


def test_every_pair_is_scored_once_and_labelled(work: Any, config: LabelConfig, scorer: Counting, contents: Contents) -> None:
    made = stage.label(work, config)
    pairs = contents(work, made.candidates)
    assert sorted(scorer.scored) == sorted(pairs)
    expected = np.array([scorer.of(p) for p in pairs], dtype=np.float32).reshape(made.scores.shape)
    assert (made.scores == expected).all()
    assert np.allclose(made.labels, slow.labels(expected.tolist(), 0.1), atol=1e-5)
    kept = read_labels(work.layout.round(0).labels)
    assert (kept.scores == made.scores).all()
    assert (kept.labels == made.labels).all()


@pytest.mark.parametrize(
    "options", [{"batch_tokens": None}, {"batch_tokens": 90}, {"memory": "1MB", "batch_tokens": None}, {"share": False}]
)
@pytest.mark.parametrize("name", ["llama", "mt5"])
def test_the_real_scorer_stands_behind_the_stage(
    work: Any, config: LabelConfig, lm: Callable[..., Any], lm_folder: Callable[..., Path], name: str, options: dict[str, Any]
) -> None:
    model, twins = (
        lm(name),
        {"llama": (twin.causal, twin.CAUSAL, "{}"), "mt5": (twin.encoder_decoder, twin.ENCODER_DECODER, "Question: {}")},
    )
    one, template, target = twins[name]
    made = stage.label(work, replace(config, lm=str(lm_folder(name)), template=None, temperature=0.5, **options))
    texts = work.queries.texts()
    expected = [
        one(model.model, model.tokenizer, twin.source(template, title, text, work.queries.langs[q]), target.format(texts[q]))
        for q, row in enumerate(made.candidates.rows)
        for title, text in work.passages.texts(row)
    ]
    assert np.abs(made.scores.reshape(-1) - expected).max() <= 1e-4
    assert np.abs(made.labels - slow.labels(np.reshape(expected, made.scores.shape).tolist(), 0.5)).max() <= 1e-3


def test_a_labelled_round_does_nothing_and_force_scores_nothing_again(work: Any, config: LabelConfig, scorer: Counting) -> None:
    first = stage.label(work, config)
    content = work.layout.round(0).labels.read_bytes()
    again = stage.label(work, config)
    forced = stage.label(work, config, force=True)
    assert scorer.made == 1
    assert (first.labels == again.labels).all()
    assert (first.labels == forced.labels).all()
    assert work.layout.round(0).labels.read_bytes() == content


def test_another_temperature_is_refused_then_made_without_scoring(work: Any, config: LabelConfig, scorer: Counting) -> None:
    stage.label(work, config)
    with pytest.raises(MismatchError, match=r"temperature is 0\.1, asked for 1\.0"):
        stage.label(work, replace(config, temperature=1.0))
    made = stage.label(work, replace(config, temperature=1.0), force=True)
    assert np.allclose(made.labels, slow.labels(made.scores.tolist(), 1.0), atol=1e-5)
    assert scorer.made == 1


def test_the_next_round_scores_new_pairs_alone(work: Any, config: LabelConfig, scorer: Counting, contents: Contents) -> None:
    before = stage.label(work, config)
    known = set(contents(work, before.candidates))
    scorer.scored.clear()
    tiny.mined(work, k=6, number=1, seed=5)
    wanted = set(contents(work, stage.label(work, config, 1).candidates))
    assert wanted & known
    assert sorted(scorer.scored) == sorted(wanted - known)


def test_another_work_folder_at_the_same_store_scores_nothing(work: Any, config: LabelConfig, scorer: Counting, tmp_path: Path) -> None:
    """Ids and row numbers differ there; the content is the same."""
    config = replace(config, store=str(tmp_path / "store"))
    first = stage.label(work, config)
    source = tmp_path / "corpus"
    header, *rows = (source / "passages.tsv").read_text(encoding="utf-8").splitlines()
    other = tmp_path / "other"
    other.mkdir()
    (other / "passages.tsv").write_text("\n".join([header, *("x" + row for row in reversed(rows))]) + "\n", encoding="utf-8")
    (other / "queries.jsonl").write_text(
        (source / "queries.jsonl").read_text(encoding="utf-8").replace('"id": "q', '"id": "other-'), encoding="utf-8"
    )
    there = tiny.workspace(tmp_path / "work2", tiny.TinyCorpus(other / "passages.tsv", other / "queries.jsonl"))
    tiny.mined(there, rows=len(rows) - 1 - first.candidates.rows.astype(np.int64))
    second = stage.label(there, config)
    assert scorer.made == 1
    assert second.candidates.query_ids[0] == "other-0"
    assert (second.scores == first.scores).all()


def test_an_interrupted_labelling_keeps_what_is_finished(work: Any, config: LabelConfig, scorer: Counting, tmp_path: Path) -> None:
    scorer.stop_after = 20
    with pytest.raises(KeyboardInterrupt):
        stage.label(work, config)
    place = work.layout.round(0)
    assert not place.labelled.exists()
    assert not place.labels.exists()
    done = list(scorer.scored)
    assert 5 < len(done) <= 20
    assert len(place.plans()) == 1
    scorer.stop_after = None
    stage.label(work, config)
    assert len(scorer.scored) == len(set(scorer.scored)) == 32
    assert scorer.scored[: len(done)] == done
    assert place.plans() == []
    unbroken = tiny.workspace(
        tmp_path / "unbroken", tiny.TinyCorpus(tmp_path / "corpus" / "passages.tsv", tmp_path / "corpus" / "queries.jsonl")
    )
    tiny.mined(unbroken, k=4)
    stage.label(unbroken, config)
    assert unbroken.layout.round(0).labels.read_bytes() == place.labels.read_bytes()


@pytest.mark.parametrize("cut", [1, 30, 210])
def test_a_torn_segment_loses_its_torn_pairs_alone(work: Any, config: LabelConfig, scorer: Counting, cut: int) -> None:
    first = stage.label(work, config)
    (segment,) = work.layout.scores.glob("*/*.scores")
    segment.write_bytes(segment.read_bytes()[:-cut])
    scorer.scored.clear()
    again = stage.label(work, config, force=True)
    assert 0 < len(scorer.scored) < 32
    assert len(set(scorer.scored)) == len(scorer.scored)
    assert len(read_manifest(work.layout.round(0).labelled, "label")["files"]) == 1
    assert (again.scores == first.scores).all()
    assert read_manifest(work.layout.round(0).labelled, "label")["torn"] == 1
    scorer.made = 0
    stage.label(work, config, force=True)
    assert scorer.made == 0


def test_equal_contents_are_scored_once_and_languages_apart(
    tmp_path: Path, config: LabelConfig, scorer: Counting, contents: Contents
) -> None:
    (tmp_path / "p.tsv").write_text("id\ttext\ttitle\na\tthe river\t\nb\tthe river\t\nc\tthe river\tRhine\n", encoding="utf-8")
    lines = [("1", "where?", "en"), ("2", "where?", "en"), ("3", "where?", "de")]
    (tmp_path / "q.jsonl").write_text(
        "".join(f'{{"id": "{i}", "question": "{t}", "lang": "{c}"}}\n' for i, t, c in lines), encoding="utf-8"
    )
    work = tiny.workspace(tmp_path / "work", tiny.TinyCorpus(tmp_path / "p.tsv", tmp_path / "q.jsonl"))
    tiny.mined(work, k=3)
    made = stage.label(work, config)
    assert len(scorer.scored) == 4
    assert sorted(scorer.scored) == sorted(set(contents(work, made.candidates)))
    assert np.isfinite(made.scores).all()


CHANGES = [
    {"precision": "bf16"}, {"template": "{title} {text} {language}"}, {"target": "{query}!"}, {"reduction": "sum"}, {"source_length": 100},
    {"lm": "another"}, {"lm": "another tokenizer"}, {"lm": "mt5"},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: "-".join(map(str, next(iter(c.items())))))
def test_what_decides_a_score_decides_the_store(
    work: Any, config: LabelConfig, scorer: Counting, lm_folder: Callable[..., Path], change: dict[str, Any]
) -> None:
    folders = {"another": ("llama", {"seed": 1}), "another tokenizer": ("llama", {"bos": False}), "mt5": ("mt5", {})}
    if "lm" in change:
        name, options = folders[change["lm"]]
        change = {"lm": str(lm_folder(name, **options))}
    stage.label(work, config)
    with pytest.raises(MismatchError, match=f"{next(iter(change))} is "):
        stage.label(work, replace(config, **change))
    stage.label(work, replace(config, **change), force=True)
    assert len(scorer.scored) == 64
    assert len(list(work.layout.scores.iterdir())) == 2
    stage.label(work, config, force=True)
    assert len(scorer.scored) == 64


@pytest.mark.parametrize("change", [{"batch_tokens": 7}, {"device": "cpu"}])
def test_what_decides_the_speed_alone_is_no_other_labelling(
    work: Any, config: LabelConfig, scorer: Counting, change: dict[str, Any]
) -> None:
    stage.label(work, config)
    stage.label(work, replace(config, **change))
    stage.label(work, replace(config, **change), force=True)
    assert scorer.made == 1


def test_candidates_that_were_changed_are_refused(work: Any, config: LabelConfig, scorer: Counting) -> None:
    place = work.layout.round(0)
    content = place.candidates.read_bytes()
    place.candidates.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(MismatchError, match=r"candidates.parquet has changed since it was written"):
        stage.label(work, config)
    assert not scorer.made


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_names_its_pair_and_keeps_the_others(
    work: Any, config: LabelConfig, scorer: Counting, contents: Contents, value: float
) -> None:
    candidates = read_candidates(work.layout.round(0).candidates)
    pairs = contents(work, candidates)
    shortest = min(range(len(pairs)), key=lambda n: len(pairs[n]))  # comes late
    scorer.spoil, scorer.value = pairs[shortest], value
    with pytest.raises(ScoreError) as caught:
        stage.label(work, config)
    query, rank = divmod(shortest, 4)
    passage = work.passages.ids(candidates.rows[query, rank : rank + 1])[0]
    assert f"query 'q{query}' and passage {passage!r} is {value}" in caught.value.message
    assert "--precision fp32" in caught.value.hint
    assert not work.layout.round(0).labelled.exists()
    done, calls, scorer.spoil, scorer.calls = set(scorer.scored), scorer.calls, None, 0
    scorer.scored.clear()
    stage.label(work, config)
    assert calls > 1
    assert len(done | set(scorer.scored)) == 32
    assert len(done) + len(scorer.scored) - 32 <= 12  # those of the broken batch


def test_a_round_that_was_not_mined_is_refused(tmp_path: Path, config: LabelConfig) -> None:
    work = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "corpus"))
    with pytest.raises(InputError, match="has not been through `umr mine`"):
        stage.label(work, config)


def test_a_store_that_is_a_file_is_refused(work: Any, config: LabelConfig, scorer: Counting, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a file, expected a folder of score stores"):
        stage.label(work, replace(config, store=str(tmp_path / "corpus" / "passages.tsv")))


def test_the_same_model_under_another_name_is_the_same_labelling(
    work: Any, config: LabelConfig, scorer: Counting, tmp_path: Path, lm_folder: Callable[..., Path]
) -> None:
    stage.label(work, config)
    (tmp_path / "link").symlink_to(config.lm)
    stage.label(work, replace(config, lm=str(tmp_path / "link")))
    assert scorer.made == 1


def test_other_weights_under_the_same_name_are_another_labelling(
    work: Any, config: LabelConfig, scorer: Counting, tmp_path: Path, lm_folder: Callable[..., Path]
) -> None:
    link = tmp_path / "link"
    link.symlink_to(config.lm)
    stage.label(work, replace(config, lm=str(link)))
    link.unlink()
    link.symlink_to(lm_folder("llama", seed=1))
    with pytest.raises(MismatchError, match="lm is "):
        stage.label(work, replace(config, lm=str(link)))


def test_a_measured_precision_is_kept_for_every_round_and_folder(
    work: Any, config: LabelConfig, scorer: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a second measurement that comes out otherwise would score every known pair again."""
    answers = iter(("fp32", "bf16"))
    monkeypatch.setattr(scoring, "faster_precision", lambda *_: next(answers))
    auto = replace(config, precision="auto")
    stage.label(work, auto)
    stage.label(work, auto, force=True)
    assert scorer.made == 1
    assert len([path for path in work.layout.scores.iterdir() if path.is_dir()]) == 1


def test_scores_of_different_arithmetic_never_mix(
    work: Any, config: LabelConfig, scorer: Counting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two work folders at one store; what scores differs in more than rounding: no score of the one is found by the other."""
    shared = replace(config, store=str(tmp_path / "store"))
    stage.label(work, shared)
    for number, change in enumerate(("engine", "precision", "weights"), start=2):
        if change == "engine":
            monkeypatch.setattr(scoring, "ENGINE", "torch-2")
        other = replace(shared, **{"precision": {"precision": "bf16"}, "weights": {"weights": "int8"}}.get(change, {}))
        scorer.scored.clear()
        stage.label(work, other, force=True)
        assert len(scorer.scored) == 32, change
        assert len(list((tmp_path / "store").glob("*/*.scores"))) == number
    assert len({read_manifest(path, "scores")["made_from"]["engine"] for path in (tmp_path / "store").glob("*/manifest.json")}) == 2


def test_bf16_of_two_devices_is_two_arithmetics_and_fp32_is_one(
    work: Any, config: LabelConfig, lm: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from umr.label.prompts.prompt import prompt_for

    model, candidates = lm("llama"), read_candidates(work.layout.round(0).candidates)

    def identity(precision: Any, device: str) -> dict[str, Any]:
        monkeypatch.setattr(scoring, "pick_device", lambda _: torch.device(device))
        settings = replace(config, precision=precision)
        return scoring.identity_of(work, candidates, model, prompt_for(model, settings), settings, tiny.Talk())

    assert identity("fp32", "cpu") == identity("fp32", "cuda")
    assert identity("bf16", "cpu") != identity("bf16", "cuda")


def test_a_labelling_that_fails_costs_nothing_that_was_finished(work: Any, config: LabelConfig, scorer: Counting) -> None:
    stage.label(work, config)
    place = work.layout.round(0)
    with pytest.raises(UsageError):
        stage.label(work, replace(config, precision="auto", device="cuda:99"), force=True)
    assert place.labelled.exists()
    assert place.labels.exists()


def test_candidates_of_another_encoder_are_refused(work: Any, config: LabelConfig, scorer: Counting) -> None:
    place = work.layout.round(0)
    made = read_manifest(place.mined, "mine")
    made["made_from"]["encoder"]["model"] = "another/encoder"
    write_manifest(place.mined, "mine", made.pop("made_from"), made)
    with pytest.raises(MismatchError, match="round 0 was mined otherwise: encoder is"):
        stage.label(work, config)
