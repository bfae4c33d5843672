"""The weights of a transformers model as the compiled core takes them.

The core knows decoders of one make: RMS norms, rotary positions, grouped heads, a gated block of SiLU or GELU. Models differ in
what they add to it: biases, norms of heads, norms behind the blocks, windows, scaled embeddings, capped logits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from umr._rust import Decoder, Linear

KINDS = {"fp32": "f32", "bf16": "bf16", "int8": "int8"}
KNOWN = {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma3_text"}
ONE_MORE = {"gemma", "gemma3_text"}  # their norms keep weights less one
SANDWICHED = {"gemma3_text"}  # these have norms behind the blocks too
ACTIVATIONS = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
ROPES = {"default", "linear", "llama3", "yarn"}  # of which the angles do not change with the length of a text


Place = tuple[int, str]
"""Layer and name of a product; the head comes after the last layer."""


@dataclass(frozen=True)
class Site:
    """How int8 keeps the weights of one product: W diag(1 / smooth) R of a W [N, K].

    Arguments:
        codes: [N, K] int8.
        units: [N, groups] float32 value of one unit of a code.
        smooth: [K] float32 factors of the inputs.
        group: inputs that share a unit, 0 for all.
    """

    codes: Tensor
    units: Tensor
    smooth: Tensor
    group: int = 0

    def weights(self) -> Tensor:
        """[N, K] float32: what the codes stand for; dividing by the units gives the codes back."""
        rows, groups = self.units.shape
        return (self.codes.view(rows, groups, -1) * self.units[..., None]).view(rows, -1)


@dataclass(frozen=True)
class Recipe:
    """What a calibration found for int8.

    Arguments:
        sites: by place; what is missing stays bf16.
        prefix: keys and values of the first tokens of every source, a layer; [tokens, heads of keys x size of a head] float32.
        ids: these tokens.
    """

    sites: dict[Place, Site]
    prefix: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    ids: tuple[int, ...] = ()


def knows(model: Any) -> bool:
    """Whether the core computes exactly this kind of model."""
    config = model.config
    if config.model_type not in KNOWN or getattr(config, "quantization_config", None) is not None:
        return False
    activation = getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", None)
    plain = not getattr(config, "attn_logit_softcapping", None) and not getattr(config, "use_bidirectional_attention", False)
    bare = getattr(model.get_output_embeddings(), "bias", None) is None
    return activation in ACTIVATIONS and plain and bare and _rope_kinds(config) <= ROPES


def _rope_kinds(config: Any) -> set[str]:
    found = getattr(config, "rope_parameters", None) or {}
    groups = [found] if "rope_type" in found else [group for group in found.values() if isinstance(group, dict)]
    return {group.get("rope_type", "default") for group in groups}


def decoder_for(model: Any, precision: str, recipe: Recipe | None = None) -> Decoder:
    """Pack a model.

    Arguments:
        model: transformers model that the core knows.
        precision: fp32, bf16 or int8.
        recipe: of int8; without it weights and inputs are simply rounded. Other precisions take its prefix alone.

    Raises:
        NotFiniteError: a weight is not finite.
    """
    kind = KINDS[precision]
    base = model.model
    layers = [_layer(model, number, kind, recipe) for number in range(len(base.layers))]
    head = _linear(kind, [model.get_output_embeddings()], recipe, (len(base.layers), "head"))
    return Decoder(_sizes(model, kind), layers, head)


def products(model: Any) -> dict[Place, list[nn.Linear]]:
    """The modules that make each product: those of a list share their inputs and lie one below the other."""
    layers = model.model.layers
    made = {(number, name): modules for number, layer in enumerate(layers) for name, modules in _stacks(layer).items()}
    return made | {(len(layers), "head"): [model.get_output_embeddings()]}


def _stacks(layer: Any) -> dict[str, list[nn.Linear]]:
    attention, mlp = layer.self_attn, layer.mlp
    return {
        "qkv": [attention.q_proj, attention.k_proj, attention.v_proj], "out": [attention.o_proj],
        "gate_up": [mlp.gate_proj, mlp.up_proj], "down": [mlp.down_proj],
    }  # fmt: skip


def _sizes(model: Any, kind: str) -> dict[str, Any]:
    config, first = model.config, model.model.layers[0]
    activation = getattr(config, "hidden_activation", None) or config.hidden_act
    size = first.self_attn.head_dim
    return {
        "width": config.hidden_size, "heads": config.num_attention_heads, "shared": config.num_key_value_heads, "size": size,
        "eps": config.rms_norm_eps, "scale": first.self_attn.scaling, "activation": ACTIVATIONS[activation],
        "cap": getattr(config, "final_logit_softcapping", None), "kind": kind,
        "ropes": [_rope(model, name) for name in _rope_names(model)], "norm": _norm(model, model.model.norm),
    }  # fmt: skip


def _rope_names(model: Any) -> list[str]:
    """Names of the angles: one for each kind of layer where kinds differ, else the empty one."""
    rotary = model.model.rotary_emb
    return [""] if hasattr(rotary, "inv_freq") else sorted(set(model.config.layer_types))


def _rope(model: Any, name: str) -> tuple[list[float], float]:
    rotary = model.model.rotary_emb
    prefix = f"{name}_" if name else ""
    return getattr(rotary, f"{prefix}inv_freq").float().tolist(), float(getattr(rotary, f"{prefix}attention_scaling"))


def _norm(model: Any, module: Any) -> list[float]:
    weight = module.weight.detach().float()
    return (weight + 1 if model.config.model_type in ONE_MORE else weight).tolist()  # type: ignore[no-any-return]


def _layer(model: Any, number: int, kind: str, recipe: Recipe | None) -> dict[str, Any]:
    layer, config = model.model.layers[number], model.config
    attention, stacks = layer.self_attn, _stacks(layer)
    sandwiched = config.model_type in SANDWICHED
    names = _rope_names(model)
    typed = (getattr(config, "layer_types", None) or [""] * len(model.model.layers))[number]

    def norm(name: str, of: Any = layer) -> list[float] | None:
        return _norm(model, getattr(of, name)) if hasattr(of, name) else None

    made = {name: _linear(kind, modules, recipe, (number, name), paired=name == "gate_up") for name, modules in stacks.items()}
    return made | {
        "before_attention": norm("input_layernorm"),
        "query_norm": norm("q_norm", attention), "key_norm": norm("k_norm", attention),
        "rope": names.index(typed) if len(names) > 1 else 0, "window": _window(config, typed),
        "after_attention": norm("post_attention_layernorm") if sandwiched else None,
        "before_mlp": norm("pre_feedforward_layernorm" if sandwiched else "post_attention_layernorm"),
        "after_mlp": norm("post_feedforward_layernorm") if sandwiched else None,
        "prefix": tuple(part.flatten().tolist() for part in recipe.prefix[number]) if recipe and recipe.prefix else None,
    }  # fmt: skip


def _window(config: Any, typed: str) -> int | None:
    """Tokens that a layer sees: Mistral says it for all layers, others by the kind of a layer."""
    window = getattr(config, "sliding_window", None)
    if not window or not getattr(config, "use_sliding_window", True):
        return None
    return int(window) if typed == "sliding_attention" or not getattr(config, "layer_types", None) else None


def _linear(kind: str, modules: list[nn.Linear], recipe: Recipe | None, place: Place, paired: bool = False) -> Linear:
    bias = _bias(modules)
    site = recipe.sites.get(place) if recipe and kind == "int8" else None
    if site is None:
        return Linear("bf16" if recipe and kind == "int8" else kind, [_numbers(m) for m in modules], bias=bias, paired=paired)
    parts = np.split(site.weights().numpy(), np.cumsum([len(m.weight) for m in modules])[:-1])
    made: dict[str, Any] = {"units": site.units.numpy(), "smooth": site.smooth.tolist(), "group": site.group}
    return Linear("int8", parts, bias=bias, turned=True, paired=paired, **made)


def _bias(modules: list[nn.Linear]) -> list[float] | None:
    if all(getattr(module, "bias", None) is None for module in modules):
        return None
    rows = [m.bias if m.bias is not None else torch.zeros(m.weight.shape[0]) for m in modules]
    return torch.cat([row.detach().float() for row in rows]).tolist()


def _numbers(module: Any) -> NDArray[np.float32] | NDArray[np.uint16]:
    weight = module.weight.detach().contiguous()
    if weight.dtype == torch.bfloat16:
        return weight.view(torch.uint16).numpy()  # type: ignore[no-any-return]
    return weight.float().numpy()  # type: ignore[no-any-return]
