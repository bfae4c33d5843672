"""umr: multilingual dense retrievers from passages and unlabelled queries (UMR, arXiv 2403.03516).

    workspace = umr.create_workspace("work", ["passages.tsv"], ["queries.jsonl"], umr.EncoderConfig(model="..."))
    umr.mine(workspace, umr.MineConfig(top_k=100))
    umr.label(workspace, umr.LabelConfig(lm="..."))
    umr.train(workspace, umr.TrainConfig())

Importing umr takes no torch: the stages load it when they need it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umr.config import EncoderConfig as EncoderConfig
    from umr.config import LabelConfig as LabelConfig
    from umr.config import MineConfig as MineConfig
    from umr.config import TrainConfig as TrainConfig
    from umr.data.workspace import Workspace as Workspace
    from umr.data.workspace import create_workspace as create_workspace
    from umr.data.workspace import open_workspace as open_workspace
    from umr.encoder.encoder import DualEncoder as DualEncoder
    from umr.encoder.load import load_encoder as load_encoder
    from umr.encoder.onnx import export_onnx as export_onnx
    from umr.errors import UmrError as UmrError
    from umr.judge import judge as judge
    from umr.judge import read_test_set as read_test_set
    from umr.label import forecast_labels as forecast_labels
    from umr.label import label as label
    from umr.label.inspect import inspect_labels as inspect_labels
    from umr.mine import forecast_mining as forecast_mining
    from umr.mine import mine as mine
    from umr.progress.console import Console as Console
    from umr.retrieve import search as search
    from umr.rounds import run as run
    from umr.run_file import RunConfig as RunConfig
    from umr.run_file import read_config as read_config
    from umr.train import forecast_training as forecast_training
    from umr.train import train as train
    from umr.train.averages import average_encoders as average_encoders

try:
    __version__ = version("umr")
except PackageNotFoundError:
    __version__ = "unknown"

_HOMES = {
    "EncoderConfig": "config", "MineConfig": "config", "LabelConfig": "config", "TrainConfig": "config",
    "Workspace": "data.workspace", "create_workspace": "data.workspace", "open_workspace": "data.workspace",
    "mine": "mine", "label": "label", "train": "train", "run": "rounds", "RunConfig": "run_file", "read_config": "run_file",
    "forecast_labels": "label", "forecast_mining": "mine", "forecast_training": "train",
    "inspect_labels": "label.inspect", "judge": "judge", "read_test_set": "judge", "search": "retrieve",
    "DualEncoder": "encoder.encoder", "load_encoder": "encoder.load", "export_onnx": "encoder.onnx", "UmrError": "errors",
    "Console": "progress.console", "average_encoders": "train.averages",
}  # fmt: skip

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES and (name.startswith("__") or find_spec(f"umr.{name}") is None):
        raise AttributeError(f"module 'umr' has no attribute {name!r}")
    value = getattr(import_module(f"umr.{_HOMES[name]}"), name) if name in _HOMES else import_module(f"umr.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


class _Package(ModuleType):
    """`umr.mine` is the stage, although `umr/mine/` is a package: its import must not put the module in the function's place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
