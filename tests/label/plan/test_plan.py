"""The plan: every pair once, within the budget, and kept on disk so that a broken run goes on with the very same batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from reference import arranging as slow
from umr.config import LabelConfig
from umr.label import scoring
from umr.label.plan import budget as budgets
from umr.label.plan.batches import arrange
from umr.label.scorers.trees import Tree
from umr.manifest import read_manifest, write_manifest

stage = import_module("umr.label")  # the module: `umr.label` is the function


class Rows:
    """Token ids in memory, as `TokenIds` has them on disk."""

    def __init__(self, rows: list[list[int]]) -> None:
        self.rows = rows
        self.lengths = np.array(list(map(len, rows)), dtype=np.int64)

    def __getitem__(self, number: int) -> Any:
        return np.array(self.rows[number], dtype=np.uint32)


@st.composite
def drawn(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]], list[int], list[int], list[int]]:
    """Sources that often begin alike, targets, and pairs: their passages, sources and targets."""
    passages = draw(st.integers(1, 4))
    sources, rows = [], []
    for passage in range(passages):
        trunk = draw(st.lists(st.integers(0, 2), min_size=1, max_size=9))
        for _ in range(draw(st.integers(1, 3))):
            sources.append(trunk + draw(st.lists(st.integers(0, 2), max_size=3)))
            rows.append(passage)
    targets = draw(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=5))
    source_of = draw(st.lists(st.integers(0, len(sources) - 1), min_size=1, max_size=20))
    target_of = [draw(st.integers(0, len(targets) - 1)) for _ in source_of]
    return sources, targets, [rows[n] for n in source_of], source_of, target_of


@given(drawn(), st.integers(1, 60), st.booleans(), st.booleans())
def test_batches_hold_every_pair_once_within_the_budget(made: Any, budget: int, shared: bool, packed: bool) -> None:
    sources, targets, rows, source_of, target_of = made
    texts: Any = (Rows(sources), Rows(targets), np.array(source_of), np.array(target_of))
    found = arrange(*texts, np.array(rows), budget, share=shared, whole_sources=not packed)
    assert sorted(found.order.tolist()) == list(range(len(rows)))
    assert (found.trees[0], found.trees[-1]) == (0, len(rows))
    assert (found.batches[0], found.batches[-1]) == (0, len(found.sizes))
    assert (np.diff(found.trees) > 0).all()
    assert (np.diff(found.batches) > 0).all()
    for number, (first, last) in enumerate(zip(found.trees[:-1], found.trees[1:], strict=True)):
        members = found.order[first:last].tolist()
        assert len({rows[m] if packed else source_of[m] for m in members}) == 1
        assert shared or len(members) == 1
        exact = slow.tokens([sources[source_of[m]] for m in members], [targets[target_of[m]] for m in members], packed)
        assert exact <= found.sizes[number] or not packed
        whole = [m for m in range(len(rows)) if (rows if packed else source_of)[m] == (rows if packed else source_of)[members[0]]]
        if shared and len(members) == len(whole):
            assert found.sizes[number] == exact
        assert found.sizes[number] <= budget or len(members) == 1
    for first, last in zip(found.batches[:-1], found.batches[1:], strict=True):
        assert found.sizes[first:last].sum() <= budget or last - first == 1
    if packed:
        assert (np.diff(found.sizes) <= 0).all(), "the largest first: what does not fit into memory is found at once"


class Told:
    """A scorer that counts batches and stops after some."""

    share, bytes_per_token = True, 1000

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, ...]]] = []
        self.stop_after = 10**9

    def __call__(self, *_: Any) -> Told:
        return self

    def score(self, trees: Sequence[Tree]) -> Any:
        if len(self.batches) >= self.stop_after:
            raise KeyboardInterrupt
        self.batches.append([(*tree.trunk, *branch.ids) for tree in trees for branch in tree.branches])
        return np.array([-len(b.ids) for tree in trees for b in tree.branches], dtype=np.float32)

    def flops(self, trees: Sequence[Tree]) -> float:
        return 1.0


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> Told:
    told = Told()
    monkeypatch.setattr(scoring, "load_scorer", told)
    return told


@pytest.fixture
def config(lm_folder: Callable[..., Path]) -> LabelConfig:
    return LabelConfig(lm=str(lm_folder("llama")), precision="fp32", batch_tokens=200)


@pytest.fixture
def work(tmp_path: Path) -> Any:
    made = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "corpus"))
    tiny.mined(made, k=4)
    return made


def broken_off(work: Any, config: LabelConfig, scorer: Told, after: int = 2) -> Path:
    """A labelling that stops after some batches; its plan."""
    scorer.stop_after = after
    with pytest.raises(KeyboardInterrupt):
        stage.label(work, config)
    scorer.stop_after = 10**9
    (plan,) = work.layout.round(0).plans()
    return plan  # type: ignore[no-any-return]


def finish(work: Any, config: LabelConfig, scorer: Told) -> tuple[tiny.Talk, list[tuple[int, ...]]]:
    """Go on; what was said and the pairs that were scored now."""
    before, talk = len(scorer.batches), tiny.Talk()
    stage.label(work, config, reporter=talk)
    assert work.layout.round(0).plans() == []
    pairs = [pair for batch in scorer.batches for pair in batch]
    assert len(pairs) == len(set(pairs)) == 32
    return talk, [pair for batch in scorer.batches[before:] for pair in batch]


def test_a_plan_is_taken_up_again(work: Any, config: LabelConfig, scorer: Told) -> None:
    plan = broken_off(work, config, scorer)
    begun = {path.name: path.read_bytes() for path in plan.iterdir()}
    broken_off(work, config, scorer, 4)
    assert {path.name: path.read_bytes() for path in plan.iterdir()} == begun
    talk, _ = finish(work, config, scorer)
    assert f"going on with the plan of an earlier run: 32 pairs in {len(scorer.batches)} batches" in talk.said


def test_the_batches_of_a_plan_stay_when_less_memory_is_free(work: Any, config: LabelConfig, scorer: Told, monkeypatch: Any) -> None:
    monkeypatch.setattr(budgets, "free_memory", lambda _: 300_000)
    free = replace(config, batch_tokens=None)
    broken_off(work, free, scorer)
    monkeypatch.setattr(budgets, "free_memory", lambda _: 250_000)
    talk, _ = finish(work, free, scorer)
    assert any("of at most 210 tokens" in line for line in talk.said)


def test_half_of_the_memory_is_obeyed_within_the_plan(work: Any, config: LabelConfig, scorer: Told, monkeypatch: Any) -> None:
    monkeypatch.setattr(budgets, "free_memory", lambda _: 600_000)
    free = replace(config, batch_tokens=None)
    broken_off(work, free, scorer, 1)
    monkeypatch.setattr(budgets, "free_memory", lambda _: 200_000)
    sizes: list[int] = []
    count = scorer.score
    monkeypatch.setattr(scorer, "score", lambda trees: sizes.append(sum(t.tokens for t in trees)) or count(trees))  # type: ignore[func-returns-value]
    finish(work, free, scorer)
    assert max(sizes) <= 140


CHANGES = [{"batch_tokens": 150}, {"memory": "1GB"}, {"screen": 3}, {"source_length": 200}, {"template": "{text} {language}:"}]


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: next(iter(c)))
def test_other_inputs_have_a_plan_of_their_own_and_what_is_stale_goes_at_the_end(
    work: Any, config: LabelConfig, scorer: Told, change: dict[str, Any]
) -> None:
    plan = broken_off(work, config, scorer)
    talk = tiny.Talk()
    stage.forecast_labels(work, replace(config, **change), reporter=talk)
    assert not any("going on with the plan" in line for line in talk.said)
    assert len(work.layout.round(0).plans()) == 2
    assert plan.exists()
    stage.label(work, replace(config, **change))
    assert work.layout.round(0).plans() == []


def test_other_candidates_have_a_plan_of_their_own(work: Any, config: LabelConfig, scorer: Told) -> None:
    plan = broken_off(work, config, scorer)
    tiny.mined(work, k=4, seed=9)
    stage.forecast_labels(work, config)
    assert len(work.layout.round(0).plans()) == 2
    assert plan.exists()


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "without a manifest": lambda plan: (plan / "plan.json").unlink(),
    "a torn manifest": lambda plan: (plan / "plan.json").write_text((plan / "plan.json").read_text()[:-20]),
    "a torn file": lambda plan: (plan / "sources.u32").write_bytes((plan / "sources.u32").read_bytes()[:-4]),
    "a changed file": lambda plan: (plan / "plan.npz").write_bytes((plan / "plan.npz").read_bytes()[::-1]),
    "a missing file": lambda plan: (plan / "targets.npy").unlink(),
    "made from something else": lambda plan: edit(plan, lambda value: value["made_from"].update(passages="another")),
    "a changed number": lambda plan: (plan / "plan.json").write_text((plan / "plan.json").read_text().replace('"budget": ', '"budget": 1')),
    "empty": lambda plan: [path.unlink() for path in plan.iterdir()],
}


def edit(plan: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = read_manifest(plan / "plan.json", "plan")
    change(value)
    write_manifest(plan / "plan.json", "plan", value.pop("made_from"), value)


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_a_plan_that_is_not_whole_is_made_again(work: Any, config: LabelConfig, scorer: Told, damage: str) -> None:
    plan = broken_off(work, config, scorer)
    done = sum(map(len, scorer.batches))
    DAMAGE[damage](plan)
    talk, now = finish(work, config, scorer)
    assert not any("going on with the plan" in line for line in talk.said)
    assert len(now) == 32 - done, "what is scored is never scored again"


def test_a_plan_that_lacks_a_pair_is_made_again(work: Any, config: LabelConfig, scorer: Told) -> None:
    """The store lost a score that was there when the plan was made."""
    stage.label(work, config)
    (segment,) = work.layout.scores.glob("*/*.scores")
    whole = segment.read_bytes()
    place = work.layout.round(0)
    place.labelled.unlink()
    segment.write_bytes(whole[: 32 + 40 * 20])
    stage.forecast_labels(work, config)
    segment.write_bytes(whole[: 32 + 40 * 10])
    talk = tiny.Talk()
    stage.label(work, config, reporter=talk)
    assert not any("going on with the plan" in line for line in talk.said)
    assert np.isfinite(stage.label(work, config).scores).all()


def test_a_folder_that_cannot_be_written_is_named(work: Any, config: LabelConfig, scorer: Told) -> None:
    from umr.errors import StorageError

    folder = work.layout.round(0).folder
    made = work.layout.round(0)
    plan = made.plan("0" * 16)
    assert plan.parent == folder
    folder.chmod(0o500)
    try:
        if not _writable(folder):
            with pytest.raises(StorageError, match="plan-"):
                stage.label(work, config)
    finally:
        folder.chmod(0o700)


def _writable(folder: Path) -> bool:
    try:
        (folder / "probe").write_text("")
    except OSError:
        return False
    (folder / "probe").unlink()
    return True


def test_a_process_that_was_quicker_gives_its_plan(work: Any, config: LabelConfig, scorer: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder stands there when our own is renamed: what a file system then says is no error."""
    import shutil
    from collections.abc import Iterator
    from contextlib import contextmanager

    from umr.errors import StorageError
    from umr.label.plan import plan

    @contextmanager
    def late(path: Path) -> Iterator[Path]:
        temporary = path.with_name("mine")
        yield temporary
        shutil.move(temporary, path)
        raise StorageError(f"{path}: directory not empty", "")

    monkeypatch.setattr(plan, "beside", late)
    assert np.isfinite(stage.label(work, config).scores).all()


def test_a_full_disk_is_no_other_process(work: Any, config: LabelConfig, scorer: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    from umr.errors import StorageError
    from umr.label.plan import plan

    tries: list[int] = []

    def full(*_: Any) -> None:
        tries.append(1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plan, "write_texts", full)
    with pytest.raises(StorageError, match="plan-"):
        stage.label(work, config)
    assert len(tries) == 1
    assert not list(work.layout.round(0).folder.glob(".plan*"))
