"""Labels as the training rows of other toolkits: a query, its best-labelled passage first, the others as negatives, and their labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from umr.data.labels import Labels
from umr.data.table import write_blocks
from umr.data.trec import run_line
from umr.data.workspace import Workspace
from umr.errors import InputError, UsageError
from umr.storage import text_beside

Form = Literal["sentence-transformers", "tevatron", "flagembedding", "parquet", "trec"]

QUERIES = 1024  # of a row group


class Labelled(NamedTuple):
    """A query with its labelled passages, the best label first; equal labels in the retriever's order."""

    id: str
    text: str
    lang: str
    ids: list[str]
    titles: list[str]
    texts: list[str]
    labels: list[float]

    @property
    def whole(self) -> list[str]:
        """Title, a space and text of every passage, as an encoder of umr takes them unless it was set up otherwise."""
        return [f"{title} {text}" if title else text for title, text in zip(self.titles, self.texts, strict=True)]


def export(workspace: Workspace, labels: Labels, form: Form, path: Path, keep: int | None = None) -> int:
    """Write the labels of a round for another toolkit, whole or not at all.

    Arguments:
        workspace: with the texts.
        labels: of a round.
        form: `sentence-transformers`: JSONL (query, positive, negative_1 ..., label), as its losses for distillation take them; `tevatron`;
            `flagembedding`: JSONL of their trainers, scores included; `parquet`: lists, for HF `datasets`; `trec`: a run by label.
        path: where it goes.
        keep: passages of a query, the best-labelled ones; None for all.

    Returns:
        queries written. Those with a single labelled passage are left out, and for `sentence-transformers`, whose rows are of one
        length, those with fewer passages than `keep` (None: than the most).

    Raises:
        UsageError: an unknown form, or fewer than two passages to keep.
        InputError: no query has enough labelled passages.
    """
    if form not in get_args(Form):
        raise UsageError(f"the form is {form!r}", f"one of {', '.join(get_args(Form))}")
    if keep is not None and keep < 2:
        raise UsageError(f"{keep} passages of a query are kept", "keep at least two: one and a negative")
    counts = np.isfinite(labels.labels).sum(axis=1)
    longest = min(keep or counts.max(initial=0), counts.max(initial=0))
    least = max(2, longest if form == "sentence-transformers" else 2)
    usable = counts >= least
    if not usable.any():
        raise InputError("no query has two labelled passages", "label more candidates: `umr mine --top-k`, `umr label`")
    rows = (row for row in _rows(workspace, labels, keep) if len(row.ids) >= least)
    if form == "parquet":
        _write_parquet(path, rows)
    else:
        with text_beside(path) as handle:
            handle.writelines(line + "\n" for row in rows for line in LINES[form](row))
    return int(usable.sum())


def _rows(workspace: Workspace, labels: Labels, keep: int | None) -> Iterator[Labelled]:
    order = np.argsort(-labels.labels, axis=1, kind="stable")[:, :keep]  # [Q, keep]
    texts = workspace.queries.texts()
    for q, (name, lang) in enumerate(zip(labels.candidates.query_ids, labels.candidates.langs, strict=True)):
        best = order[q][np.isfinite(labels.labels[q, order[q]])]
        rows = labels.candidates.rows[q, best]
        passages = workspace.passages.texts(rows)
        titles, bodies = [title for title, _ in passages], [text for _, text in passages]
        yield Labelled(name, texts[q], lang, workspace.passages.ids(rows), titles, bodies, labels.labels[q, best].tolist())


def _sentence_transformers(row: Labelled) -> Iterator[str]:
    names = ["positive", *(f"negative_{number}" for number in range(1, len(row.ids)))]
    yield _json({"query": row.text, **dict(zip(names, row.whole, strict=True)), "label": row.labels})


def _tevatron(row: Labelled) -> Iterator[str]:
    columns = zip(row.ids, row.titles, row.texts, row.labels, strict=True)
    first, *others = [{"docid": name, "title": title, "text": text, "score": label} for name, title, text, label in columns]
    yield _json({"query_id": row.id, "query": row.text, "positive_passages": [first], "negative_passages": others})


def _flagembedding(row: Labelled) -> Iterator[str]:
    texts, labels = row.whole, row.labels
    yield _json({"query": row.text, "pos": texts[:1], "neg": texts[1:], "pos_scores": labels[:1], "neg_scores": labels[1:]})


def _trec(row: Labelled) -> Iterator[str]:
    yield from (run_line(row.id, name, rank, repr(label)) for rank, (name, label) in enumerate(zip(row.ids, row.labels, strict=True), 1))


LINES: dict[str, Callable[[Labelled], Iterator[str]]] = {
    "sentence-transformers": _sentence_transformers, "tevatron": _tevatron, "flagembedding": _flagembedding, "trec": _trec,
}  # fmt: skip


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _write_parquet(path: Path, rows: Iterator[Labelled]) -> None:
    names = {"query_id": "id", "query": "text", "lang": "lang", "passage_ids": "ids", "titles": "titles", "passages": "texts",
             "labels": "labels"}  # fmt: skip
    blocks = iter(lambda: list(islice(rows, QUERIES)), [])
    write_blocks(path, ({name: [getattr(row, field) for row in block] for name, field in names.items()} for block in blocks))
