"""Our own language model engine on the processor: the decoder of the compiled core, for the models that it knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from umr.config import LabelConfig
from umr.label.native.scorer import NativeScorer
from umr.label.native.weights import decoder_for, knows
from umr.label.pack import Tree

if TYPE_CHECKING:
    from umr.models.lm import LanguageModel

__all__ = ["NativeScorer", "native_scorer"]


def native_scorer(lm: LanguageModel, config: LabelConfig, sample: Sequence[Tree]) -> NativeScorer | None:
    """The compiled core's scorer of a language model.

    Arguments:
        lm: loaded on the processor.
        config: `precision` and `reduction` decide.
        sample: trees of the work at hand; int8 is calibrated with them.

    Returns:
        None where the core does not know the model, or its weights are rounded by a library.
    """
    if lm.weights != "native" or not knows(lm.model):
        return None
    return NativeScorer(lm.model, decoder_for(lm.model, lm.precision), config.reduction)
