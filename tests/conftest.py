"""What every test may count on: no network, no talk from transformers, `tiny` and `reference` importable."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever asks the hub fails at once instead of waiting for a network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
