"""The options of mining that choose candidates, through the stage: defaults change nothing, each option is counted and kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

import tiny
from train.rig import MINE, Notes, encoder_config, opened
from umr.cli import app
from umr.config import MineConfig
from umr.data.candidates import PADDING, Candidates, candidates_of, read_candidates
from umr.data.corpus_langs import corpus_languages
from umr.data.trec import read_run, write_run
from umr.data.workspace import Workspace
from umr.encoder.export import save_encoder
from umr.encoder.load import load_encoder
from umr.errors import FormatError, InputError, MismatchError, UsageError
from umr.mine import mine
from umr.mine.options import options
from umr.progress import Silent
from umr.run_file import read_config


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other")
    save_encoder(load_encoder(encoder_config(tiny.encoder(folder / "bert", seed=5))), folder / "saved")
    return folder / "saved"


@pytest.fixture
def work(tmp_path: Path, bert: Path) -> Workspace:
    corpus = tiny.tiny_corpus(tmp_path / "data", 25, 7)
    lines = [json.loads(line) for line in corpus.queries.read_text(encoding="utf-8").splitlines()]
    corpus.queries.write_text("".join(json.dumps(r | {"source": f"p{i}"}) + "\n" for i, r in enumerate(lines)), encoding="utf-8")
    return opened(tmp_path / "work", corpus, encoder_config(bert))


def manifest(work: Workspace) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(work.layout.round(0).mined.read_text())
    return found


def again(work: Workspace, notes: Any = None, **changes: Any) -> Candidates:
    return mine(work, replace(MINE, **changes), reporter=notes or Notes(), force=True)


def whole(work: Workspace) -> Candidates:
    """Every passage of every query, best first."""
    return again(work, top_k=25)


def test_what_is_at_its_default_leaves_no_trace(work: Workspace) -> None:
    found = mine(work, MINE)
    assert options(MINE) == {}
    assert set(manifest(work)["made_from"]) == {"top_k", "precision", "store", "encoder"}
    assert manifest(work)["counts"] == {}
    assert parquet.read_schema(work.layout.round(0).candidates).names[-1] == "retriever_score"
    assert found.provenance is None
    assert found.present.all()


def test_the_source_passage_is_left_out_and_the_list_filled(work: Workspace) -> None:
    every = whole(work)
    notes = Notes()
    found = again(work, notes, exclude_source=True)
    for query, row in enumerate(found.rows.tolist()):
        assert row == [p for p in every.rows[query].tolist() if p != query][:6]
    hit = sum(query in every.rows[query, :6].tolist() for query in range(7))
    counts = manifest(work)["counts"]
    assert counts["source_excluded"] == hit
    assert (counts["source_without"], counts["source_unknown"]) == (0, 0)
    assert f"left out {hit} source passages" in notes.text
    assert manifest(work)["made_from"]["exclude_source"] is True
    every = again(work, top_k=25, exclude_source=True)
    assert (every.rows[:, -1] == PADDING).all()
    assert manifest(work)["counts"]["short_queries"] == 7


def test_scores_and_first_ranks(work: Workspace) -> None:
    every = whole(work)
    found = again(work, first_rank=4)
    assert found.rows.tolist() == every.rows[:, 3:9].tolist()
    assert manifest(work)["counts"] == {"first_ranks": 21}
    floor = float(np.sort(every.scores[:, :6], axis=None)[20])
    found = again(work, min_score=floor)
    assert found.rows.tolist() == np.where(every.scores >= np.float32(floor), every.rows, PADDING)[:, :6].tolist()
    counts = manifest(work)["counts"]
    assert counts["low_scores"] == counts["padded"] == int((~found.present).sum())
    found = again(work, margin=0.05)
    assert found.rows.tolist() == np.where(every.scores >= every.scores[:, :1] - np.float32(0.05), every.rows, PADDING)[:, :6].tolist()
    assert json.loads(work.layout.round(0).mined.read_text())["made_from"]["margin"] == 0.05


def test_a_query_without_candidates_is_warned_and_comes_back(work: Workspace) -> None:
    every, notes = whole(work), Notes()
    best = np.sort(every.scores[:, 0])
    found = again(work, notes, min_score=float(best[2]))
    empty = int((~found.present.any(axis=1)).sum())
    assert empty == 2
    assert any("2 queries have no candidate left and will be skipped: q" in line for line in notes.warned)
    back = candidates_of(work.layout.round(0))
    assert back.rows.tobytes() == found.rows.tobytes()
    assert back.scores.tobytes() == found.scores.tobytes()
    assert len(back.query_ids) == 7
    table = parquet.read_table(work.layout.round(0).candidates)
    assert table["passage_id"].null_count == int((~found.present).sum())
    run = back.run(work.passages)
    assert len(run) == 7
    assert sum(len(ranking) for ranking in run.values()) == int(found.present.sum())


def test_sources_are_merged_and_provenance_is_kept(work: Workspace, other: Path, tmp_path: Path) -> None:
    every = whole(work)
    falling = -np.sort(np.random.default_rng(0).random((7, 5)), axis=1).astype(np.float32)
    elsewhere = Candidates(every.query_ids, every.langs, every.rows[:, ::-1][:, :5].copy(), falling)
    write_run(tmp_path / "a.run", elsewhere, work.passages)
    notes, config = Notes(), {"run": (str(tmp_path / "a.run"),), "bm25": True, "also_encoder": (str(other),)}
    found = again(work, notes, **config)
    assert found.provenance is not None
    names = found.provenance.names
    assert names == ("encoder", "encoder2", "bm25", "run1")
    assert set(manifest(work)["sources"]) == set(names)
    scores = {(q, int(row)): score for q in range(7) for row, score in zip(every.rows[q], every.scores[q], strict=True)}
    for q in range(7):
        assert found.scores[q].tolist() == sorted(found.scores[q].tolist(), reverse=True)
        assert found.scores[q].tolist() == [scores[q, int(row)] for row in found.rows[q]]  # the encoder's, whoever found it
        assert elsewhere.rows[q, 0] in found.rows[q]
        assert every.rows[q, 0] in found.rows[q]
    ranks = found.provenance.ranks
    assert (ranks > 0).any(axis=0).all()
    back = candidates_of(work.layout.round(0))
    assert back.provenance is not None
    assert back.provenance.names == names
    assert back.provenance.ranks.tobytes() == ranks.tobytes()
    np.testing.assert_array_equal(back.provenance.scores, found.provenance.scores)
    counts = manifest(work)["counts"]
    assert [counts[f"found_{n}"] for n in names] == (ranks > 0).sum(axis=(1, 2)).tolist()
    assert f"run1: found {counts['found_run1']}" in notes.text
    made_from = manifest(work)["made_from"]
    told = manifest(work)["sources"]
    assert told["encoder2"]["what"] == str(other)
    assert told["encoder2"]["query_weights"] != manifest(work)["query_weights"]
    assert told["run1"] == {
        "what": str(tmp_path / "a.run"), "lines": 35, "unknown_queries": 0, "unknown_passages": 0, "cut": 0, "missing": 0,
    }  # fmt: skip
    copytree(other, tmp_path / "copy")
    config["also_encoder"] = (str(tmp_path / "copy"),)
    assert options(replace(MINE, **config)) == {name: made_from[name] for name in config}  # told by its content
    (tmp_path / "a.run").rename(tmp_path / "b.run")
    mine(work, replace(MINE, **(config | {"run": (str(tmp_path / "b.run"),)})))  # the same content
    with pytest.raises(MismatchError, match="bm25 is True, asked for None"):
        mine(work, replace(MINE, **(config | {"run": (str(tmp_path / "b.run"),), "bm25": False})))
    with pytest.raises(InputError, match="no TREC run at"):
        mine(work, replace(MINE, **config))


def test_an_encoder_that_was_replaced_under_its_name_is_another(work: Workspace, other: Path, tmp_path: Path) -> None:
    copytree(other, tmp_path / "also")
    config = replace(MINE, also_encoder=(str(tmp_path / "also"),))
    mine(work, config)
    mine(work, config, reporter=(notes := Notes()))
    assert "is mined already" in notes.text
    rmtree(tmp_path / "also")
    save_encoder(load_encoder(encoder_config(tiny.encoder(tmp_path / "bert", seed=6))), tmp_path / "also")
    with pytest.raises(MismatchError, match="also_encoder is"):
        mine(work, config)


def test_no_source_is_there_twice(work: Workspace, bert: Path, other: Path, tmp_path: Path) -> None:
    copytree(other, tmp_path / "copy")
    with pytest.raises(UsageError, match=r"copy is the same as .*saved") as caught:
        mine(work, replace(MINE, also_encoder=(str(other), str(tmp_path / "copy"))))
    assert "also_encoder" in caught.value.hint
    (tmp_path / "a.run").write_text("q0 Q0 p0 1 0.5 x\n")
    with pytest.raises(UsageError, match=r"a\.run is the same as .*a\.run"):
        mine(work, replace(MINE, run=(str(tmp_path / "a.run"), str(tmp_path / "a.run"))))
    save_encoder(load_encoder(encoder_config(bert)), tmp_path / "own")
    with pytest.raises(UsageError, match="own is the same as the encoder of the round"):
        mine(work, replace(MINE, also_encoder=(str(tmp_path / "own"),)))
    assert not list(work.layout.embeddings.glob("*/manifest.json"))
    assert not work.layout.round(0).mined.exists()


def test_every_language_gets_its_candidates(work: Workspace) -> None:
    found = again(work, top_k=14, per_language=2)
    langs = corpus_languages(work.passages, work.layout, Silent())
    assert len(langs.codes) > 1
    least = {number: min(2, count) for number, count in enumerate(np.bincount(langs.numbers).tolist())}
    for row in found.rows:
        assert all((langs.numbers[row] == number).sum() >= count for number, count in least.items())
    assert found.provenance is not None
    assert found.provenance.names == ("encoder", "language")
    assert manifest(work)["counts"]["languages_added"] == int((found.provenance.ranks[1] > 0).sum())
    with pytest.raises(InputError, match="but top-k is 2"):
        again(work, top_k=2, per_language=2)


def test_repeated_passages_are_collapsed(tmp_path: Path, bert: Path) -> None:
    corpus = tiny.tiny_corpus(tmp_path / "data", 9, 3, langs=("en",))
    lines = corpus.passages.read_text(encoding="utf-8").splitlines()
    copies = [f"c{i}\t{line.split(chr(9))[1].upper()}\t{line.split(chr(9))[2]}" for i, line in enumerate(lines[1:])]
    corpus.passages.write_text("\n".join([*lines, *copies]) + "\n", encoding="utf-8")
    work, notes = opened(tmp_path / "work", corpus, encoder_config(bert)), Notes()
    for kind in ("exact", "near"):
        found = again(work, notes, collapse=kind)
        assert found.present.all()
        assert all(len({int(row) % 9 for row in line}) == 6 for line in found.rows)
        assert manifest(work)["counts"]["repeated"] > 0
    assert "passages that repeat another in the list" in notes.text
    every = again(work, collapse="exact", top_k=12)
    assert every.present.sum(axis=1).tolist() == [9, 9, 9]


def test_what_cannot_be_used_is_refused_before_anything_is_encoded(work: Workspace, tmp_path: Path) -> None:
    (tmp_path / "bad.run").write_text("q0 Q0 p0 1 nan x\n")
    with pytest.raises(FormatError, match=r"bad\.run:1: the score nan"):
        mine(work, replace(MINE, run=(str(tmp_path / "bad.run"),)))
    assert not work.layout.embeddings.exists()
    assert not work.layout.round(0).mined.exists()


def test_padding_before_a_candidate_is_refused(work: Workspace) -> None:
    found = mine(work, MINE)
    found.rows[2, 1], found.scores[2, 1] = PADDING, -np.inf
    path = work.layout.folder / "bad.parquet"
    found.write(path, work.passages)
    with pytest.raises(FormatError, match="the padding of query 'q2'"):
        read_candidates(path)


def test_a_default_config_is_the_default() -> None:
    assert options(MineConfig(run=(), also_encoder=(), threads=3, memory="1GB", device="cpu", top_k=3)) == {}


def test_runs_and_encoders_of_a_run_file_are_found_beside_it(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    text = 'work = "w"\npassages = ["p"]\nqueries = ["q"]\n[encoder]\nmodel = "m"\n[label]\nlm = "l"\n'
    text += '[mine]\nrun = ["a.run", "/abs/b.run"]\nalso-encoder = ["second", "owner/third"]\n'
    (tmp_path / "run.toml").write_text(text)
    found = read_config(tmp_path / "run.toml").mine
    assert found.run == (str(tmp_path / "a.run"), "/abs/b.run")
    assert found.also_encoder == (str(tmp_path / "second"), "owner/third")


def test_the_command_tells_counts_and_writes_a_run(work: Workspace, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[mine]\nexclude-source = true\n")
    call = [
        "mine",
        str(work.layout.folder),
        "--top-k",
        "6",
        "--config",
        str(tmp_path / "mine.toml"),
        "--bm25",
        "--write-run",
        str(tmp_path / "out.run"),
        "--json",
    ]
    done = CliRunner().invoke(app, call, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["counts"] == manifest(work)["counts"]
    assert value["run"] == str(tmp_path / "out.run")
    rows, _, _ = read_run(tmp_path / "out.run", work.queries.records, work.passages, Notes())
    assert rows.tolist() == candidates_of(work.layout.round(0)).rows.tolist()
    assert "left out" in done.stderr
