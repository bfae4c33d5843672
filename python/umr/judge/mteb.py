"""An encoder as mteb takes it: prefixes of each side, and vectors centred as the encoder was trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umr._rust import fingerprint
from umr.encoder.encoder import DualEncoder
from umr.encoder.load import load_encoder
from umr.encoder.rows import Side
from umr.errors import InputError, MissingExtraError
from umr.languages import identify
from umr.manifest import digest
from umr.models.device import pick_device
from umr.progress import Reporting, reporter_of

Vectors = NDArray[np.float32]


class ForMteb:
    """mteb's `EncoderProtocol` over an encoder of umr.

    Arguments:
        encoder: whose vectors are measured.
        name: under which mteb keeps the results.
    """

    def __init__(self, encoder: DualEncoder, name: str) -> None:
        self.encoder, self.name = encoder, name

    @property
    def revision(self) -> str:
        """All that decides a vector, as one name: mteb reads results of the same name and revision again."""
        means, sides = self.encoder.means, (self.encoder.query, self.encoder.passage)
        tables = (means.queries.table, means.passages.table, means.whitening) if means else ()
        made_of = [fingerprint(table.tobytes().hex()) for table in tables if table is not None]
        return digest(
            {"sides": [[one.fingerprint, repr(one.settings)] for one in sides], "means": made_of, "centre": means and means.centre}
        )[:40]

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb records of the model."""
        from mteb.models.model_meta import ModelMeta, ScoringFunction

        cosine = self.encoder.query.settings.similarity == "cosine"
        unknown: dict[str, Any] = dict.fromkeys(
            ("loader", "release_date", "languages", "n_parameters", "memory_usage_mb", "license", "open_weights", "public_training_code",
             "public_training_data", "training_datasets"),
        )  # fmt: skip
        return ModelMeta(
            **unknown, name=f"umr/{self.name}", revision=self.revision, framework=["PyTorch"],
            max_tokens=float(self.encoder.passage.settings.passage_length), embed_dim=self.encoder.query.dimensions,
            similarity_fn_name=ScoringFunction.COSINE if cosine else ScoringFunction.DOT_PRODUCT,
            use_instructions=bool(self.encoder.query.settings.query_prefix),
        )  # fmt: skip

    def encode(
        self, inputs: Iterable[Any], *, task_metadata: Any, hf_split: str, hf_subset: str, prompt_type: Any = None, **kwargs: Any
    ) -> Vectors:
        """Vectors of the texts of batches; what mteb calls a document is a passage, everything else a query."""
        side: Side = "passage" if getattr(prompt_type, "value", prompt_type) == "document" else "query"
        texts = [text for batch in inputs for text in batch["text"]]
        vectors = self.encoder.encode(texts, side)
        means = self.encoder.means
        if means is None:
            return vectors
        langs = self._langs(texts, task_metadata, hf_subset) if means.centre == "language" else [""] * len(texts)
        return means.apply(vectors, side, means.side(side).groups(langs))

    def _langs(self, texts: Sequence[str], metadata: Any, subset: str) -> list[str]:
        """The languages of texts: that of the subset where it has one, else identified."""
        from babel.core import get_global

        spoken = {code.split("-")[0] for code in metadata.hf_subsets_to_langscripts.get(subset, ())}
        if len(spoken) != 1:
            return identify([text[:1000] for text in texts])
        code = spoken.pop()
        return [get_global("language_aliases").get(code, code)] * len(texts)

    def similarity(self, one: Any, other: Any) -> Any:
        """[m, n] inner products or cosines."""
        from sentence_transformers.util import cos_sim, dot_score

        return (cos_sim if self.encoder.query.settings.similarity == "cosine" else dot_score)(one, other)

    def similarity_pairwise(self, one: Any, other: Any) -> Any:
        """[m] the same of pairs."""
        from sentence_transformers.util import pairwise_cos_sim, pairwise_dot_score

        return (pairwise_cos_sim if self.encoder.query.settings.similarity == "cosine" else pairwise_dot_score)(one, other)


def evaluate_mteb(name: str, tasks: Sequence[Any], folder: Path, device: str = "auto", reporter: Reporting = None) -> dict[str, float]:
    """Measure an encoder on tasks of mteb; its result files are kept.

    Arguments:
        name: an encoder: a folder, a hub id or one of `umr models`.
        tasks: names of mteb, or its task objects.
        folder: of mteb's results.
        device: auto, cpu, cuda or cuda:N.
        reporter: told what was found.

    Returns:
        task -> its main score, 0 to 1.

    Raises:
        MissingExtraError: mteb is not installed.
        InputError: it knows no such task.
    """
    try:
        import mteb
        from mteb.cache import ResultCache
    except ImportError as error:
        raise MissingExtraError("--mteb needs mteb, which is not installed", "pip install 'umr[mteb]'") from error
    reporter = reporter_of(reporter)
    try:
        chosen = [mteb.get_task(task) if isinstance(task, str) else task for task in tasks]
    except KeyError as error:
        raise InputError(f"mteb has no such task: {error}", "its documentation lists them") from None
    model = ForMteb(load_encoder(name, pick_device(device), reporter), Path(name).name)
    result = mteb.evaluate(model, chosen, cache=ResultCache(folder), co2_tracker=False, show_progress_bar=False)
    reporter.say(f"results of mteb: {folder}")
    return {one.task_name: float(one.get_score()) for one in result.task_results}
