"""Which weights of an encoder are trained, and how: frozen layers, adapters, recomputed layers, rates by layer."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from umr.config import TrainConfig
from umr.encoder.dropout import quick_dropout
from umr.encoder.encoder import Encoder
from umr.errors import MissingExtraError, UsageError


def set_up(encoder: Encoder, config: TrainConfig) -> None:
    """Make an encoder train what the settings say, in place.

    Raises:
        UsageError: it has no list of layers, or too few.
        MissingExtraError: peft is not installed.
    """
    if config.gradient_checkpointing:
        for layer in layers_of(encoder, "gradient_checkpointing"):
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, context_fn=partial(_both_times, encoder))
    if config.lora_rank is not None:
        _add_adapters(encoder, config.lora_rank, config.seed)
    if config.freeze_layers is not None:
        freeze_layers(encoder, config.freeze_layers)


def _both_times(encoder: Encoder) -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
    return quick_dropout(encoder.device), quick_dropout(encoder.device)


def layers_of(encoder: Encoder, option: str) -> nn.ModuleList:
    """The layers of an encoder, the lowest first.

    Raises:
        UsageError: it has no list of layers; names the option that needs them.
    """
    held: Any = getattr(encoder.model.config, "num_hidden_layers", 0)
    for module in encoder.modules():
        if isinstance(module, nn.ModuleList) and len(module) == held > 0:
            return module
    raise UsageError(f"{option} is set, but the encoder has no list of layers", f"leave {option} out")


def freeze_layers(encoder: Encoder, count: int) -> None:
    """Leave the embeddings and the lowest layers of an encoder untrained: every weight before the first layer that is trained.

    Raises:
        UsageError: it has no more layers than that.
    """
    layers = layers_of(encoder, "freeze_layers")
    if len(layers) <= count:
        raise UsageError(f"freeze_layers is {count}, but the encoder has {len(layers)} layers", "leave at least one layer to be trained")
    first = next(layers[count].parameters())
    for parameter in encoder.parameters():
        if parameter is first:
            break
        parameter.requires_grad_(False)


def _add_adapters(encoder: Encoder, rank: int, seed: int) -> None:
    """LoRA (Hu et al. 2021, arXiv 2106.09685) on every linear layer; scaled by 2, as alpha = 2 rank says."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError(f"lora_rank is {rank}, but peft is not installed", "pip install 'umr[lora]'") from error
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by names that are going away
        torch.manual_seed(seed)
        model: Any = encoder.model
        encoder.model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))


def merge_adapters(encoder: Encoder) -> None:
    """Put what adapters learned into the weights that they stand beside."""
    if hasattr(encoder.model, "merge_and_unload"):
        encoder.model = encoder.model.merge_and_unload()  # type: ignore[operator]


def optimiser_of(encoders: Iterable[Encoder], config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the weights that are trained; each group has its `scale`, which multiplies the learning rate.

    The highest layers and what is behind them have scale 1, each layer below `layer_decay` times that of the one above, and the
    embeddings the least (as in ULMFiT's discriminative fine-tuning, Howard and Ruder 2018, arXiv 1801.06146).
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for encoder in encoders:
        scales = _scales(encoder, config.layer_decay)
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                groups.setdefault((parameter.dim() <= 1, scales.get(parameter, 1.0)), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": 0.0 if flat else config.weight_decay, "scale": scale}
            for (flat, scale), parameters in sorted(groups.items(), key=lambda group: group[0])
        ],
        lr=config.learning_rate,
        fused=True,
    )


def _scales(encoder: Encoder, decay: float) -> dict[nn.Parameter, float]:
    if decay == 1:
        return {}
    layers = layers_of(encoder, "layer_decay")
    found = {p: decay ** (len(layers) - 1 - at) for at, layer in enumerate(layers) for p in layer.parameters()}
    first = next(layers[0].parameters())
    for parameter in encoder.parameters():
        if parameter is first:
            break
        found[parameter] = decay ** len(layers)
    return found
