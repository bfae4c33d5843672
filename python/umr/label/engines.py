"""Which scorer a language model gets: our own kernels where they know the model, else torch; checked before it is used."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from umr.config import LabelConfig
from umr.errors import UsageError
from umr.label.check import TOLERANCE, disagreement
from umr.label.pack import Tree
from umr.label.work import Scorer
from umr.progress import Reporter

if TYPE_CHECKING:
    from umr.label.native.weights import Recipe
    from umr.models.lm import LanguageModel


@dataclass(frozen=True)
class Engine:
    """A scorer and what the stage has to know of it.

    Arguments:
        scorer: scores trees.
        shared: whether pairs may share a tree; otherwise each tree is one pair.
        device: cpu or cuda.
        peak: FLOP/s of one large matrix product in the same arithmetic, or None where it was not measured.
    """

    scorer: Scorer
    shared: bool
    device: str
    peak: float | None


def engine_for(
    lm: LanguageModel, config: LabelConfig, sample: Sequence[Tree], reporter: Reporter, recipe: Callable[[], Recipe] | None = None
) -> Engine:
    """The scorer of a language model, checked with a sample.

    Arguments:
        lm: the model.
        config: `precision`, `reduction` and `share` decide.
        sample: trees to check the scorer with.
        reporter: told where a model cannot do what is faster.
        recipe: calibrates int8, where that is asked for and possible.

    Raises:
        UsageError: int8 was asked for and there is none for this model or processor.
    """
    scorer, shared = _scorer(lm, config, sample, reporter, recipe)
    return Engine(scorer, shared, lm.device.type, _peak(lm))


def _scorer(
    lm: LanguageModel, config: LabelConfig, sample: Sequence[Tree], reporter: Reporter, recipe: Callable[[], Recipe] | None
) -> tuple[Scorer, bool]:
    from umr.label.causal import CausalScorer
    from umr.label.native.head import take_head
    from umr.label.seq2seq import EncoderDecoderScorer

    if lm.encoder_decoder:
        _refuse_int8(config, lm)
        return take_head(EncoderDecoderScorer(lm, config.reduction, config.share)), config.share
    alone = CausalScorer(lm, config.reduction, share=False)
    native = _native(lm, config, recipe)
    if native is not None and _agrees(native, alone, config, sample, reporter, "our own kernels do not agree with torch here"):
        return native, config.share
    _refuse_int8(config, lm)
    if not config.share:
        return alone, False
    packed, why = take_head(CausalScorer(lm, config.reduction, share=True)), "this model does not score shared passages correctly"
    return (packed, True) if _agrees(packed, alone, config, sample, reporter, why) else (alone, False)


def _agrees(scorer: Scorer, alone: Scorer, config: LabelConfig, sample: Sequence[Tree], reporter: Reporter, why: str) -> bool:
    worst = disagreement(scorer, alone, sample, config.reduction == "sum")
    if worst <= TOLERANCE.get(config.precision, TOLERANCE["bf16"]):
        return True
    detail = f"off by {worst:.3g} nats" if math.isfinite(worst) else "it takes no block mask"
    reporter.warn(f"{why} ({detail}): going on with what is slower and right")
    return False


def _native(lm: LanguageModel, config: LabelConfig, recipe: Callable[[], Recipe] | None) -> Scorer | None:
    """The compiled core's scorer, or None where it does not know the model, the arithmetic or the processor."""
    from umr.label.native import native_scorer

    if lm.device.type != "cpu":
        return None
    return native_scorer(lm, config, recipe)


def _refuse_int8(config: LabelConfig, lm: LanguageModel) -> None:
    if config.precision == "int8":
        raise UsageError(
            f"there are no int8 kernels for a {lm.model.config.model_type} on this {lm.device.type}",
            "use --precision auto, or --weights int8 to save memory",
        )


def _peak(lm: LanguageModel) -> float:
    from umr.models.device import integer_rate, matrix_rate
    from umr.models.lm import DTYPES

    return 1e9 * (integer_rate() if lm.precision == "int8" else matrix_rate(lm.device, DTYPES[lm.precision]))
