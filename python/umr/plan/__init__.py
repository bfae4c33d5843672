"""`umr plan`: tokens, operations, memory, disk, hours and money of a run that does not exist yet, by arithmetic alone (docs/scale.md).

Operations are 2 a weight and token forward, and twice that backward (Kaplan et al. 2020, arXiv 2001.08361, section 2.1). How much of
a GPU's peak a stage reaches is an assumption, stated in `SHARES`; tokens a second that were measured take its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import expm1

from umr.errors import UsageError

PEAKS = {"H200": (989e12, 141e9), "H100": (989e12, 80e9), "A100": (312e12, 80e9), "L40S": (362e12, 48e9), "A10G": (70e12, 24e9),
         "L4": (121e12, 24e9), "4090": (165e12, 24e9), "V100": (112e12, 32e9), "T4": (65e12, 16e9)}  # fmt: skip
"""Operations a second in bf16 (V100 and T4: fp16) without sparsity, and bytes, by the makers' data sheets."""
SHARES = {"encode": 0.13, "search": 0.3, "label": 0.25, "train": 0.05}
"""Of the peak. On an H200, with an encoder of 72 million weights, encoding reached 13 % and training 5 %; labelling 24 %, a prototype of a
model of 4 billion weights. That of the search is a guess."""
STEP_TOKENS = 131_072  # of a forward pass, for working memory
SCORE_BYTES, CANDIDATE_BYTES = 40, 16


@dataclass(frozen=True)
class Machines:
    """What a run is computed on.

    Arguments:
        count: GPUs, or processes of which the rates are known.
        kind: a key of `PEAKS`, or any name where all rates are measured.
        price: of one for an hour.
        measured: stage -> tokens a second of one.
    """

    count: int
    kind: str
    price: float = 0.0
    measured: Mapping[str, float] = field(default_factory=dict)

    def seconds(self, stage: str, tokens: float, operations: float) -> float:
        """Of a stage on all of them."""
        if stage in self.measured:
            return tokens / self.measured[stage] / self.count
        if self.kind not in PEAKS:
            raise UsageError(
                f"how fast {self.kind!r} does {stage} is not known",
                f"known: {', '.join(PEAKS)}; or measure it (--dry-run) and give --rate {stage}=TOKENS_A_SECOND",
            )
        return operations / (SHARES[stage] * PEAKS[self.kind][0]) / self.count


@dataclass(frozen=True)
class Stage:
    """What a stage of one round takes.

    Arguments:
        tokens: that go through a model; products of two vectors for the search.
        operations: floating-point, or of 8-bit integers for the search.
        memory: bytes of one GPU.
        disk: bytes that it leaves.
        seconds: on all machines.
        money: in the currency of the price.
    """

    tokens: float
    operations: float
    memory: float
    disk: float
    seconds: float
    money: float


@dataclass(frozen=True)
class Sizes:
    """A run in numbers.

    Arguments:
        passages, queries: how many.
        lm, encoder: weights of the language model and of one side of the encoder, without embeddings.
        passage_tokens, query_tokens: of one text with its prompt, on average.
        dimensions: of a vector.
        value_bytes: of a stored value: 4 for f32, 2 for f16.
        top_k: candidates of a query.
        epochs: of training.
        drawn: candidates of a query in a step.
    """

    passages: int
    queries: int
    lm: float
    encoder: float
    passage_tokens: float = 150
    query_tokens: float = 20
    dimensions: int = 768
    value_bytes: int = 4
    top_k: int = 100
    epochs: int = 10
    drawn: int = 16

    @property
    def pairs(self) -> int:
        """To label in a round."""
        return self.queries * min(self.top_k, self.passages)

    @property
    def labelled_passages(self) -> float:
        """Different ones among the candidates, if queries found passages by chance; real ones share more."""
        return -self.passages * expm1(-self.pairs / self.passages)

    def stages(self, machines: Machines) -> dict[str, Stage]:
        """Every stage of a round.

        Arguments:
            machines: that it runs on.
        """
        n, d = self.passages, self.dimensions
        encoded = n * self.passage_tokens + self.queries * self.query_tokens
        scored = self.labelled_passages * self.passage_tokens + self.pairs * self.query_tokens
        trained = self.epochs * self.queries * (self.query_tokens + self.drawn * self.passage_tokens)
        work = STEP_TOKENS * 40  # bytes of states for each number of a vector
        vectors, copies = (n + self.queries) * d * self.value_bytes, n * (d + 16)
        lists, width = self.pairs * CANDIDATE_BYTES, (self.lm / 12) ** (1 / 3)  # of a hidden state, about
        parts = {
            "encode": (encoded, 2 * self.encoder * encoded, 2 * self.encoder + work * d, vectors + 4 * encoded),
            "search": (n * self.queries, 2.0 * n * d * self.queries, 4 * self.queries * (d + 2 * self.top_k), copies + lists),
            "label": (scored, 2 * self.lm * scored, 2 * self.lm + work * width, self.pairs * SCORE_BYTES + lists),
            "train": (trained, 8 * self.encoder * trained, 32 * self.encoder + work * d, 40 * self.encoder),
        }
        return {name: self._stage(name, machines, *values) for name, values in parts.items()}

    @staticmethod
    def _stage(name: str, machines: Machines, tokens: float, operations: float, memory: float, disk: float) -> Stage:
        seconds = machines.seconds(name, tokens, operations)
        return Stage(tokens, operations, memory, disk, seconds, seconds / 3600 * machines.count * machines.price)


def number_of(text: str, name: str) -> float:
    """The number that people write: `44000000`, `44M`, `3.7B`.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"([0-9][0-9_,]*(?:\.[0-9]+)?) ?([kKmMbBT]?)", text.strip())
    if not found:
        raise UsageError(f"{name} is {text!r}, expected a number", "write 44000000, 44M or 3.7B")
    return float(re.sub("[_,]", "", found[1])) * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}[found[2].lower()]


def machines_of(text: str, price: float, rates: Mapping[str, float]) -> Machines:
    """Machines as people write them: `8xH100`.

    Raises:
        UsageError: it has another form.
    """
    found = re.fullmatch(r"(?:([1-9][0-9]*) ?x ?)?([\w.-]+)", text.strip())
    if not found:
        raise UsageError(f"GPUs are {text!r}, expected a number and a kind", "write 8xH100")
    return Machines(int(found[1] or 1), found[2].upper() if found[2].upper() in PEAKS else found[2], price, rates)
