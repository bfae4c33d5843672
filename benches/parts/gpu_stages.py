"""Rows of benches/gpu.py that need a work folder: training, search, and what --dry-run says of a whole round."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benches.parts.given import write_labels
from benches.parts.gpu_shapes import Shapes, causal, encoder_folder, tokenizer
from benches.parts.inputs import passages, queries, write_jsonl
from umr.progress import Silent

if TYPE_CHECKING:
    from umr import EncoderConfig, Workspace

Row = dict[str, Any]


class Times(Silent):
    """A reporter that keeps the seconds of every bar, by what it shows."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def bar(self, what: str, total: float, unit: str) -> Iterator[Any]:
        """See `Reporter.bar`."""
        start = time.perf_counter()
        with super().bar(what, total, unit) as bar:
            yield bar
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - start


def work_folder(shapes: Shapes, folder: Path) -> tuple[Workspace, EncoderConfig]:
    """A work folder on train-small with a random encoder."""
    import umr

    config = umr.EncoderConfig(
        model=str(encoder_folder(shapes, folder / "encoder")),
        pooling="mean",
        similarity="cosine",
        query_length=shapes.length,
        passage_length=shapes.length,
    )
    corpus = write_jsonl(folder / "passages.jsonl", passages("train-small")[: shapes.round])
    asked = write_jsonl(folder / "queries.jsonl", islice(queries("train-small"), shapes.round))
    return umr.create_workspace(folder / "work", corpus, asked, config), config


def labelled(work: Workspace, top_k: int) -> None:
    """Mine a round and label it with random scores."""
    import umr

    shape = umr.mine(work, umr.MineConfig(top_k=top_k, precision="bf16")).rows.shape
    write_labels(work, np.random.default_rng(0).normal(-2, 0.2, shape).astype(np.float32), 0.1)


def train(shapes: Shapes) -> Row:
    """Steps of training."""
    import umr
    from benches.parts.gpu_rows import MISSING, busy, device, idle, timed
    from umr.data.labels import labels_of
    from umr.encoder.load import load_encoder
    from umr.models.feeding import prefetch
    from umr.train.encoders import prepare
    from umr.train.loop import begun

    with tempfile.TemporaryDirectory() as name:
        work, encoder = work_folder(shapes, Path(name))
        labelled(work, 16)
        config = umr.TrainConfig(batch_size=shapes.batch, passages_per_query=16, duplicates="keep", precision="bf16", held_out=0.0)
        mining = umr.MineConfig(top_k=16, precision="bf16")
        encoders = prepare(work, load_encoder(encoder, device(), Silent()), config, mining, Silent())
        with begun(encoders, labels_of(work.layout.round(0)), config, {}, Path(name) / "training", Silent()) as training:
            training.train_mode()
            found: Row = {}

            def steps() -> None:
                numbers = (number % training.total for number in range(shapes.steps))
                for batch in prefetch(map(training.inputs, numbers), device()):
                    training.step(batch)

            with busy(found):
                seconds, _ = timed(steps)
            batch = training.inputs(0).batch
        row: Row = {"ours": shapes.steps / seconds, "unit": "steps/s", **found}
        if find_spec("sentence_transformers") is None:
            return row | {"targets": idle(found), "problem": MISSING}
        texts = [work.queries.texts()[row] for row in batch.queries.tolist()]
        others = [text for _, text in work.passages.texts(batch.passages)]
        theirs = 1 / cached_loss_seconds(Path(name) / "encoder", shapes.length, texts, others)
    row |= {"rival": theirs, "x rival": row["ours"] / theirs}
    return row | {"targets": [("times sentence-transformers", row["x rival"], 1.5, True), *idle(found)]}


def cached_loss_seconds(folder: Path, length: int, asked: list[str], candidates: list[str]) -> float:
    """Seconds of one step of sentence-transformers' cached loss on the same texts, its optimiser included, at its best mini-batch."""
    import torch

    from benches.parts.gpu_rows import device, peer, timed

    model, losses = peer(folder, length).train(), import_module("sentence_transformers.losses")
    each = len(candidates) // len(asked)
    columns = [asked, *([candidates[n * each + k] for n in range(len(asked))] for k in range(each))]
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)
    found = []
    for size in (32, 128):
        loss: Any = losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=size)

        def step(loss: Any = loss) -> None:
            made = [model.tokenize(column) for column in columns]
            features = [{key: value.to(device()) for key, value in one.items() if torch.is_tensor(value)} for one in made]
            with torch.autocast(device().type, dtype=torch.bfloat16):
                value = loss(features, None)
            value.backward()
            optimiser.step()
            optimiser.zero_grad()

        found.append(timed(step)[0])
    return min(found)


def search(shapes: Shapes) -> Row:
    """Exact top 100 from files."""
    import torch

    from benches.parts.gpu_rows import busy, device, idle, timed
    from umr.data.embeddings import Embeddings
    from umr.search.gpu import top_k_on

    n, d, q = shapes.search
    draw = torch.Generator(device()).manual_seed(0)

    def vectors(count: int) -> Any:
        return torch.nn.functional.normalize(torch.randn(count, d, generator=draw, device=device()), dim=1).cpu().numpy()

    with tempfile.TemporaryDirectory() as name, Silent().bar("", 0, "") as bar:
        store = Embeddings(Path(name), {}, n, d, "f16", 262144)
        store.fill(lambda rows: vectors(len(rows)), bar)
        asked = vectors(q)
        found: Row = {}
        with busy(found):
            seconds, lists = timed(lambda: top_k_on(device(), asked, store, 100))

        def brute() -> Any:
            best, at = torch.empty(q, 0, device=device()), torch.empty(q, 0, dtype=torch.long, device=device())
            own = torch.from_numpy(asked).to(device())
            for path, offset, rows in store.mapped():
                shard = np.memmap(path, np.float16, "r", offset, (rows, d))
                for first in range(0, rows, 131072):
                    part = torch.from_numpy(np.array(shard[first : first + 131072])).to(device()).float()
                    scores, places = (own @ part.T).topk(min(100, len(part)), dim=1)
                    start = int(Path(path).stem.split("-")[1]) * store.shard_rows + first
                    best, order = torch.cat([best, scores], 1).topk(100, dim=1)
                    at = torch.cat([at, places + start], 1).gather(1, order)
            return best.cpu().numpy()

        rival, best = timed(brute)
        off = float(np.abs(np.sort(lists.scores) - np.sort(best)).max())
    row = {"ours": q / seconds, "unit": "queries/s", "rival": q / rival, "x rival": rival / seconds, "off": off, **found}
    return row | {"targets": [("scores off by", off, 1e-4, False), *idle(found)]}


def forecast(shapes: Shapes) -> Row:
    """What --dry-run says of each stage, and what it takes; the largest error, as a share."""
    import umr
    from benches.parts.gpu_rows import device

    with tempfile.TemporaryDirectory() as name:
        work, _ = work_folder(shapes, Path(name))
        model = causal(shapes, "270m", device())
        model.save_pretrained(Path(name) / "lm")
        del model
        tokenizer(shapes.causal["270m"]["vocab_size"]).save_pretrained(Path(name) / "lm")
        mining, training = umr.MineConfig(top_k=16, precision="bf16"), umr.TrainConfig(epochs=4, precision="bf16")
        labelling, told, took = umr.LabelConfig(lm=str(Path(name) / "lm"), precision="bf16"), {}, {}
        told["encode"], times = umr.forecast_mining(work, mining).encoding, Times()
        umr.mine(work, mining, reporter=times)
        took["encode"] = times.seconds["encoding passage texts"] + times.seconds["encoding query texts"]
        told["label"], times = umr.forecast_labels(work, labelling)[0].seconds or 0.0, Times()
        umr.label(work, labelling, reporter=times)
        took["label"] = times.seconds["labelling"]
        told["train"], times = umr.forecast_training(work, training).seconds, Times()
        umr.train(work, training, reporter=times)
        took["train"] = times.seconds["training"]
    errors = {stage: abs(told[stage] / took[stage] - 1) for stage in told}
    row = {f"{stage}, told and took": f"{told[stage]:.1f} / {took[stage]:.1f} s" for stage in told}
    return row | {"targets": [(f"forecast of {stage} off by", error, 0.25, False) for stage, error in errors.items()]}
