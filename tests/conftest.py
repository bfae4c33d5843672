"""What every test may count on: no network, and `tiny` and `reference` importable from anywhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).resolve().parent))
# Read when huggingface_hub is imported: whatever asks the hub fails at once instead of waiting for a network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

settings.register_profile("umr", deadline=None)  # a busy machine is no failure
settings.load_profile("umr")


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny encoder."""
    import tiny

    return tiny.encoder(tmp_path_factory.mktemp("bert") / "bert")


@pytest.fixture(scope="session")
def tower(bert: Path) -> Any:
    """The same, loaded as a `DualEncoder`."""
    from train.rig import encoder_config
    from umr.encoder.load import load_encoder

    return load_encoder(encoder_config(bert))
