"""XOR-Retrieve from a work folder: the questions of its gold file, the passages of the work, texts without titles."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from umr.data.candidates import PADDING
from umr.data.queries import open_queries
from umr.data.workspace import Workspace
from umr.evaluate.xor_retrieve import Prediction
from umr.manifest import digest
from umr.progress import Reporting, reporter_of
from umr.retrieve import Which, choose_encoder, name_of, retrieve
from umr.storage import beside


def predict(
    work: Workspace, questions: Path, which: Which | None = None, k: int = 100, device: str = "auto", reporter: Reporting = None
) -> list[Prediction]:
    """What an encoder of a work folder finds for questions, as the official scorer takes it.

    Arguments:
        work: whose encoder and passages are used.
        questions: XOR-TyDi JSONL; answers in it are not read here.
        which: the encoder: `first`, or the round that trained it; None for the newest.
        k: passages a question.
        device: auto, cpu, cuda or cuda:N.
        reporter: shows the progress.
    """
    reporter, chosen = reporter_of(reporter), choose_encoder(work, which)
    reporter.say(f"measuring {name_of(chosen)}")
    cache = work.layout.folder / "evaluation" / digest({"queries": str(questions.absolute())})[:16]
    queries = open_queries([str(questions.absolute())], cache, None, reporter)
    found = retrieve(work, queries, work.passages, chosen, k, device, reporter)
    held = np.unique(found.rows[found.rows != PADDING])
    texts = dict(zip(held.tolist(), (text for _, text in work.passages.texts(held)), strict=True))
    lists = ((row[row != PADDING]).tolist() for row in found.rows)
    return [
        Prediction(name, lang, tuple(texts[row] for row in rows))
        for name, lang, rows in zip(found.query_ids, found.langs, lists, strict=True)
    ]


def write_predictions(path: Path, predictions: list[Prediction]) -> None:
    """Write predictions as one JSON list, whole or not at all."""
    with beside(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as handle:
        json.dump([asdict(prediction) for prediction in predictions], handle, ensure_ascii=False)
