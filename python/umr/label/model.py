"""A language model as the labelling stage names it: its files, its prompt, and what decides its scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umr.config import LabelConfig
from umr.data.workspace import Workspace
from umr.label.prompt import CAUSAL, ENCODER_DECODER, Prompt, fit
from umr.progress import Reporter

if TYPE_CHECKING:
    from umr.models.lm import LanguageModel, LanguageModelFiles


@dataclass(frozen=True)
class Model:
    """A language model that is found but not loaded.

    Arguments:
        files: where it is.
        config: of the stage, with this model as its `lm` and its own template.
        prompt: the templates.
        identity: what decides a score.
        stores: the folder of score stores.
    """

    files: LanguageModelFiles
    config: LabelConfig
    prompt: Prompt
    identity: dict[str, Any]
    stores: Path

    def load(self) -> LanguageModel:
        """Load it in the arithmetic of its identity.

        Raises:
            ModelError: it cannot be loaded.
        """
        from umr.models.device import pick_device
        from umr.models.lm import load_lm

        return load_lm(self.files, self.identity["precision"], pick_device(self.config.device), self.config.weights)


def find_model(workspace: Workspace, config: LabelConfig, reporter: Reporter) -> Model:
    """Find a language model, and settle its arithmetic.

    Arguments:
        workspace: holds the score stores, where `config.store` names no other folder.
        config: of the stage, with the name of this model and its template.
        reporter: told what was measured.

    Raises:
        ModelError: it is not there, or no language model.
    """
    from umr.models.lm import find_lm

    files = find_lm(config.lm, reporter)
    stores = Path(config.store) if config.store else workspace.layout.scores
    source, target = ENCODER_DECODER if files.encoder_decoder else CAUSAL
    prompt = fit(Prompt(config.template or source, config.target or target), files.tokenizer, files.encoder_decoder, config.chat)
    return Model(files, config, prompt, _identity(config, files, prompt, stores, reporter), stores)


def _identity(config: LabelConfig, files: LanguageModelFiles, prompt: Prompt, stores: Path, reporter: Reporter) -> dict[str, Any]:
    """What decides a score. A measured precision is kept beside the stores, so that every round and folder finds its scores."""
    special = {"weights": config.weights, "chat": config.chat}
    usual = {"weights": "native", "chat": False}
    return {
        "lm": files.fingerprint, "source": prompt.source, "target": prompt.target, "reduction": config.reduction,
        "source_length": config.source_length, "precision": _precision(config, files, stores, reporter),
        **{name: value for name, value in special.items() if value != usual[name]},
    }  # fmt: skip


def _precision(config: LabelConfig, files: LanguageModelFiles, stores: Path, reporter: Reporter) -> str:
    from umr.models.device import keep_precision, pick_device

    device = pick_device(config.device)
    if config.precision == "int8":
        return "int8"
    return keep_precision(stores / f"precision-{files.fingerprint[:16]}.json", config.precision, device, reporter)
