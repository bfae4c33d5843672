"""A damaged file of a work folder is healed, refused by name, or does not matter: never a wrong result, a traceback or a crash."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tiny
from faults.test_model_files import DEEP, ODD, VALUES
from train.rig import MINE, TRAIN, Notes, encoder_config, opened
from umr.cli.status import status
from umr.config import LabelConfig
from umr.errors import UmrError
from umr.label import label
from umr.mine import mine
from umr.train import train

FORKS = Path(__file__).with_name("every_file_forks.py")
KINDS = {
    "corpus/passages.index", "corpus/tokens-F/tokens.uN", "corpus/unpacked/F-F-passages.tsv", "corpus/languages-F/part-N.parquet",
    "embeddings/F/shard-N.npy", "embeddings/F/shard-N.intN", "embeddings/F/piece-N-N.npy", "embeddings/F/hnsw/index.usearch",
    "embeddings/means-F/means.safetensors", "round-N/candidates.parquet", "round-N/labels.parquet", "round-N/encoder/model.safetensors",
    "round-N/encoder/tokenizer.json", "round-N/training/state-N/weights.safetensors", "round-N/training/best-N.safetensors",
    "round-N/plan-F/plan.npz", "scores/F/segment-N.scores", "work.json",
}  # fmt: skip
"""Some kinds that must be among those found by listing the folder: else the work folder is not what it is meant to be."""
REFUSED = (1, 2)
Case = dict[str, Any]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """How each damage of each kind of file ended."""
    folder = tmp_path_factory.mktemp("every_file")
    tiny.encoder(folder / "bert")
    for seed, name in enumerate(("llama", "other")):
        tiny.llama(folder / name, seed=seed)
    tiny.tiny_corpus(folder / "corpus", 30, 16)
    ran = subprocess.run([sys.executable, str(FORKS), str(folder), "0"], stdout=subprocess.PIPE, text=True, check=True, timeout=1800)
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_no_damage_gives_a_wrong_result_a_traceback_or_a_crash(cases: list[Case]) -> None:
    whole, *damaged = cases
    assert set(whole["kinds"]) >= KINDS
    assert whole["same"]
    assert not whole["seen"]
    assert len(damaged) == len(whole["kinds"])
    assert {case["damage"] for case in damaged} == {"flip", "cut", "empty", "swap"}
    silent = [case for case in damaged if case["code"] == 0 and not case["same"]]
    assert not silent
    broken = [case for case in damaged if case["code"] not in (0, *REFUSED) or "Traceback" in case["said"]]
    assert not broken
    unnamed = [case for case in damaged if case["code"] in REFUSED and not case["named"]]
    assert not unnamed


def test_what_is_refused_is_seen_by_status(cases: list[Case]) -> None:
    flips = [case for case in cases if case["damage"] == "flip" and case["code"] in REFUSED]
    assert flips
    assert not [case for case in flips if not case["seen"]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder after one round."""
    folder = tmp_path_factory.mktemp("json")
    work = opened(folder / "work", tiny.tiny_corpus(folder / "data", 13, 10), encoder_config(tiny.encoder(folder / "bert")))
    mine(work, MINE)
    label(work, LabelConfig(lm=str(tiny.llama(folder / "llama")), precision="fp32"))
    train(work, TRAIN)
    return work.layout.folder


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container within a JSON value, with each of its keys."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_json_of_any_content_is_refused_by_name(finished: Path, data: st.DataObject) -> None:
    """Wrong types, names that lead elsewhere, nesting without end, huge numbers: in any place of any JSON file."""
    path = data.draw(st.sampled_from(sorted(finished.rglob("*.json"))))
    whole = path.read_bytes()
    value = json.loads(whole)
    changed = copy.deepcopy(value)
    inside, key = data.draw(st.sampled_from(list(places(changed))))
    if isinstance(inside, dict) and data.draw(st.booleans()):
        inside["../../name"] = inside.pop(key)
    else:
        inside[key] = data.draw(st.sampled_from(ODD) | VALUES)
    text = data.draw(
        st.sampled_from([json.dumps(changed), DEEP, f'{{"a": {DEEP}', "[1]", "null", ""])
        if data.draw(st.booleans())
        else st.just(json.dumps(changed))
    )
    if text == json.dumps(value):
        return
    path.write_text(text, encoding="utf-8")
    notes = Notes()
    try:
        with pytest.raises(UmrError) as caught:
            status(finished, notes, verify_all=True)
        assert str(path) in notes.text + caught.value.message
    finally:
        path.write_bytes(whole)


def test_status_reads_a_whole_work_folder(finished: Path) -> None:
    notes = Notes()
    status(finished, notes, verify_all=True)
    assert "each is as it was written" in notes.text
