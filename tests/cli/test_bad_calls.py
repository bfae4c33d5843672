"""Bad input and bad calls: exit code, what it says, its hint, and that nothing is lost."""

from __future__ import annotations

import errno
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Shell = Callable[..., Any]


def failed(done: Any, code: int, *parts: str) -> None:
    """The exit code, the parts in what is said, a hint, and no traceback."""
    assert done.code == code, (done.out, done.err)
    assert "Traceback" not in done.err, done.err
    assert "error:" in done.talk
    assert "hint:" in done.talk
    for part in parts:
        assert part in done.talk, (part, done.talk)


GOOD_PASSAGES = "id\ttext\ttitle\n" + "".join(f"p{i}\tthe old bridge {i}\tcity\n" for i in range(6))
GOOD_QUERIES = "".join(json.dumps({"id": f"q{i}", "question": f"who built bridge {i}?", "lang": "en"}) + "\n" for i in range(4))


@pytest.fixture
def begin(shell: Shell, kit: Any, tmp_path: Path) -> Callable[..., Any]:
    """A function that mines a new work folder with one of the files replaced."""

    def call(passages: bytes | str = GOOD_PASSAGES, queries: bytes | str = GOOD_QUERIES, *more: object) -> Any:
        for name, content in (("p.tsv", passages), ("q.jsonl", queries)):
            (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return shell(
            "mine",
            tmp_path / "work",
            "--passages",
            tmp_path / "p.tsv",
            "--queries",
            tmp_path / "q.jsonl",
            *kit.encoder,
            "--top-k",
            3,
            *more,
        )

    return call


BAD_PASSAGES: dict[str, tuple[bytes | str, tuple[str, ...]]] = {
    "empty": ("", ("p.tsv",)),
    "a header alone": ("id\ttext\ttitle\n", ("p.tsv",)),
    "bad UTF-8": (GOOD_PASSAGES.encode() + b"p9\tcaf\xe9\tx\n", ("p.tsv:8", "UTF-8")),
    "an unclosed quote": (GOOD_PASSAGES + 'p9\t"the bridge\tx\n', ("p.tsv:8", "quote")),
    "the same id twice": (GOOD_PASSAGES + "p2\tagain\tx\n", ("p.tsv:8", "p2")),
    "a row with one field": (GOOD_PASSAGES + "p9\n", ("p.tsv:8",)),
}
BAD_QUERIES: dict[str, tuple[bytes | str, tuple[str, ...]]] = {
    "empty": ("", ("q.jsonl",)),
    "no text": (GOOD_QUERIES + '{"id": "q9", "question": "  ", "lang": "en"}\n', ("q.jsonl:5", "q9")),
    "no id": (GOOD_QUERIES + '{"question": "who?", "lang": "en"}\n', ("q.jsonl:5",)),
    "no JSON": (GOOD_QUERIES + '{"id": "q9"\n', ("q.jsonl:5",)),
    "the same id twice": (GOOD_QUERIES + '{"id": "q1", "question": "who?", "lang": "en"}\n', ("q.jsonl:5", "q1")),
    "bad UTF-8": (GOOD_QUERIES.encode() + b'{"id": "q9", "question": "caf\xe9"}\n', ("q.jsonl:5", "UTF-8")),
}


@pytest.mark.parametrize("what", BAD_PASSAGES)
def test_bad_passages(begin: Callable[..., Any], tmp_path: Path, what: str) -> None:
    content, parts = BAD_PASSAGES[what]
    failed(begin(passages=content), 1, *parts)
    assert begin().code == 0, "the same folder works once the file is mended"


@pytest.mark.parametrize("what", BAD_QUERIES)
def test_bad_queries(begin: Callable[..., Any], tmp_path: Path, what: str) -> None:
    content, parts = BAD_QUERIES[what]
    failed(begin(queries=content), 1, *parts)
    assert begin().code == 0, "the same folder works once the file is mended"


def test_a_torn_gzip_file(begin: Callable[..., Any], shell: Shell, kit: Any, tmp_path: Path) -> None:
    torn = tmp_path / "torn.tsv.gz"
    torn.write_bytes(gzip.compress(GOOD_PASSAGES.encode() * 50)[:-20])
    failed(shell("mine", tmp_path / "w", "--passages", torn, "--queries", kit.queries, *kit.encoder), 1, "torn.tsv.gz")


@pytest.mark.parametrize("which", ["--passages", "--queries"])
def test_a_missing_file_and_a_glob_without_a_match(shell: Shell, kit: Any, tmp_path: Path, which: str) -> None:
    for name in ("none.tsv", "none-*.tsv"):
        files = {"--passages": kit.passages, "--queries": kit.queries} | {which: tmp_path / name}
        failed(shell("mine", tmp_path / "w", *(x for pair in files.items() for x in pair), *kit.encoder), 1, f"no {which[2:]} at", name)
    assert not (tmp_path / "w" / "work.json").exists()


def test_an_unknown_language_is_warned_of_and_a_blank_is_repaired(begin: Callable[..., Any]) -> None:
    queries = GOOD_QUERIES.replace('"en"', '"xqz"', 1).replace('"en"', '" ar"', 2)
    done = begin(queries=queries)
    assert done.code == 0, done.err
    assert "warning: unknown language 'xqz' (1 queries)" in done.talk
    assert "repaired 2 language codes" in done.talk


def test_a_language_that_is_missing_is_identified_or_given(begin: Callable[..., Any], tmp_path: Path) -> None:
    queries = GOOD_QUERIES.replace(', "lang": "en"', "")
    done = begin(queries=queries)
    assert "4 queries carry no language; identified:" in done.talk
    assert "--lang sets one" in done.talk
    other = begin(GOOD_PASSAGES, queries, "--lang", "de")
    failed(other, 1, "lang", "'de'")


def test_k_larger_than_the_corpus(begin: Callable[..., Any], tmp_path: Path) -> None:
    failed(begin(GOOD_PASSAGES, GOOD_QUERIES, "--top-k", 7), 1, "top-k is 7, but there are only 6 passages", "use --top-k 6 or less")
    assert not (tmp_path / "work" / "embeddings").exists()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("/no/model", "no model at"),
        ("nobody/nothing", "nobody/nothing"),
        ("pypi:none", "unknown model 'pypi:none'"),
        ("word", "no model at 'word'"),
    ],
)
def test_a_model_that_does_not_exist(shell: Shell, kit: Any, work: Path, tmp_path: Path, model: str, said: str) -> None:
    failed(shell("mine", tmp_path / "w", *kit.files, "--encoder", model, "--pooling", "cls", "--similarity", "dot", "--top-k", 2), 1, said)
    failed(shell("label", work, "--lm", model, "--force"), 1, said)
    assert (work / "round-0" / "labels.parquet").exists()


def test_an_encoder_is_no_language_model(shell: Shell, kit: Any, work: Path) -> None:
    failed(shell("label", work, "--lm", kit.bert, "--force"), 1, "not a language model")


def test_settings_that_are_not_known_are_asked_for(shell: Shell, kit: Any, tmp_path: Path) -> None:
    done = shell("mine", tmp_path / "w", *kit.files, "--encoder", kit.bert, "--top-k", 2)
    failed(done, 1, "does not say its pooling and similarity", "--pooling mean|cls|last", "--similarity dot|cosine")
    assert shell("mine", tmp_path / "w", *kit.inputs, "--top-k", 2).code == 0, "the same folder takes the corrected call"


@pytest.mark.parametrize("verb", [("label", "--lm", "x"), ("train",), ("search", "who?"), ("status",), ("eval", "--qrels", "q")])
def test_a_folder_that_is_no_work_folder(shell: Shell, tmp_path: Path, verb: tuple[str, ...]) -> None:
    failed(shell(verb[0], tmp_path, *verb[1:]), 1, "is not a work folder", "umr mine WORK")
    assert not list(tmp_path.iterdir())


def test_stages_out_of_order(begin: Callable[..., Any], shell: Shell, tmp_path: Path) -> None:
    begin()
    failed(shell("train", tmp_path / "work"), 1, "has not been through `umr label`")
    failed(shell("train", tmp_path / "work", "--round", 3), 2, "there is no round 3")


def test_half_of_what_a_new_work_folder_needs(shell: Shell, kit: Any, tmp_path: Path) -> None:
    failed(shell("mine", tmp_path / "w"), 2, "--passages, --queries, --encoder")
    failed(shell("mine", tmp_path / "w", *kit.files), 2, "--encoder")
    failed(shell("mine", tmp_path / "w", *kit.files, "--pooling", "cls"), 2, "pooling needs --encoder")
    failed(shell("label", tmp_path / "w"), 2, "--lm is missing")


def test_other_options_than_before_are_refused(shell: Shell, kit: Any, work: Path) -> None:
    failed(shell("mine", work, "--round", 0, "--top-k", 3), 1, "top_k is 4, asked for 3", "--force")
    failed(shell("label", work, "--lm", kit.llama, "--precision", "fp32", "--temperature", 0.2), 1, "temperature is 0.1, asked for 0.2")
    failed(shell("train", work, "--epochs", 7), 1, "epochs is 1, asked for 7")
    failed(
        shell("mine", work, *kit.files, "--encoder", kit.bert, "--pooling", "cls", "--similarity", "cosine"),
        1,
        "pooling is 'mean', asked for 'cls'",
    )


def test_files_that_changed_since(begin: Callable[..., Any], shell: Shell, tmp_path: Path) -> None:
    begin()
    (tmp_path / "p.tsv").write_text(GOOD_PASSAGES + "p9\tnew\tx\n")
    failed(shell("label", tmp_path / "work", "--lm", "any"), 1, "the passages have changed since the work began")
    shown = shell("status", tmp_path / "work")
    assert shown.code == 1
    assert "damaged:" in shown.out
    assert "the passages have changed since the work began" in shown.out


@pytest.mark.parametrize(
    "call",
    [("mine", "--frob"), ("nonsense",), ("train", "W", "--epochs", "many"), ("mine", "W", "--pooling", "max"), ("eval", "W")],
    ids=" ".join,
)
def test_a_call_that_makes_no_sense_is_two(shell: Shell, call: tuple[str, ...]) -> None:
    done = shell(*call)
    assert done.code == 2
    assert done.out == ""
    assert "Traceback" not in done.err


@pytest.mark.parametrize("option", [("--epochs", 0), ("--held-out", 1.5), ("--student-temperature", 0), ("--device", "nope")])
def test_values_out_of_range_are_two(shell: Shell, work: Path, option: tuple[str, object]) -> None:
    done = shell("train", work, *option, "--force")
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert option[0][2:].replace("-", "_") in done.talk
    assert (work / "round-0" / "train.json").exists()


def test_an_error_is_one_json_object_too(shell: Shell, tmp_path: Path) -> None:
    done = shell("status", tmp_path / "none", "--json")
    assert done.code == 1
    assert done.json["error"]["kind"] == "InputError"
    assert "is not a work folder" in done.json["error"]["message"]
    assert done.json["error"]["hint"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_a_full_or_closed_disk(begin: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The disk fills while embeddings are written: said with the path, nothing half, and the next call goes on."""

    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        done = begin()
    failed(done, 2, "permission" if number == errno.EACCES else "no space left")
    assert not list((tmp_path / "work").rglob("*.part"))
    assert not (tmp_path / "work" / "round-0" / "mine.json").exists()
    assert begin().code == 0


def test_a_fault_of_ours_is_two_with_a_traceback(shell: Shell, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import umr.data.workspace

    def broken(*_: Any) -> None:
        raise RuntimeError("nobody expected this")

    monkeypatch.setattr(umr.data.workspace, "round_for", broken)
    monkeypatch.setattr("umr.cli.train.round_for", broken)
    done = shell("train", work)
    assert done.code == 2
    assert "RuntimeError: nobody expected this" in done.err
    assert "fault of umr" in done.talk


def test_ctrl_c_is_130_and_says_how_to_go_on(shell: Shell, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("umr.cli.train.round_for", pressed)
    done = shell("train", work)
    assert done.code == 130
    assert "it goes on where it stopped" in done.talk
