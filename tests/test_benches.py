"""The benchmark of a GPU at toy size: every row runs here and agrees with its rival, and a row that fails does not stop the others."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benches import gpu
from benches.harness import SHARED, Report
from benches.parts import gpu_rows, gpu_stages
from benches.parts.gpu_shapes import TOY

pytestmark = pytest.mark.skipif(
    not (SHARED / "data" / "train-small").is_dir(), reason="needs the texts of train-small beside the repository"
)

ROWS: dict[str, Callable[[], Any]] = {
    "encode bf16": lambda: gpu_rows.encode(TOY, "bf16"),
    "encode fp32": lambda: gpu_rows.encode(TOY, "fp32"),
    "label 270m 6": lambda: gpu_rows.label(TOY, "270m", 6),
    "label 270m 16": lambda: gpu_rows.label(TOY, "270m", 16),
    "label 4b 6": lambda: gpu_rows.label(TOY, "4b", 6),
    "mt5": lambda: gpu_rows.encoder_decoder(TOY),
    "train": lambda: gpu_stages.train(TOY),
    "search": lambda: gpu_stages.search(TOY),
    "forecast": lambda: gpu_stages.forecast(TOY),
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cache of its own, shared by the rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def test_every_row_of_the_benchmark_is_here() -> None:
    assert set(ROWS) == set(gpu.ROWS)
    assert sum(gpu.ROWS.values()) > gpu.ALL_SECONDS, "rows end earlier than their limits; all together have 8 minutes"
    assert gpu.ALL_SECONDS < 480


@pytest.mark.filterwarnings("ignore")  # of sentence-transformers
@pytest.mark.parametrize("name", ROWS)
def test_a_row_agrees_with_its_rival(name: str) -> None:
    found = ROWS[name]()
    json.dumps(found)
    bounds = {what: (value, bound) for what, value, bound, at_least in found["targets"] if not at_least and "forecast" not in what}
    assert all(value <= bound for value, bound in bounds.values()), bounds
    assert bounds or name in ("train", "forecast")
    if name != "forecast":
        assert found["ours"] > 0


def test_a_row_that_fails_or_takes_too_long_is_told_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gpu.ROWS, "no such row", 60)
    monkeypatch.setattr(gpu, "TOY_SECONDS", 60)
    real = gpu.run
    monkeypatch.setattr(gpu, "run", lambda name, seconds, toy: real(name, 0.01 if name == "mt5" else seconds, toy))
    report = Report("gpu")
    args = Namespace(rows=["no such row", "mt5", "search"], toy=True, json=tmp_path / "gpu.json")
    with pytest.raises(RuntimeError, match="no figures of no such row, mt5"):
        gpu.main(args, report)
    kept = json.loads((tmp_path / "gpu.rows.json").read_text())
    assert [row["row"] for row in kept] == args.rows
    assert "KeyError" in kept[0]["problem"]
    assert kept[1]["problem"] == "not ended after 0 s"
    assert kept[2]["ours"] > 0
