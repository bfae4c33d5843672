"""Corrected, fused, averaged and screened labels through the whole stage: scores as alone, labels as the slow twin says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from reference import combine as slow
from reference import labels as slow_labels
from umr.config import LabelConfig
from umr.data.candidates import Provenance, candidates_of
from umr.data.labels import Labels, read_labels
from umr.data.passage_langs import passage_languages
from umr.errors import MismatchError, UsageError
from umr.label.combine import combine_scores
from umr.manifest import checksums, read_manifest
from umr.progress import Silent

stage = import_module("umr.label")  # the module: `umr.label` is the function

TEMPLATE = "{title}. {text} {language}:"


@pytest.fixture
def config(lm_folder: Callable[..., Path]) -> LabelConfig:
    return LabelConfig(lm=str(lm_folder("llama")), precision="fp32", batch_tokens=400, template=TEMPLATE, temperature=0.5)


@pytest.fixture
def work(tmp_path: Path) -> Any:
    made = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "corpus"))
    tiny.mined(made, k=4)
    return made


def same(made: Labels, scores: Any, combined: Any, temperature: float, nats: float = 1e-4) -> None:
    """The scores are those of the first model alone; the labels those of the combined ones."""
    np.testing.assert_allclose(made.scores, scores, atol=nats)
    assert made.combined is not None
    np.testing.assert_allclose(made.combined, np.array(combined), atol=nats)
    np.testing.assert_allclose(made.labels, np.array(slow_labels.labels(combined, temperature)), atol=1e-3)


def kept_whole(work: Any, made: Labels) -> dict[str, Any]:
    """The file says the same as the answer; its manifest."""
    place = work.layout.round(0)
    found = read_labels(place.labels)
    for name in ("scores", "labels", "combined"):
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))
    return read_manifest(place.labelled, "label")


def test_fused_labels(work: Any, config: LabelConfig) -> None:
    alone = stage.label(work, config)
    with pytest.raises(MismatchError, match=r"fuse is 0\.0, asked for 0\.5"):
        stage.label(work, replace(config, fuse=0.5))
    made = stage.label(work, replace(config, fuse=0.5), force=True)
    expected = slow.combined([alone.scores.tolist()], [alone.candidates.scores.tolist()], 0.5)
    same(made, alone.scores, expected, 0.5)
    manifest = kept_whole(work, made)
    assert manifest["made_from"]["fuse"] == 0.5
    assert manifest["pairs"] == 32
    assert len(list(work.layout.scores.glob("*/*.scores"))) == 1, "nothing is scored again"


def test_labels_are_fused_with_every_source_of_the_candidates(work: Any, config: LabelConfig) -> None:
    place, found = work.layout.round(0), candidates_of(work.layout.round(0))
    bm25 = np.random.default_rng(1).random(found.scores.shape).astype(np.float32)
    bm25[:, 1] = np.nan  # not found
    sources = np.stack([found.scores, bm25])
    provenance = Provenance(("encoder", "bm25"), (~np.isnan(sources)).astype(np.uint32), sources)
    replace(found, provenance=provenance).write(place.candidates, work.passages)
    tiny.change_manifest(place.mined, files=checksums(place.candidates))
    made = stage.label(work, replace(config, fuse=0.5))
    expected = slow.combined([made.scores.tolist()], sources.tolist(), 0.5)
    same(made, made.scores, expected, 0.5)


def test_the_language_effect_is_taken_out(work: Any, config: LabelConfig) -> None:
    alone = stage.label(work, config)
    made = stage.label(work, replace(config, correct="average"), force=True)
    _, langs = passage_languages(work.passages, alone.candidates.rows, Silent())
    assert len(np.unique(langs)) > 1
    expected = combine_scores(alone.candidates, alone.scores[None], replace(config, correct="average"), langs)
    assert np.abs(expected - alone.scores).max() > 1e-3
    same(made, alone.scores, expected.tolist(), 0.5)
    assert kept_whole(work, made)["made_from"]["correct"] == "average"


def test_two_language_models(work: Any, config: LabelConfig, lm_folder: Callable[..., Path]) -> None:
    other = str(lm_folder("mt5"))
    second = stage.label(work, replace(config, lm=other))
    alone = stage.label(work, config, force=True)
    segments = set(work.layout.scores.glob("*/*.scores"))
    both = replace(config, also=(other,), fuse=0.25)
    made = stage.label(work, both, force=True)
    assert set(work.layout.scores.glob("*/*.scores")) == segments, "nothing is scored again"
    expected = slow.combined([alone.scores.tolist(), second.scores.tolist()], [alone.candidates.scores.tolist()], 0.25)
    same(made, alone.scores, expected, 0.5)
    manifest = kept_whole(work, made)
    assert manifest["also"] == [other]
    assert [one["precision"] for one in manifest["made_from"]["also"]] == ["fp32"]
    again = stage.label(work, both)  # a list of a manifest equals the one that was asked for
    np.testing.assert_array_equal(again.labels, made.labels)
    with pytest.raises(MismatchError, match="also is"):
        stage.label(work, replace(both, also=()))


def test_a_model_under_two_names_is_refused(work: Any, config: LabelConfig, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(config.lm)
    with pytest.raises(UsageError, match="is there twice"):
        stage.label(work, replace(config, also=(str(tmp_path / "link"),)))


@pytest.mark.parametrize("options", [{}, {"fuse": 0.5}])
def test_screening_is_exact_for_what_is_kept(work: Any, config: LabelConfig, options: dict[str, Any]) -> None:
    everything = stage.label(work, config)
    first = {path: path.stat().st_size for path in work.layout.scores.glob("*/*.scores")}
    assert list(first.values()) == [32 + 40 * 32]
    fresh = replace(config, store=str(work.layout.folder / "store"), screen=2, **options)
    made = stage.label(work, fresh, force=True)
    np.testing.assert_allclose(made.scores[:, :2], everything.scores[:, :2], atol=1e-4)
    assert np.isnan(made.scores[:, 2:]).all()
    assert np.isneginf(made.labels[:, 2:]).all()
    np.testing.assert_allclose(np.exp(made.labels[:, :2].astype(np.float64)).sum(axis=1), 1, atol=1e-5)
    if not options:
        np.testing.assert_allclose(made.labels, slow_labels.labels(made.scores.tolist(), 0.5), atol=1e-5)
    (segment,) = (work.layout.folder / "store").glob("*/*.scores")
    assert segment.stat().st_size == 32 + 40 * 16
    manifest = kept_whole(work, made)
    assert (manifest["pairs"], manifest["made_from"]["screen"]) == (16, 2)
    more = stage.label(work, replace(fresh, screen=None), force=True)  # the rest is scored later, and only the rest
    np.testing.assert_allclose(more.scores, everything.scores, atol=1e-4)
    sizes = sorted(path.stat().st_size for path in (work.layout.folder / "store").glob("*/*.scores"))
    assert sum(size - 32 for size in sizes) == 40 * 32


def test_a_screen_wider_than_the_candidates_changes_nothing(work: Any, config: LabelConfig) -> None:
    alone, wide = stage.label(work, config), stage.label(work, replace(config, screen=9), force=True)
    np.testing.assert_array_equal(wide.labels, alone.labels)


def test_the_manifest_says_what_decides_labels(work: Any, config: LabelConfig) -> None:
    stage.label(work, config)
    made_from = read_manifest(work.layout.round(0).labelled, "label")["made_from"]
    scores = {"engine", "lm", "source", "target", "chat", "reduction", "source_length", "weights", "precision", "device"}
    assert set(made_from) == scores | {"temperature", "fuse", "correct", "scale", "screen", "also", "candidates"}


def test_the_scores_of_all_models_are_looked_up_at_once(
    work: Any, config: LabelConfig, lm_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from umr.label.plan import pairs

    both = replace(config, also=(str(lm_folder("gemma3")),))
    stage.label(work, both)
    calls, merge = [], pairs.merge_stores
    monkeypatch.setattr(pairs, "merge_stores", lambda stores, *rest: calls.append(len(stores)) or merge(stores, *rest))  # type: ignore[func-returns-value]
    stage.label(work, both, force=True)
    assert calls == [1, 1, 2], "one look for what is missing in each store, and one for the labels"


@pytest.mark.parametrize(("scale", "temperature"), [("query", 0.5), ("data", 0.3)])
def test_scaled_labels_say_so(work: Any, config: LabelConfig, scale: Any, temperature: float) -> None:
    alone = stage.label(work, config)
    made = stage.label(work, replace(config, scale=scale, temperature=temperature), force=True)
    same(made, alone.scores, slow.scaled(alone.scores.astype(np.float64).tolist(), scale), temperature, nats=1e-3)
    assert kept_whole(work, made)["made_from"]["scale"] == scale
    with pytest.raises(MismatchError, match=f"scale is '{scale}', asked for 'none'"):
        stage.label(work, replace(config, temperature=temperature))


def test_labels_of_before_an_option_are_finished(work: Any, config: LabelConfig) -> None:
    stage.label(work, config)
    place, talk = work.layout.round(0), tiny.Talk()
    made_from = read_manifest(place.labelled, "label")["made_from"]
    tiny.change_manifest(place.labelled, made_from={key: value for key, value in made_from.items() if key != "scale"})
    stage.label(work, config, reporter=talk)
    assert "is labelled already" in talk.text
