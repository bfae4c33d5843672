"""Labels for other toolkits: what stands in the rows, and that the toolkits that install here read them."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from train.rig import encoder_config, labelled, opened
from umr.data.labels import Labels, labels_of
from umr.data.trec import read_rankings
from umr.data.workspace import Workspace
from umr.errors import InputError, UsageError
from umr.exchange.export import Form, export


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("export")
    made = opened(folder / "work", tiny.tiny_corpus(folder / "data", 13, 7), encoder_config(tiny.encoder(folder / "bert")))
    labelled(made)
    return made


@pytest.fixture
def labels(work: Workspace) -> Labels:
    return labels_of(work.layout.round(0))


def rows(work: Workspace, labels: Labels, form: Form, path: Path, keep: int | None = None) -> list[dict[str, Any]]:
    export(work, labels, form, path, keep)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def expected(work: Workspace, labels: Labels, q: int) -> list[tuple[str, str, str, float]]:
    """Id, title, text and label of a query's labelled passages, the best label first."""
    found = []
    for row, label in zip(labels.candidates.rows[q], labels.labels[q], strict=True):
        if np.isfinite(label):
            one = np.array([row], dtype=np.uint32)
            ((title, text),) = work.passages.texts(one)
            found.append((work.passages.ids(one)[0], title, text, float(label)))
    return sorted(found, key=lambda passage: -passage[3])


def test_tevatron_rows_have_the_best_passage_and_the_others_with_their_labels(work: Workspace, labels: Labels, tmp_path: Path) -> None:
    for q, row in enumerate(rows(work, labels, "tevatron", tmp_path / "rows.jsonl")):
        wanted = [dict(zip(("docid", "title", "text", "score"), passage, strict=True)) for passage in expected(work, labels, q)]
        assert (row["query_id"], row["query"]) == (labels.candidates.query_ids[q], work.queries.texts()[q])
        assert row["positive_passages"] + row["negative_passages"] == wanted
        assert len(row["positive_passages"]) == 1


def test_flagembedding_rows_have_texts_and_scores_apart(work: Workspace, labels: Labels, tmp_path: Path) -> None:
    row = rows(work, labels, "flagembedding", tmp_path / "rows.jsonl", 3)[2]
    wanted = expected(work, labels, 2)[:3]
    assert row["pos"] + row["neg"] == [f"{title} {text}" if title else text for _, title, text, _ in wanted]
    assert row["pos_scores"] + row["neg_scores"] == [label for *_, label in wanted]
    assert set(row) == {"query", "pos", "neg", "pos_scores", "neg_scores"}


def test_a_run_has_the_passages_by_label(work: Workspace, labels: Labels, tmp_path: Path) -> None:
    export(work, labels, "trec", tmp_path / "labels.trec")
    run = read_rankings(tmp_path / "labels.trec")
    assert run[labels.candidates.query_ids[0]] == [(name, label) for name, _, _, label in expected(work, labels, 0)]


@pytest.mark.filterwarnings("ignore")  # of datasets and sentence-transformers
def test_sentence_transformers_trains_on_its_rows(work: Workspace, labels: Labels, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    sentence_transformers = pytest.importorskip("sentence_transformers")
    import torch
    from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss

    found = rows(work, labels, "sentence-transformers", tmp_path / "rows.jsonl", 4)
    loaded = datasets.load_dataset("json", data_files=str(tmp_path / "rows.jsonl"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.column_names == ["query", "positive", "negative_1", "negative_2", "negative_3", "label"]
    assert len(loaded) == len(found) == 7
    model = sentence_transformers.SentenceTransformer(tiny_sentence_model(tmp_path), device="cpu")
    texts = [[row[name] for row in found] for name in loaded.column_names[:-1]]
    loss = DistillKLDivLoss(model)([model.preprocess(column) for column in texts], torch.tensor([row["label"] for row in found]))
    assert torch.isfinite(loss)


def tiny_sentence_model(folder: Path) -> str:
    from umr.encoder.export import save_encoder
    from umr.encoder.load import load_encoder

    save_encoder(load_encoder(encoder_config(tiny.encoder(folder / "bert"))), folder / "saved")
    return str(folder / "saved")


@pytest.mark.filterwarnings("ignore")  # of datasets
def test_parquet_loads_as_a_data_set(work: Workspace, labels: Labels, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    assert export(work, labels, "parquet", tmp_path / "rows.parquet", 5) == 7
    loaded = datasets.load_dataset("parquet", data_files=str(tmp_path / "rows.parquet"), split="train", cache_dir=str(tmp_path / "cache"))
    wanted = expected(work, labels, 3)[:5]
    assert loaded[3]["query_id"] == labels.candidates.query_ids[3]
    assert loaded[3]["passage_ids"] == [name for name, *_ in wanted]
    assert loaded[3]["labels"] == pytest.approx([label for *_, label in wanted])


@pytest.mark.filterwarnings("ignore")  # of datasets, transformers and FlagEmbedding
@pytest.mark.parametrize("distilled", [True, False])
def test_flagembedding_trains_on_its_rows(work: Workspace, labels: Labels, tmp_path: Path, distilled: bool) -> None:
    loader = import_module("FlagEmbedding.abc.finetune.embedder")
    found = rows(work, labels, "flagembedding", tmp_path / "rows.jsonl", 4)
    options = loader.AbsEmbedderDataArguments(
        [str(tmp_path / "rows.jsonl")], cache_path=str(tmp_path / "cache"), train_group_size=4, knowledge_distillation=distilled
    )
    loaded = loader.AbsEmbedderTrainDataset(options, tiny.word_piece())
    assert len(loaded) == len(found) == 7
    for (query, passages, scores), row in zip(loaded, found, strict=True):  # it draws the negatives' order
        assert (query, passages[0], sorted(passages[1:])) == (row["query"], row["pos"][0], sorted(row["neg"]))
        wanted = dict(zip(row["pos"] + row["neg"], row["pos_scores"] + row["neg_scores"], strict=True))
        assert scores == ([wanted[text] for text in passages] if distilled else None)
    batch = loader.AbsEmbedderCollator(tiny.word_piece())([loaded[q] for q in range(3)])
    assert batch["passages"]["input_ids"].shape[0] == 12
    assert (batch["teacher_scores"] is not None) == distilled


@pytest.mark.filterwarnings("ignore")  # of datasets and transformers
def test_tevatron_reads_its_rows(work: Workspace, labels: Labels, tmp_path: Path) -> None:
    """As its training does: rows of a folder, and the tokens of titles and texts joined."""
    arguments, loader = import_module("tevatron.arguments"), import_module("tevatron.datasets")
    (tmp_path / "rows").mkdir()
    found, tokenizer = rows(work, labels, "tevatron", tmp_path / "rows" / "rows.jsonl", 4), tiny.word_piece()
    options = arguments.DataArguments(train_dir=str(tmp_path / "rows"), dataset_name=str(tmp_path / "rows"), dataset_proc_num=None)
    loaded = loader.HFTrainDataset(tokenizer, options, str(tmp_path / "cache")).process()
    assert len(loaded) == len(found) == 7
    for made, row in zip(loaded, found, strict=True):
        assert made["query"] == tokenizer.encode(row["query"], add_special_tokens=False)
        for name in ("positive", "negative"):
            texts = [f"{passage['title']} {passage['text']}" for passage in row[f"{name}_passages"]]
            assert made[f"{name}s"] == [tokenizer.encode(text, add_special_tokens=False) for text in texts]


def test_queries_with_too_few_labelled_passages_are_left_out(work: Workspace, labels: Labels, tmp_path: Path) -> None:
    few = labels.labels.copy()
    few[0, 1:] = few[1, 2:] = -np.inf
    cut = Labels(labels.candidates, labels.scores, few)
    assert export(work, cut, "tevatron", tmp_path / "a.jsonl") == 6
    assert export(work, cut, "sentence-transformers", tmp_path / "b.jsonl") == 5
    assert export(work, cut, "sentence-transformers", tmp_path / "c.jsonl", 2) == 6
    with pytest.raises(InputError, match="no query has two labelled passages"):
        export(work, Labels(labels.candidates, labels.scores, np.full_like(few, -np.inf)), "trec", tmp_path / "d")
    with pytest.raises(UsageError, match="1 passages of a query are kept"):
        export(work, labels, "trec", tmp_path / "d", 1)
    with pytest.raises(UsageError, match="the form is 'csv'"):
        export(work, labels, "csv", tmp_path / "d")  # type: ignore[arg-type]
    assert not (tmp_path / "d").exists()
