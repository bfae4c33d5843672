"""One row of benches/gpu.py in a process of its own: `python -m benches.parts.gpu_rows ROW [toy]` prints its figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benches.parts.gpu_shapes import TOY, TRUE, Shapes, causal, encoder_folder, groups, mt5, texts
from benches.parts.inputs import write_jsonl
from benches.parts.padded import loop_scores, padded_scores

Row = dict[str, Any]
COSINE = {"bf16": 1e-2, "fp32": 1e-4}  # by which vectors may differ from sentence-transformers'
MISSING = "the rival sentence-transformers is not installed"
NATS = 0.05  # by which scores in bf16 may differ from whole pairs', on average


def device() -> Any:
    """A GPU where there is one."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def timed(call: Callable[[], Any], warm: Callable[[], Any] | None = None) -> tuple[float, Any]:
    """Seconds of a call, after one that warms up, and what it returned."""
    import torch

    (warm or call)()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    value = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, value


@contextmanager
def busy(found: Row) -> Iterator[None]:
    """Put the share of the time in which the GPU ran anything into a row; nothing without a GPU."""
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100"]
    if device().type == "cpu":
        yield
        return
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out)
        yield
        process.terminate()
        process.wait()
        out.seek(0)
        seen = [float(line) for line in out.read().split()]
    found["busy"] = sum(seen) / max(1, len(seen)) / 100


def encode(shapes: Shapes, precision: Any) -> Row:
    """Texts to files of vectors."""
    import torch

    import umr
    from umr.encoder.encode import encode as ours
    from umr.layout import WorkLayout
    from umr.progress import Silent

    with tempfile.TemporaryDirectory() as name:
        folder, some = encoder_folder(shapes, Path(name) / "encoder"), texts(shapes.texts)
        write_jsonl(Path(name) / "passages.jsonl", ({"id": str(n), "text": text} for n, text in enumerate(some)))
        (Path(name) / "queries.jsonl").write_text('{"id": "q", "question": "what", "lang": "en"}\n', encoding="utf-8")
        config = umr.EncoderConfig(
            model=str(folder), pooling="mean", similarity="cosine", query_length=shapes.length, passage_length=shapes.length
        )
        work = umr.create_workspace(Path(name) / "work", f"{name}/passages.jsonl", f"{name}/queries.jsonl", config)
        encoder, mine = umr.load_encoder(config, device().type), umr.MineConfig(precision=precision)
        tries = iter(range(9))

        def call() -> Any:
            return ours(work.passages, encoder, "passage", WorkLayout(Path(name) / f"try-{next(tries)}"), mine, Silent())

        found: Row = {}
        with busy(found):
            seconds, store = timed(call)
        row = {"ours": len(some) / seconds, "unit": "passages/s", **found}
        bounds = [("passages/s", row["ours"], 25000.0, True), *idle(found)] if precision == "bf16" else idle(found)
        if find_spec("sentence_transformers") is None:
            return row | {"targets": bounds, "problem": MISSING}
        rival = peer(folder, shapes.length)
        rival = rival.bfloat16() if precision == "bf16" else rival
        rates, vectors, few = {}, None, some[: len(some) // 4]
        for size in (64, 256, 1024):
            took, vectors = timed(partial(rival.encode, few, batch_size=size), partial(rival.encode, some[:64]))
            rates[size] = len(few) / took
        theirs = torch.nn.functional.normalize(torch.from_numpy(np.asarray(vectors, dtype=np.float32)), dim=1).numpy()
        worst = float(1 - (store.read()[: len(theirs)] * theirs).sum(1).min())
    ratio = row["ours"] / max(rates.values())
    bounds += [("times sentence-transformers", ratio, 1.3, True), ("cosine off by", worst, COSINE[precision], False)]
    return row | {"rival": max(rates.values()), "x rival": ratio, "off": worst, "targets": bounds}


def peer(folder: Path, length: int) -> Any:
    """The same encoder in sentence-transformers."""
    library, models = import_module("sentence_transformers"), import_module("sentence_transformers.models")
    body = models.Transformer(str(folder), max_seq_length=length)
    pooling = models.Pooling(body.get_word_embedding_dimension(), "mean")
    return library.SentenceTransformer(modules=[body, pooling], device=device().type)


def idle(found: Row) -> list[tuple[str, float, float, bool]]:
    """The target of the share in which the GPU is busy, where there is one."""
    return [("GPU busy", found["busy"], 0.85, True)] if "busy" in found else []


def label(shapes: Shapes, name: str, sharing: int) -> Row:
    """Likelihoods by a causal model."""
    from umr.config import LabelConfig
    from umr.label.plan.budget import budget_for
    from umr.label.scorers.causal import CausalScorer
    from umr.label.scorers.trees import Branch, Tree, fill
    from umr.models.lm import LanguageModel, set_precision

    model = causal(shapes, name, device())
    made = groups(shapes.shared[name] * 6 // sharing, sharing, model.config.vocab_size, shapes.length)
    flat = [(source, target) for source, targets in made for target in targets]
    padded, whole = timed(lambda: padded_scores(model, flat, 32768), lambda: padded_scores(model, flat[:64], 32768))
    loop, _ = timed(lambda: loop_scores(model, flat[: shapes.loop]), lambda: loop_scores(model, flat[:8]))
    set_precision(model, "bf16")
    scorer = CausalScorer(LanguageModel(name, "", False, name, None, None, model, "bf16"), "mean")
    trees = [Tree(source, [Branch(n, ids, len(ids)) for n, ids in enumerate(targets)]) for source, targets in made]
    order = sorted(range(len(trees)), key=lambda n: -trees[n].tokens)
    batches = list(fill([trees[n] for n in order], budget_for(LabelConfig(name), scorer, str(device()))))
    found: Row = {}
    with busy(found):
        seconds, scores = timed(lambda: np.concatenate([scorer.score(batch) for batch in batches]), lambda: scorer.score(batches[-1]))
    places = np.concatenate([np.arange(n * sharing, (n + 1) * sharing) for n in order])
    off = float(np.abs(scores - np.array(whole)[places]).mean())
    rate, rivals = len(flat) / seconds, (len(flat) / padded, shapes.loop / loop)
    bounds = [("pairs/s", rate, 5000, True), ("times padded", rate / rivals[0], 4, True), ("times the loop", rate / rivals[1], 60, True)]
    return {
        "ours": rate, "unit": "pairs/s", "rival": rivals[0], "x rival": rate / rivals[0], "loop": rivals[1], "x loop": rate / rivals[1],
        "off": off, **found,
        "targets": [*(bounds if (name, sharing) == ("270m", 6) else []), ("nats off on average", off, NATS, False), *idle(found)],
    }  # fmt: skip


def encoder_decoder(shapes: Shapes) -> Row:
    """Likelihoods by an encoder-decoder."""
    from benches.parts.encoder_decoder import reference
    from umr.label.scorers.seq2seq import EncoderDecoderScorer
    from umr.label.scorers.trees import Branch, Tree
    from umr.models.lm import LanguageModel, set_precision

    model = mt5(shapes, device())
    made = groups(shapes.shared["mt5"], 6, model.config.vocab_size, shapes.length)
    flat = [(source, target) for source, targets in made for target in targets][: shapes.loop]
    batches = [flat[at : at + 4] for at in range(0, len(flat), 4)]
    loop, whole = timed(lambda: [score for batch in batches for score in reference(model, batch)], lambda: reference(model, batches[0]))
    set_precision(model, "bf16")
    scorer = EncoderDecoderScorer(LanguageModel("mt5", "", True, "mt5", None, None, model, "bf16"), "mean")
    trees = [Tree(source, [Branch(n, ids, len(ids)) for n, ids in enumerate(targets)]) for source, targets in made]
    found: Row = {}
    with busy(found):
        seconds, scores = timed(lambda: scorer.score(trees), lambda: scorer.score(trees[: len(trees) // 4]))
    off = float(np.abs(scores[: len(whole)] - np.array(whole)).mean())
    rate, theirs = len(scores) / seconds, len(flat) / loop
    bounds = [("pairs/s", rate, 300, True), ("times the loop", rate / theirs, 20, True), ("nats off on average", off, NATS, False)]
    row = {"ours": rate, "unit": "pairs/s", "loop": theirs, "x loop": rate / theirs, "off": off, **found}
    return row | {"targets": [*bounds, *idle(found)]}


def main() -> None:
    """Print the figures of one row."""
    from benches.parts import gpu_stages

    os.environ["HF_HUB_OFFLINE"] = "1"
    shapes, words = TOY if sys.argv[2:] else TRUE, sys.argv[1].split()
    rows: dict[str, Callable[..., Row]] = {
        "encode": encode, "label": lambda s, name, sharing: label(s, name, int(sharing)), "mt5": encoder_decoder,
        "train": gpu_stages.train, "search": gpu_stages.search, "forecast": gpu_stages.forecast,
    }  # fmt: skip
    print(json.dumps(rows[words[0]](shapes, *words[1:])))


if __name__ == "__main__":
    main()
