"""Settings: values out of range, lists of names, sizes of memory; the files and options that set them."""

from __future__ import annotations

from dataclasses import asdict, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import tiny
from umr.config import EncoderConfig, LabelConfig, MineConfig, TrainConfig
from umr.errors import FormatError, UsageError
from umr.run_file import from_record, read_config
from umr.sizes import bytes_of


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1B", 1), ("8GB", 8 * 10**9), ("8gb", 8 * 10**9), ("512 MiB", 512 * 2**20), ("1.5KB", 1500), (" 2TB ", 2 * 10**12),
        ("1KiB", 1024), ("3kib", 3072), ("0.5GiB", 2**29), ("1.1kb", 1100), ("1tib", 2**40), ("7mb", 7 * 10**6),
    ],
)  # fmt: skip
def test_a_size_is_its_bytes(text: str, size: int) -> None:
    assert bytes_of(text) == size


@given(st.integers(1, 10**9), st.integers(0, 999), st.sampled_from(["KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"]))
def test_a_size_is_exact_and_rounded_down(whole: int, thousandths: int, unit: str) -> None:
    base, power = (1024 if "i" in unit else 1000), "KMGT".index(unit[0]) + 1
    expected = Fraction(whole * 1000 + thousandths, 1000) * base**power
    assert bytes_of(f"{whole}.{thousandths:03d}{unit}") == int(expected)


@pytest.mark.parametrize("text", ["", "8", "GB", "8 G", "8G", "-8GB", "8GBs", "8,5GB", "1e9B", "8  GB", "0x8GB", ".5GB", "nanGB", "٨GB"])
def test_what_is_no_size_is_refused_with_the_units(text: str) -> None:
    with pytest.raises(UsageError, match="expected a number of bytes with its unit") as caught:
        bytes_of(text)
    assert "GiB" in caught.value.hint
    assert repr(text) in caught.value.message


@pytest.mark.parametrize("text", ["0GB", "0.4B", "0.0001KB"])
def test_no_bytes_at_all_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="at least one byte"):
        bytes_of(text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fuse": -0.1}, "fuse is -0.1, expected at least 0"),
        ({"fuse": float("nan")}, "fuse is nan"),
        ({"fuse": float("inf")}, "fuse is inf"),
        ({"screen": 0}, "screen is 0, expected at least 1"),
        ({"batch_tokens": 0}, "batch_tokens is 0, expected at least 1"),
        ({"memory": "much"}, "memory is 'much', expected a number of bytes"),
        ({"memory": "0GB"}, "memory is '0GB', expected at least one byte"),
        ({"memory": "1KB"}, "memory is '1KB', expected at least 1MB"),
        ({"also": 3}, "also is 3, expected a list of strings"),
        ({"also": ("a", "")}, "expected a list of strings"),
        ({"also": ("lm",)}, "'lm' is named twice"),
        ({"also": ("a", "b", "a")}, "'a' is named twice"),
        ({"temperature": 0.0}, "temperature is 0.0, expected more than 0"),
        ({"source_length": 0}, "source_length is 0, expected at least 1"),
    ],
)
def test_labelling_values_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LabelConfig("lm", **values)


RANGES: list[tuple[Any, dict[str, Any], str]] = [
    (MineConfig, {"threads": 20_000}, "threads is 20000, expected at most 1,024"),
    (MineConfig, {"threads": -1}, "threads is -1, expected at least 0"),
    (MineConfig, {"top_k": 0}, "top_k is 0, expected at least 1"),
    (MineConfig, {"top_k": 2**31}, "top_k is 2147483648, expected at most"),
    (MineConfig, {"top_k": 3.0}, "top_k is 3.0, expected a whole number"),
    (MineConfig, {"top_k": True}, "top_k is True, expected a whole number"),
    (MineConfig, {"bm25": 1}, "bm25 is 1, expected true or false"),
    (MineConfig, {"device": "meta"}, "device is 'meta', expected auto, cpu, cuda or cuda:N"),
    (MineConfig, {"device": "cuda:x"}, "device is 'cuda:x'"),
    (MineConfig, {"min_score": float("nan")}, "min_score is nan, expected a finite number"),
    (MineConfig, {"margin": -1}, "margin is -1.0, expected at least 0"),
    (MineConfig, {"per_language": -1}, "per_language is -1, expected at least 0"),
    (MineConfig, {"memory": "1KB"}, "memory is '1KB', expected at least 1MB"),
    (MineConfig, {"centre": None}, "centre is None, expected off or global or language"),
    (LabelConfig, {"lm": ""}, "lm is '', expected a string"),
    (LabelConfig, {"lm": "l", "temperature": float("inf")}, "temperature is inf, expected a finite number"),
    (LabelConfig, {"lm": "l", "precision": "fp16"}, "precision is 'fp16', expected auto or fp32 or bf16"),
    (TrainConfig, {"seed": -1}, "seed is -1, expected at least 0"),
    (TrainConfig, {"seed": 2**64}, "seed is .*, expected at most"),
    (TrainConfig, {"learning_rate": float("nan")}, "learning_rate is nan, expected a finite number"),
    (TrainConfig, {"learning_rate": "1e-5"}, "learning_rate is '1e-5', expected a number"),
    (TrainConfig, {"weight_decay": -0.1}, "weight_decay is -0.1, expected at least 0"),
    (TrainConfig, {"warmup": 1.0}, "warmup is 1.0, expected less than 1"),
    (TrainConfig, {"held_out": -0.1}, "held_out is -0.1, expected at least 0"),
    (TrainConfig, {"clip": 0}, "clip is 0.0, expected more than 0"),
    (EncoderConfig, {"model": "m", "pooling": "max"}, "pooling is 'max', expected mean or cls or last"),
    (EncoderConfig, {"model": "m", "query_length": 0}, "query_length is 0, expected at least 1"),
    (EncoderConfig, {"model": ""}, "model is '', expected a string"),
    (EncoderConfig, {"model": None}, "model is None, expected a string"),
]


@pytest.mark.parametrize(
    ("config", "values", "message"), RANGES, ids=[f"{c.__name__}-{list(v)[-1]}-{i}" for i, (c, v, _) in enumerate(RANGES)]
)
def test_a_wrong_value_is_refused_when_the_configuration_is_made(config: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config(**values)


def test_every_number_has_a_limit_or_is_any_finite_one() -> None:
    """A new setting is checked without a line of its own."""
    for config, more in ((MineConfig, {}), (LabelConfig, {"lm": "l"}), (TrainConfig, {}), (EncoderConfig, {"model": "m"})):
        for field in fields(config):  # type: ignore[arg-type]
            wrong = {"int": 2**70, "float": float("inf"), "str": b"x", "bool": "yes", "tuple": {"a": 1}}
            for kind, value in wrong.items():
                if field.type.startswith(kind):
                    with pytest.raises(UsageError, match=f"^{field.name} is "):
                        config(**{**more, field.name: value})


def test_values_of_numpy_lists_and_paths_become_those_of_the_field() -> None:
    made = MineConfig(top_k=np.int64(5), margin=np.float32(0.5), run=Path("a.run"), also_encoder=["x", "y"])  # type: ignore[arg-type]
    assert made == MineConfig(top_k=5, margin=0.5, run=("a.run",), also_encoder=("x", "y"))
    assert (type(made.top_k), type(made.margin)) == (int, float)
    assert LabelConfig(Path("lm"), also="b") == LabelConfig("lm", also=("b",))  # type: ignore[arg-type]


def test_labelling_values_in_range_are_kept() -> None:
    made = LabelConfig("lm", fuse=2.5, screen=1, batch_tokens=1, memory="2 GiB", also=("a", "b"), correct="average", precision="bf16")
    assert (made.also, made.memory, made.screen) == (("a", "b"), "2 GiB", 1)
    assert LabelConfig("lm") == LabelConfig("lm", fuse=0.0, also=(), screen=None, batch_tokens=None, memory=None)


def test_a_list_of_names_comes_from_a_table() -> None:
    assert from_record(LabelConfig, {"lm": "x", "also": ["a", "b"]}, Path("f")).also == ("a", "b")
    assert from_record(LabelConfig, {"lm": "x", "also": []}, Path("f")).also == ()
    made = LabelConfig("x", also=("a",), fuse=1.0, screen=3)
    assert from_record(LabelConfig, asdict(made), Path("f")) == made


@pytest.mark.parametrize("value", ["", [1], [""], [["a"]], 3, {"a": 1}, True])
def test_what_is_no_list_of_names_is_refused(value: Any) -> None:
    with pytest.raises(FormatError, match=r"f: also is .*, expected a list of strings"):
        from_record(LabelConfig, {"lm": "x", "also": value}, Path("f"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("also = 3", r"\[label\]: also is 3, expected a list of strings"),
        ("temperature = inf", r"\[label\]: temperature is inf, expected a finite number"),
        ("source_length = 2147483648", r"\[label\]: source_length is 2147483648, expected at most 2,147,483,647"),
        ('fuse = "1"', r"\[label\]: fuse is '1', expected a number"),
        ('correct = "mean"', "expected none or average"),
        ('correct = "empty"', "correct is 'empty', expected none or average"),
        ('precision = "int8"', "precision is 'int8', expected auto or fp32 or bf16"),
        ('also-template = ["{text}"]', "unknown key 'also_template'"),
        ("memory = 8", "memory is 8, expected a string"),
        ("screen = 2.5", "screen is 2.5, expected a whole number"),
        ("chat = 1", "chat is 1, expected true or false"),
    ],
)
def test_a_run_file_is_checked(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f'work = "w"\npassages = ["p"]\nqueries = ["q"]\n[encoder]\nmodel = "m"\n[label]\nlm = "l"\n{line}\n')
    with pytest.raises(UsageError, match=message):
        read_config(path)


def test_a_run_file_sets_every_new_value(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    lines = 'also = ["a/b", "c/d"]\nfuse = 1\ncorrect = "average"\nscreen = 16\nmemory = "4GB"\n'
    lines += 'batch-tokens = 77\nprecision = "bf16"\nchat = true\n'
    path.write_text(f'work = "w"\npassages = ["p"]\nqueries = ["q"]\n[encoder]\nmodel = "m"\n[label]\nlm = "l"\n{lines}')
    assert read_config(path).label == LabelConfig(
        "l", also=("a/b", "c/d"), fuse=1.0, correct="average", screen=16, memory="4GB", batch_tokens=77, precision="bf16", chat=True
    )


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[LabelConfig]:
    """The configurations that reach the labelling stage, which stops there."""
    found: list[LabelConfig] = []

    def stage(workspace: Any, config: LabelConfig, *_: Any, **__: Any) -> None:
        found.append(config)
        raise UsageError("enough")

    monkeypatch.setattr("umr.cli.label.stage", stage)
    return found


def call(work: Any, *words: str) -> Any:
    from umr.cli import app

    return CliRunner().invoke(app, ["label", str(work), *words], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


@pytest.fixture
def work(tmp_path: Path) -> Path:
    made = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "corpus"))
    tiny.mined(made, k=4)
    return Path(made.layout.folder)


def test_options_of_labelling_reach_the_stage(work: Path, seen: list[LabelConfig]) -> None:
    call(work, "--lm", "l")
    call(work, "--lm", "l", "--also", "a", "--also", "b/c", "--fuse", "0.5", "--screen", "9", "--memory", "2GB")
    call(work, "--lm", "l", "--precision", "bf16", "--weights", "int4", "--chat")
    assert seen == [
        LabelConfig("l"),
        LabelConfig("l", also=("a", "b/c"), fuse=0.5, screen=9, memory="2GB"),
        LabelConfig("l", precision="bf16", weights="int4", chat=True),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--lm", "l", "--memory", "8"), "memory is '8'"),
        (("--lm", "l", "--fuse", "-1"), "fuse is -1.0"),
        (("--lm", "l", "--also", "l"), "'l' is named twice"),
        (("--lm", "l", "--screen", "0"), "screen is 0"),
        (("--lm", "l", "--memory", "1KB"), "expected at least 1MB"),
        (("--lm", "l", "--temperature", "inf"), "temperature is inf"),
        (("--lm", "l", "--device", "meta"), "device is 'meta'"),
        (("--also", "a"), "also needs --lm"),
        ((), "--lm is missing"),
    ],
)
def test_options_of_labelling_that_make_no_sense(work: Path, seen: list[LabelConfig], words: tuple[str, ...], message: str) -> None:
    done = call(work, *words)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert not seen
