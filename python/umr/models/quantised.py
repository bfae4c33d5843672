"""Weight-only quantisation through bitsandbytes: an LM that does not fit into memory in 16 bits, in 8 or 4.

Only the weights of linear layers are rounded; embeddings, norms and the vocabulary head stay as they are, and so does the
arithmetic. int8 is absmax by output channel; int4 is NF4 in blocks of 64 (Dettmers et al., QLoRA, 2023). bitsandbytes' own
8-bit layer is not used: it rounds activations too, and picks outlier columns by what else is in the batch, so that a score
would depend on the other pairs of its batch.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from umr.config import Weights
from umr.errors import MissingExtraError, ModelError

PACKAGE = "bitsandbytes"
BLOCK, ROWS = 64, 32  # weights that share a scale; outputs that its bf16 kernel takes at once


def require_quantiser() -> None:
    """Say at once, before anything is loaded, that the library is missing.

    Raises:
        MissingExtraError: bitsandbytes is not installed.
    """
    if find_spec(PACKAGE) is None:
        raise MissingExtraError(f"int8 and int4 weights need the package {PACKAGE}", "pip install 'umr[quantised]', or --weights native")


def quantise(model: Any, weights: Weights, dtype: torch.dtype) -> None:
    """Quantise the linear layers of a model on the CPU, one after the other.

    A model loaded in the type of its file is only mapped; so no more than one layer is in memory in full at any time.

    Arguments:
        model: of transformers, on the CPU, in the type of its file; changed in place.
        weights: int8 or int4; native changes nothing.
        dtype: of the products of these layers.

    Raises:
        MissingExtraError: bitsandbytes is not installed.
        ModelError: the model has no linear layer besides its head.
    """
    if weights == "native":
        return
    require_quantiser()
    head = model.get_output_embeddings()
    layers = [(name, layer) for name, layer in model.named_modules() if type(layer) is nn.Linear and layer is not head]
    if not layers:
        raise ModelError(f"a {model.config.model_type} has no linear layers to quantise", "use --weights native")
    for name, layer in layers:
        model.set_submodule(name, _int8(layer, dtype) if weights == "int8" else _int4(layer, dtype))


class Int8Linear(nn.Module):
    """A linear layer whose weights are int8, scaled by output channel.

    Arguments:
        weight: [out, in] int8.
        scale: [out] float32.
        bias: [out], or None.
        dtype: of the product; its result is scaled in float32.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.dtype = dtype
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out] float32; -127 to 127 are exact in every floating type, so only the result is scaled."""
        y = nn.functional.linear(x.to(self.dtype), self.weight.to(self.dtype)) * self.scale
        return y if self.bias is None else y + self.bias


def _int8(layer: nn.Linear, dtype: torch.dtype) -> Int8Linear:
    library = _library().functional
    values, largest, _ = library.int8_vectorwise_quant(layer.weight.detach().float())
    return Int8Linear(values, largest / 127, None if layer.bias is None else layer.bias.detach().float(), dtype)


def _int4(layer: nn.Linear, dtype: torch.dtype) -> Any:
    library = _library().nn
    made = library.LinearNF4(layer.in_features, layer.out_features, bias=False, compute_dtype=dtype, device="meta")
    made.weight = library.Params4bit(layer.weight.detach().to(dtype), requires_grad=False, quant_type="nf4", module=made)
    if layer.bias is not None:
        made.bias = nn.Parameter(layer.bias.detach().to(dtype), requires_grad=False)
    # Its kernel for processors with bf16 rounds every input to bf16, which is not what fp32 asks for, and takes whole blocks alone.
    fits = layer.in_features % BLOCK == 0 and layer.out_features % ROWS == 0
    made.support_avx512bf16_for_cpu = made.support_avx512bf16_for_cpu and dtype == torch.bfloat16 and fits
    return made.to("cpu").eval()  # this is where it is quantised


def _library() -> Any:
    """bitsandbytes, without its advice on further packages."""
    logger = logging.getLogger(PACKAGE)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import bitsandbytes
    finally:
        logger.setLevel(level)
    return bitsandbytes
