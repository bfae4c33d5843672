"""Training steps in a process of their own, timed: umr's, or those of sentence-transformers' cached loss on the same texts.

`python -m benches.parts.training TASK.json` prints the loss of the first step without dropout, and the seconds of a step.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from benches.harness import timed

MINI_BATCHES = (8, 32)  # of the rival, whose best one counts


@dataclass(frozen=True)
class Task:
    """What is trained.

    Arguments:
        engine: umr or sentence-transformers.
        work: a work folder whose round 0 is labelled, all mass on the first candidate.
        precision: fp32 or bf16.
        batch: queries of a step.
        candidates: passages of a query.
        temperature: divides the similarities.
        steps: timed; the median counts.
        threads: of torch.
    """

    engine: str
    work: str
    precision: Any
    batch: int
    candidates: int
    temperature: float
    steps: int
    threads: int


def main() -> None:
    """Load, look at the loss, warm up, time, print."""
    import torch

    task = Task(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    torch.set_num_threads(task.threads)
    loss, seconds = ENGINES[task.engine](task)
    print(json.dumps({"loss": loss, "seconds": seconds}))


def _begun(task: Task, folder: Path, dropout: bool) -> Any:
    import umr
    from umr.data.labels import labels_of
    from umr.encoder.load import load_encoder
    from umr.progress import Silent
    from umr.train.encoders import prepare
    from umr.train.loop import begun

    work = umr.open_workspace(task.work)
    config = umr.TrainConfig(
        epochs=1000, batch_size=task.batch, passages_per_query=task.candidates, duplicates="keep", precision=task.precision,
        student_temperature=task.temperature, held_out=0.0, dropout=dropout,
    )  # fmt: skip
    encoders = prepare(work, load_encoder(work.encoder, reporter=Silent()), config, umr.MineConfig(), Silent())
    return work, begun(encoders, labels_of(work.layout.round(0)), config, {}, folder, Silent())


def _umr(task: Task) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as name:
        _, still = _begun(task, Path(name) / "still", dropout=False)
        with still as training:
            training.train_mode()
            loss = float(training.objective.backward(training.inputs(0)))
        _, timed = _begun(task, Path(name) / "timed", dropout=True)
        with timed as training:
            training.train_mode()
            return loss, _seconds(lambda number: training.step(training.inputs(number)), task.steps)


def _rival(task: Task) -> tuple[float, float]:
    """The loss on the texts of umr's first batch; every step is timed on texts of a batch of umr's."""
    with tempfile.TemporaryDirectory() as name:
        work, begun = _begun(task, Path(name), dropout=False)
        with begun as training:
            batches = [training.inputs(number).batch for number in range(task.steps + 1)]
            s = training.objective.encoders.query.encoder.settings
    columns = []
    for batch in batches:
        first = batch.labels.argmax(axis=1)  # [B] the places of the right passages; the rival has them before the others
        rows = batch.passages.reshape(task.batch, task.candidates).copy()
        for query, place in enumerate(first % task.candidates):
            rows[query, [0, place]] = rows[query, [place, 0]]
        asked = [s.query_prefix + text for text in (work.queries.texts()[row] for row in batch.queries.tolist())]
        columns.append([asked, *([s.passage_prefix + text for _, text in work.passages.texts(column.copy())] for column in rows.T)])
    made = [_cached_loss(task, work.encoder.model, s.passage_length, size, columns) for size in MINI_BATCHES]
    return made[0][0], min(seconds for _, seconds in made)


def _cached_loss(task: Task, name: str, length: int, size: int, columns: list[list[list[str]]]) -> tuple[float, float]:
    import torch

    from umr.models import resolve
    from umr.progress import Silent

    library, models = import_module("sentence_transformers"), import_module("sentence_transformers.models")
    body = models.Transformer(str(resolve(name, Silent())), max_seq_length=length)
    parts = [body, models.Pooling(body.get_word_embedding_dimension(), "mean"), models.Normalize()]
    model = library.SentenceTransformer(modules=parts, device="cpu")
    losses = import_module("sentence_transformers.losses")
    loss = losses.CachedMultipleNegativesRankingLoss(model, scale=1 / task.temperature, mini_batch_size=size)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)

    def value(number: int) -> Any:
        features = [{key: v for key, v in model.tokenize(column).items() if torch.is_tensor(v)} for column in columns[number]]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=task.precision == "bf16"):
            return loss(features, None)

    def step(number: int) -> None:
        value(number).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimiser.step()
        optimiser.zero_grad()

    model.train(False)
    first = float(value(0))
    model.train()
    return first, _seconds(step, task.steps)


def _seconds(step: Callable[[int], object], steps: int) -> float:
    """The median seconds of a step, after one that warms up."""
    numbers = count()
    return timed(lambda: step(next(numbers)), steps)[0]


ENGINES: dict[str, Callable[[Task], tuple[float, float]]] = {"umr": _umr, "sentence-transformers": _rival}


if __name__ == "__main__":
    main()
