"""The settings of the paper's own runs, each with the option of the reference's README that it comes from (MiuLab/UMR)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from umr.errors import UsageError

Preset = Literal["xor-retrieve", "xor-full"]
Said = Mapping[str, tuple[Any, str]]  # field -> value and where it comes from

FILES: Mapping[str, tuple[str, str]] = {  # passages and queries, as the README names the downloads
    "xor-retrieve": ("data/enwiki_20190201_w100.tsv", "data/xor_train_retrieve_eng_span.jsonl"),
    "xor-full": ("data/all_w100.tsv", "data/xor_train_full.jsonl"),
}
STAGES: Mapping[str, Said] = {
    "encoder": {
        "model": ("facebook/mcontriever", "--pretrained_model_cfg"),
        "pooling": ("mean", "hf_models.py, for Contriever"),
        "similarity": ("dot", "biencoder.py"),
        "title": ("pair", "hf_models.py: the tokenizer's pair of title and text"),
        "query_length": (256, "--sequence_length"),
        "passage_length": (256, "--sequence_length"),
    },
    "mine": {"top_k": (100, "--n-docs")},
    "label": {
        "lm": ("chaoweihuang/mt5-xl-lm-adapt", "--hf-model-name"),
        "temperature": (0.1, "--temperature 10, which multiplies"),
        "fuse": (0.0, "likelihoods alone"),
        "source_length": (512, "upr-multi.py"),
    },
    "train": {
        "epochs": (10, "--num_train_epochs"),
        "batch_size": (16, "--batch_size"),
        "passages_per_query": (16, "--num_contexts"),
        "learning_rate": (2e-5, "--learning_rate"),
        "student_temperature": (1.0, "biencoder.py: the inner products as they are"),
        "untie": (True, "two encoders from one checkpoint"),
        "objective": ("kl", "BiEncoderInBatchKLLoss"),
        "negatives": ("in-batch", "--inbatch_negative"),
        "duplicates": ("keep", "passages drawn twice stand twice"),
        "warmup": (0.13, "--warmup_steps 1237 of 9,531: 15,250 queries, 16 a step, 10 epochs"),
        "clip": (2.0, "--max_grad_norm"),
        "evaluations": (4, "--eval_per_epoch"),
        "seed": (12345, "--seed"),
    },
}


def preset(name: str) -> dict[str, Said]:
    """The settings of a preset; "" is those of the whole run.

    Arguments:
        name: `xor-retrieve` or `xor-full`.

    Raises:
        UsageError: there is no such preset.
    """
    if name not in FILES:
        raise UsageError(f"there is no preset {name!r}", f"choose one of {', '.join(get_args(Preset))}")
    passages, queries = FILES[name]
    return {"": {"passages": ([passages], "Collection"), "queries": ([queries], "Train data")}, **STAGES}
