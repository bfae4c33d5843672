"""Our own language model engine on the processor: the decoder of the compiled core, for the models that it knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from umr._rust import instructions
from umr.config import LabelConfig
from umr.label.native.scorer import NativeScorer
from umr.label.native.weights import KINDS, Recipe, decoder_for, knows

if TYPE_CHECKING:
    from umr.models.lm import LanguageModel

__all__ = ["NativeScorer", "native_scorer"]


def native_scorer(lm: LanguageModel, config: LabelConfig, recipe: Callable[[], Recipe] | None = None) -> NativeScorer | None:
    """The compiled core's scorer of a language model.

    Arguments:
        lm: loaded on the processor.
        config: `reduction` decides; the arithmetic is the model's.
        recipe: calibrates int8; without one its weights and inputs are simply rounded.

    Returns:
        None where the core does not know the model, its weights are rounded by a library, or the processor has no
        instructions for the arithmetic, so that torch is faster.
    """
    if lm.weights != "native" or not knows(lm.model) or instructions(KINDS[lm.precision]) == "portable":
        return None
    found = recipe() if recipe is not None and lm.precision == "int8" else None
    decoder = decoder_for(lm.model, lm.precision, found)
    return NativeScorer(lm.model, decoder, config.reduction, found.ids if found else ())
