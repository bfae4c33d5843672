"""What every test may count on: no network, and `tiny` and `reference` importable from anywhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).resolve().parent))
# Read when huggingface_hub is imported: whatever asks the hub fails at once instead of waiting for a network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

settings.register_profile("umr", deadline=None)  # a busy machine is no failure
settings.load_profile("umr")
