"""What a user can set, stage by stage: every field with its default, its unit and where the value comes from.

The command line takes its help texts from here, so that an option is described once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from umr.errors import UsageError
from umr.sizes import bytes_of

Pooling = Literal["mean", "cls", "last"]
Similarity = Literal["dot", "cosine"]
Title = Literal["text", "pair", "none"]
Precision = Literal["auto", "fp32", "bf16"]
StoredPrecision = Literal["f32", "f16"]
Weights = Literal["native", "int8", "int4"]
Correction = Literal["none", "average"]
Reduction = Literal["mean", "sum"]
Negatives = Literal["in-batch", "own"]
Duplicates = Literal["merge", "keep"]
Freeze = Literal["none", "passages", "queries"]
Keep = Literal["best", "last"]
Centre = Literal["off", "global", "language"]
Index = Literal["exact", "hnsw"]
Collapse = Literal["off", "exact", "near"]


def setting(default: Any, help: str) -> Any:
    """A dataclass field with its description, which is also the help text of its option."""
    if isinstance(default, type(dataclasses.MISSING)):
        return field(metadata={"help": help})
    return field(default=default, metadata={"help": help})


REQUIRED = dataclasses.MISSING


@dataclass(frozen=True)
class EncoderConfig:
    """A dual encoder as the user names it. What is None is found from the model itself and said, never guessed."""

    model: str = setting(
        REQUIRED,
        "Encoder of the queries, and of the passages too unless --passage-encoder is given: a folder, a hub id, or pypi:NAME.",
    )
    passage_model: str | None = setting(None, "A second, untied encoder for the passages.")
    pooling: Pooling | None = setting(None, "How token vectors become one: mean, cls or last. (default: what the model was trained with)")
    similarity: Similarity | None = setting(None, "dot or cosine. (default: what the model was trained with)")
    query_prefix: str | None = setting(None, "Put before every query. (default: the model's own)")
    passage_prefix: str | None = setting(None, "Put before every passage. (default: the model's own)")
    title: Title | None = setting(
        None, "How a title enters: text (before the text), pair (first segment) or none. (default: the model's own)"
    )
    query_length: int | None = setting(None, "Longest query, in tokens; the rest is cut. (default: the model's limit, at most 512)")
    passage_length: int | None = setting(None, "Longest passage, in tokens; the rest is cut. (default: the model's limit, at most 512)")
    strip_question_mark: bool = setting(
        False, "Drop one trailing '?' of a query, in training and retrieval alike (the paper's code: in training only)."
    )


@dataclass(frozen=True)
class MineConfig:
    """The first stage: encode, and find the top-k candidate passages of every query (paper, section 3.1)."""

    top_k: int = setting(100, "Candidate passages a query. The paper: 100.")
    precision: Precision = setting("fp32", "Arithmetic of the encoder: fp32, bf16, or auto (the faster one here, measured).")
    store: StoredPrecision = setting("f32", "Embeddings on disk: f32, or f16 for half of the size.")
    batch_tokens: int = setting(16384, "Padded tokens in one forward pass of the encoder.")
    shard_rows: int = setting(262144, "Passages in one shard of embeddings, the unit of restart.")
    threads: int = setting(0, "Threads of the search; 0 takes all. The exact result does not depend on it.")
    memory: str | None = setting(
        None, "Memory of the exact search with its queries and results (on a GPU: its own), such as 8GB. (default: 1 GiB beside them)"
    )
    device: str = setting("auto", "auto, cpu, cuda or cuda:N.")
    index: Index = setting(
        "exact", "exact, or hnsw: approximate, over an index that is built once and kept; its recall is measured and said."
    )
    centre: Centre = setting(
        "off",
        "Subtract means from passages and queries, and normalise again: global, one mean each; language, one a language "
        "(the strongest step without training, for retrieval across languages); off.",
    )
    also_encoder: tuple[str, ...] = setting((), "Further encoders to mine with; named one by one.")
    bm25: bool = setting(False, "Mine with BM25 too (needs the extra `bm25`): lexical matches, also where no encoder knows the language.")
    run: tuple[str, ...] = setting((), "TREC runs from elsewhere, whose passages are candidates too; named one by one.")
    per_language: int = setting(0, "At least so many candidates from every passage language; 0 leaves it to the scores.")
    min_score: float | None = setting(None, "Drop candidates whose retriever score is lower. (default: none is dropped)")
    margin: float | None = setting(
        None, "Drop candidates whose retriever score is lower than the best one's by more. (default: none is dropped)"
    )
    first_rank: int = setting(1, "Take the candidates from this rank on; better ones are left out.")
    collapse: Collapse = setting(
        "off", "Keep one of passages that say the same: exact (same text), or near (nearly the same); off keeps all."
    )
    exclude_source: bool = setting(False, "Leave out the passage that a query was made from (its record's `source`, a passage id).")

    def __post_init__(self) -> None:
        _positive(self, "top_k", "batch_tokens", "shard_rows", "first_rank")
        if self.per_language < 0:
            raise UsageError(f"per_language is {self.per_language}, expected at least 0")
        if self.memory is not None:
            bytes_of(self.memory, "memory")
        for name in ("min_score", "margin"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise UsageError(f"{name} is {value}, expected a finite number")
        if self.margin is not None and self.margin < 0:
            raise UsageError(f"margin is {self.margin}, expected at least 0")
        _names(self, also_encoder="names of encoders", run="paths of TREC runs")


@dataclass(frozen=True)
class LabelConfig:
    """The second stage: log p(query | passage, prompt) by a language model (paper, section 3.2)."""

    lm: str = setting(REQUIRED, "Language model: a folder, a hub id, a .gguf file or pypi:NAME; causal or encoder-decoder.")
    template: str | None = setting(
        None,
        "Prompt with {title}, {text} and {language}. (default: the paper's for encoder-decoders, the README's for causal models)",
    )
    target: str | None = setting(
        None,
        "What is scored, with {query}. (default: 'Question: {query}' for encoder-decoders, ' {query}' for causal models)",
    )
    reduction: Reduction = setting("mean", "mean (UMR) or sum (UPR) of the log-probabilities of the target tokens.")
    source_length: int = setting(512, "Longest prompt with its passage, in tokens; only the passage is ever cut. The paper: 512.")
    precision: Precision = setting(
        "auto", "Products in fp32 or bf16, or auto: the one in which a few pairs of this work are scored faster here."
    )
    weights: Weights = setting(
        "native", "Keep the language model's weights as they are, or in int8 or int4 (for models larger than memory)."
    )
    chat: bool = setting(False, "Wrap the prompt in the model's own chat template; off, a chat model continues plain text.")
    memory: str | None = setting(None, "Working memory of labelling, such as 8GB. (default: most of what is free)")
    pack_tokens: int | None = setting(None, "Tokens in one forward pass of the language model. (default: from --memory)")
    fuse: float = setting(
        0.0, "Weight of the retriever's z-scored score beside the likelihood's 1 in the labels; 0 takes the likelihood alone."
    )
    correct: Correction = setting(
        "none", "Taken out of the scores: average, what the languages of question and passage alone do (against same-language bias)."
    )
    also: tuple[str, ...] = setting(
        (), "Further language models, whose scores are averaged with the first's (z-scored for each query); named one by one."
    )
    screen: int | None = setting(None, "Score at most so many candidates a query, the retriever's best first. (default: all)")
    store: str | None = setting(None, "Folder of the score stores; work folders that share it share scores. (default: WORK/scores)")
    temperature: float = setting(0.1, "Scores are divided by it before the softmax. The paper's code multiplies by 10: 0.1.")
    share: bool = setting(True, "Run a passage once for all the queries that mined it; off scores whole pairs one by one.")
    device: str = setting("auto", "auto, cpu, cuda or cuda:N.")

    def __post_init__(self) -> None:
        _positive(self, "source_length", "temperature", *(n for n in ("pack_tokens", "screen") if getattr(self, n) is not None))
        if not 0 <= self.fuse < math.inf:
            raise UsageError(f"fuse is {self.fuse}, expected a finite weight of at least 0")
        if self.memory is not None:
            bytes_of(self.memory, "memory")
        _names(self, also="names of language models")
        twice = [name for at, name in enumerate(self.also) if name in (self.lm, *self.also[:at])]
        if twice:
            raise UsageError(f"the language model {twice[0]!r} is named twice", "name each language model once, in lm or in also")


@dataclass(frozen=True)
class TrainConfig:
    """The third stage: distil the labels into the encoder (paper, section 3.3; reference `BiEncoderInBatchKLLoss`)."""

    epochs: int = setting(10, "Passes over the queries. The paper: 10.")
    batch_size: int = setting(16, "Queries in one step. The paper: 16 a GPU.")
    passages_per_query: int = setting(16, "Candidates drawn for each query in each step. The paper: 16.")
    learning_rate: float = setting(2e-5, "Peak learning rate of AdamW. The paper: 2e-5.")
    weight_decay: float = setting(0.0, "Weight decay of AdamW, on weight matrices only.")
    warmup: float = setting(0.1, "Share of the steps in which the learning rate rises from 0; then it falls linearly to 0.")
    clip: float = setting(2.0, "Largest norm of the gradient; a larger one is scaled down. The paper: 2.0.")
    student_temperature: float | None = setting(
        None, "Similarities are divided by it. (default: 1 for dot as in the paper, 0.02 for cosine)"
    )
    negatives: Negatives = setting("in-batch", "in-batch: softmax over all passages of the batch; own: over the query's own alone.")
    duplicates: Duplicates = setting(
        "merge",
        "merge: a passage counts once a batch, with its label wherever it has one; keep: as in the paper's code.",
    )
    freeze: Freeze = setting("none", "Leave the passage encoder or the query encoder as it is; the other one is trained.")
    untie: bool = setting(False, "Train two encoders started from the same weights, as the paper does.")
    dropout: bool = setting(True, "Use the model's own dropout while training.")
    chunk_tokens: int = setting(8192, "Padded tokens encoded at once; GradCache keeps the gradients those of the whole batch.")
    precision: Precision = setting("fp32", "fp32, bf16 autocast, or auto (the faster one here, measured).")
    held_out: float = setting(0.05, "Share of the queries kept for the validation loss (labels only, no gold).")
    evaluations: int = setting(4, "Validations an epoch. The paper: 4.")
    keep: Keep = setting("best", "Which weights are saved: those of the best validation loss, or the last.")
    seed: int = setting(0, "Seed of the order, the drawn candidates and the dropout.")
    device: str = setting("auto", "auto, cpu, cuda or cuda:N.")

    def __post_init__(self) -> None:
        _positive(self, "epochs", "batch_size", "passages_per_query", "learning_rate", "clip", "chunk_tokens", "evaluations")
        if self.student_temperature is not None:
            _positive(self, "student_temperature")
        for name in ("warmup", "held_out"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, expected a share from 0 to below 1")


Config = TypeVar("Config", EncoderConfig, MineConfig, LabelConfig, TrainConfig)


def help_of(config: type, name: str) -> str:
    """The description of a field, for the command line."""
    return str({f.name: f for f in dataclasses.fields(config)}[name].metadata["help"])


def from_mapping(config: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """Make a configuration from a table of a TOML file, refusing unknown keys and wrong types.

    Arguments:
        config: the dataclass.
        values: keys with `-` or `_`.
        where: file and table, for the message.

    Raises:
        UsageError: an unknown key, a missing one, a value of the wrong type or not among the choices.
    """
    values = {key.replace("-", "_"): value for key, value in values.items()}
    types = get_type_hints(config)
    for key, value in values.items():
        if key not in types:
            raise UsageError(f"{where}: unknown key {key!r}", f"known keys: {', '.join(types)}")
        values[key] = _checked(value, types[key], f"{where}: {key}")
    missing = [f.name for f in dataclasses.fields(config) if f.default is REQUIRED and f.name not in values]
    if missing:
        raise UsageError(f"{where}: missing key {missing[0]!r}", f"add {missing[0]} = ...")
    return config(**values)


def _checked(value: Any, kind: Any, where: str) -> Any:
    if get_origin(kind) is tuple:
        if isinstance(value, list | tuple) and all(isinstance(item, str) and item for item in value):
            return tuple(value)
        raise UsageError(f"{where} is {value!r}, expected a list of strings")
    options = [o for o in get_args(kind) if o is not type(None)] or [kind]
    for option in options:
        if get_args(option) and value in get_args(option):
            return value
        if option is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if (isinstance(option, type) and type(value) is option) or option == value:
            return value
    expected = " or ".join(", ".join(map(str, get_args(o))) or getattr(o, "__name__", str(o)) for o in options)
    raise UsageError(f"{where} is {value!r}, expected {expected}")


def _positive(config: object, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise UsageError(f"{name} is {getattr(config, name)}, expected more than 0")


def _names(config: object, **fields: str) -> None:
    for name, what in fields.items():
        value = getattr(config, name)
        if not isinstance(value, tuple) or not all(isinstance(item, str) and item for item in value):
            raise UsageError(f"{name} is {value!r}, expected a tuple of {what}", f'write {name}=("...",)')
