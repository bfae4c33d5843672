"""What scoring costs: floating-point operations and working memory, from the shapes of a model's linear layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from umr.label.scorers.trees import Tree

CROSS = {"EncDecAttention", "encoder_attn", "crossattention"}
KEYS_VALUES = ("k", "v", "k_proj", "v_proj", "key", "value")


@dataclass(frozen=True)
class Cost:
    """The sizes that decide the cost of a model.

    Arguments:
        width: of the states.
        widest: outputs of the widest layer of the body.
        body: weights that a token is multiplied with; of an encoder-decoder, a target token in the decoder.
        head: weights of the vocabulary head, which a predicted token is multiplied with.
        encoder: weights that a source token is multiplied with; 0 for causal models.
        kept: numbers that are kept of a source token, the keys and values of all decoder layers; 0 for causal models.
    """

    width: int
    widest: int
    body: int
    head: int
    encoder: int = 0
    kept: int = 0

    def bytes_per_token(self, compared: int = 0) -> int:
        """Working memory of one more token in float32, estimated: the states of one layer and what is kept.

        Arguments:
            compared: mask entries of a token, where there is a mask over the whole row.
        """
        return 4 * (10 * self.width + 7 * self.widest + self.kept + 2 * compared)

    def flops(self, tree: Tree) -> float:
        """Operations of one tree: two for each weight that a token is multiplied with. Attention is not counted."""
        source, targets = len(tree.trunk), sum(branch.targets for branch in tree.branches)
        if self.encoder:
            return 2.0 * (self.encoder * source + (self.body + self.head) * targets)
        return 2.0 * (self.body * (tree.tokens - len(tree.branches)) + self.head * targets)


def cost_of(model: Any) -> Cost:
    """The cost of a transformers model, from its layers."""
    width = int(model.get_input_embeddings().weight.shape[1])
    head = int(model.config.get_text_config().vocab_size) * width
    skipped = model.get_output_embeddings()
    if not model.config.is_encoder_decoder:
        shapes = _shapes(model.base_model, skipped)
        return Cost(width, max(out for out, _ in shapes.values()), _weights(shapes), head)
    encoder, decoder = (_shapes(half, skipped) for half in (model.get_encoder(), model.get_decoder()))
    crossing = {name: shape for name, shape in decoder.items() if name.split(".")[-1] in KEYS_VALUES and CROSS & {*name.split(".")}}
    widest = max(out for out, _ in (*encoder.values(), *decoder.values()))
    body = _weights(decoder) - _weights(crossing)
    return Cost(width, widest, body, head, _weights(encoder) + _weights(crossing), sum(out for out, _ in crossing.values()))


def _shapes(module: Any, skipped: Any) -> dict[str, tuple[int, int]]:
    """Name -> outputs and inputs of every linear layer of a module, quantised ones too."""
    found = {}
    for name, layer in module.named_modules():
        if type(layer).__name__ == "Conv1D":  # of GPT-2, its weight turned round
            found[name] = (layer.weight.shape[1], layer.weight.shape[0])
        elif hasattr(layer, "out_features") and layer is not skipped:
            found[name] = (layer.out_features, layer.in_features)
    return found


def _weights(shapes: dict[str, tuple[int, int]]) -> int:
    return sum(out * into for out, into in shapes.values())
