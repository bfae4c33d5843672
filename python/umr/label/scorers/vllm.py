"""Causal language models by vLLM, pair by pair: its tensor parallelism splits every layer of a large model over the GPUs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from umr.config import LabelConfig, Precision
from umr.errors import MissingExtraError, ModelError, UsageError
from umr.label.scorers import Scorer
from umr.label.scorers.cost import Cost
from umr.label.scorers.trees import Tree
from umr.models.lm import ROOM, LanguageModel
from umr.sizes import free_memory, total_memory

ENGINE = "vllm-1"  # as umr.label.scorers.ENGINE
TARGET_TOKENS = 1024  # beside the source: vLLM sets memory aside for the longest pair
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


def require_vllm(lm: LanguageModel, device: torch.device) -> None:
    """Refuse what vLLM is not there for, before anything is loaded.

    Raises:
        MissingExtraError: vLLM is not installed.
        UsageError: the model is an encoder-decoder, or one GPU of several is named.
    """
    if find_spec("vllm") is None:
        raise MissingExtraError("engine is vllm, but vLLM is not installed", "pip install 'umr[vllm]', or leave engine out")
    if lm.encoder_decoder:
        raise UsageError(f"engine is vllm, but {lm.name} is an encoder-decoder, which vLLM does not score", "leave engine out")
    if device.index is not None:
        hint = "start one process without cuda:N and --workers, or leave engine out"
        raise UsageError(f"engine is vllm, which takes all GPUs of a machine, but this process has {device} alone", hint)


class VllmScorer(Scorer):
    """Scores with vLLM; see `umr.label.scorers.Scorer`. Prefix caching is off: with it, vLLM gives no likelihoods of what it kept.

    Arguments:
        lm: the model, found and not loaded.
        precision: of its weights and products.
        config: `reduction`, and `source_length` for the longest pair.
        cost: of the model.
        device: cpu, or cuda for all GPUs that the process sees.

    Raises:
        ModelError: vLLM does not take the model.
    """

    share = False

    def __init__(self, lm: LanguageModel, precision: Precision, config: LabelConfig, cost: Cost, device: torch.device) -> None:
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        from vllm import LLM, SamplingParams  # type: ignore[import-not-found]

        self.reduction, self.cost = config.reduction, cost
        self.longest = min(lm.context or config.source_length + TARGET_TOKENS, config.source_length + TARGET_TOKENS) - 1
        self._wanted = SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False)
        room = ROOM * free_memory(str(device)) / total_memory(str(device))  # of a processor's memory too, whatever vLLM calls it
        try:
            self._llm = LLM(
                model=lm.folder, skip_tokenizer_init=True, dtype=DTYPES[precision], max_model_len=self.longest + 1,
                tensor_parallel_size=torch.cuda.device_count() if device.type == "cuda" else 1,
                gpu_memory_utilization=room, enable_prefix_caching=False,
            )  # fmt: skip
        except (AssertionError, OSError, RuntimeError, ValueError) as error:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(f"vLLM does not load {lm.name}: {said}", "leave engine out") from error

    @property
    def bytes_per_token(self) -> int:
        """Next to nothing: vLLM has set its memory aside already, and queues what does not fit."""
        return 1

    def score(self, trees: Sequence[Tree]) -> NDArray[np.float32]:
        """Score one batch.

        Arguments:
            trees: of one pair each.

        Returns:
            [m] float32 nats, in order of trees.

        Raises:
            UsageError: a pair is longer than vLLM was told.
        """
        pairs = [(tree.trunk + branch.ids, branch.targets) for tree in trees for branch in tree.branches]
        longest = max((len(ids) for ids, _ in pairs), default=0)
        if longest > self.longest:
            hint = "lower source_length under [label] of a run file (--config), or leave engine out"
            raise UsageError(f"a pair has {longest:,} tokens, and vLLM was told of {self.longest:,} at most", hint)
        found = self._llm.generate([{"prompt_token_ids": ids} for ids, _ in pairs], self._wanted, use_tqdm=False)
        return np.array([self._reduced(out, *pair) for out, pair in zip(found, pairs, strict=True)], dtype=np.float32)

    def _reduced(self, out: Any, ids: list[int], targets: int) -> float:
        """The score of one pair: of each of its last tokens vLLM has the log-probability by the token's number."""
        logp = np.array([given[token].logprob for given, token in zip(out.prompt_logprobs[-targets:], ids[-targets:], strict=True)])
        return float(logp.mean() if self.reduction == "mean" else logp.sum())
