"""XOR-Retrieve and XOR-Full from a work folder: the questions of a gold file, and what an encoder finds for them in the work's passages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from umr.config import Index
from umr.data.candidates import PADDING
from umr.data.queries import open_queries
from umr.data.workspace import Workspace
from umr.evaluate.xor_retrieve import NO_SPAN, Prediction
from umr.manifest import digest
from umr.progress import Reporting, reporter_of
from umr.retrieve import Which, choose_encoder, name_of, retrieve
from umr.storage import text_beside


@dataclass(frozen=True)
class Retrieved:
    """What was found for a question.

    Arguments:
        id, lang, text: of the question.
        passages: (id, title, text, score), best first.
    """

    id: str
    lang: str
    text: str
    passages: list[tuple[str, str, str, float]]

    @property
    def prediction(self) -> Prediction:
        """As the official scorer of XOR-Retrieve takes it: texts without titles."""
        return Prediction(self.id, self.lang, tuple(text for _, _, text, _ in self.passages))


def retrieve_for(
    work: Workspace,
    questions: Path,
    which: Which | None = None,
    k: int = 100,
    device: str = "auto",
    reporter: Reporting = None,
    index: Index = "exact",
) -> list[Retrieved]:
    """What an encoder of a work folder finds for the questions of a file.

    Arguments:
        work: whose encoder and passages are used.
        questions: XOR-TyDi JSONL; answers in it are not read here.
        which: the encoder: `first`, or the round that trained it; None for the newest.
        k: passages a question.
        device: auto, cpu, cuda or cuda:N.
        reporter: shows the progress.
        index: exact or hnsw.
    """
    reporter, chosen = reporter_of(reporter), choose_encoder(work, which)
    reporter.say(f"measuring {name_of(chosen)}")
    cache = work.layout.folder / "evaluation" / digest({"queries": str(questions.absolute())})[:16]
    queries = open_queries([str(questions.absolute())], cache, None, reporter)
    found = retrieve(work, queries, work.passages, chosen, k, device, reporter, index)
    held = np.unique(found.rows[found.present])
    texts = dict(zip(held.tolist(), zip(work.passages.ids(held), work.passages.texts(held), strict=True), strict=True))
    made = []
    for name, lang, text, rows, scores in zip(found.query_ids, found.langs, queries.texts(), found.rows, found.scores, strict=True):
        kept = [(texts[row], score) for row, score in zip(rows.tolist(), scores.tolist(), strict=True) if row != PADDING]
        made.append(Retrieved(name, lang, text, [(passage, title, body, score) for (passage, (title, body)), score in kept]))
    return made


def write_predictions(path: Path, found: list[Retrieved]) -> None:
    """Write what was found in the form of the official scorer of XOR-Retrieve, whole or not at all."""
    _write(path, [asdict(one.prediction) for one in found])


def write_for_reader(path: Path, found: list[Retrieved], answers: Mapping[str, Sequence[str]]) -> None:
    """Write what was found in DPR's form, which readers such as CORA's (Asai et al. 2021, arXiv 2107.11976) take.

    Arguments:
        path: where it goes.
        found: for every question.
        answers: of each question by its id; a passage `has_answer` where it holds one that is not yes or no, without regard to case.
    """
    rows = []
    for one in found:
        wanted = [answer.casefold() for answer in answers.get(one.id, ()) if answer.strip() and answer not in NO_SPAN]
        ctxs = [
            {"id": name, "title": title, "text": text, "score": str(score), "has_answer": any(a in text.casefold() for a in wanted)}
            for name, title, text, score in one.passages
        ]
        rows.append({"q_id": one.id, "lang": one.lang, "question": one.text, "answers": list(answers.get(one.id, ())), "ctxs": ctxs})
    _write(path, rows)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with text_beside(path) as handle:
        json.dump(rows, handle, ensure_ascii=False)
