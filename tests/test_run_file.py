"""The TOML file of a run: what it may hold, what each mistake says, and the file that `umr init` writes."""

from __future__ import annotations

import re
from dataclasses import MISSING, Field, asdict, fields
from pathlib import Path
from typing import Any, get_args

import pytest
import tomli_w

from umr.config import EncoderConfig, LabelConfig, MineConfig, TrainConfig
from umr.errors import FormatError, InputError, UsageError
from umr.presets import Preset, preset
from umr.run_file import TABLES, RunConfig, default_file, read_config, read_tables

GOOD = """
work = "w"
passages = ["p/*.tsv"]
queries = ["/abs/q.jsonl"]
rounds = 2
lang = "de"
[encoder]
model = "models/mine"
passage-prefix = "passage: "
[mine]
top-k = 7
store = "f16"
[label]
lm = "owner/name"
temperature = 1
store = "scores"
[train]
epochs = 3
freeze = "passages"
"""


def config_file(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_are_relative_to_the_file_and_names_stay_names(tmp_path: Path) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    found = read_config(config_file(tmp_path, GOOD))
    assert found.work == tmp_path / "w"
    assert found.passages == (str(tmp_path / "p/*.tsv"),)
    assert found.queries == ("/abs/q.jsonl",)
    assert (found.rounds, found.lang) == (2, "de")
    assert found.encoder == EncoderConfig(model=str(tmp_path / "models/mine"), passage_prefix="passage: ")
    assert found.mine == MineConfig(top_k=7, store="f16")
    assert found.label == LabelConfig(lm="owner/name", temperature=1.0, store=str(tmp_path / "scores"))
    assert found.train == TrainConfig(epochs=3, freeze="passages")


def test_further_language_models_are_found_beside_the_file_too(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    text = GOOD.replace('lm = "owner/name"', 'lm = "owner/name"\nalso = ["second", "owner/third"]')
    assert read_config(config_file(tmp_path, text)).label.also == (str(tmp_path / "second"), "owner/third")


def test_every_field_of_every_stage_can_be_written_and_read(tmp_path: Path) -> None:
    values = {
        "encoder": EncoderConfig(model="m", passage_model="n"),
        "mine": MineConfig(),
        "label": LabelConfig(lm="l", store="/s"),
        "train": TrainConfig(),
    }
    tables = {name: {k: v for k, v in asdict(value).items() if v is not None} for name, value in values.items()}
    found = read_config(config_file(tmp_path, tomli_w.dumps({"work": "w", "passages": ["p"], "queries": ["q"]} | tables)))
    assert {"encoder": found.encoder, "mine": found.mine, "label": found.label, "train": found.train} == values
    assert sum(len(fields(type(value))) for value in values.values()) > 40


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rounds = 2", "rouns = 2", "unknown key 'rouns'"),
        ("rounds = 2", "rounds = 0", "rounds is 0, expected at least 1"),
        ("rounds = 2", 'rounds = "2"', "rounds is '2', expected a whole number"),
        ("rounds = 2", "rounds = true", "rounds is True, expected a whole number"),
        ('work = "w"', "", "missing key 'work'"),
        ('passages = ["p/*.tsv"]', "passages = 3", "passages is 3, expected a list of strings"),
        ('passages = ["p/*.tsv"]', "passages = [1]", r"passages is \[1\], expected a list of strings"),
        ("top-k = 7", "topk = 7", r"\[mine\]: unknown key 'topk'"),
        ("top-k = 7", "top-k = 7.5", r"\[mine\]: top_k is 7.5, expected a whole number"),
        ("top-k = 7", "top-k = 0", "top_k is 0, expected at least 1"),
        ('store = "f16"', 'store = "f8"', "store is 'f8', expected f32 or f16"),
        ('lm = "owner/name"', 'lm = "owner/name"\nalso = ""', r"\[label\]: also is '', expected a list of strings"),
        ('lm = "owner/name"', 'lm = "owner/name"\nalso = [1]', r"\[label\]: also is \[1\], expected a list of strings"),
        ('lm = "owner/name"', "", r"\[label\]: missing key 'lm'"),
        ("epochs = 3", "epochs = true", "epochs is True, expected a whole number"),
        ('freeze = "passages"', 'freeze = "all"', "freeze is 'all', expected none or passages or queries"),
        ('freeze = "passages"', "warmup = 1.0", "warmup is 1.0, expected less than 1"),
        ('lang = "de"\n[encoder]', 'lang = "de"\nmine = 3\n[encoder]', "mine is 3, expected a table"),
    ],
)
def test_a_mistake_names_file_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    if "mine = 3" in new:
        text = text.split("[mine]")[0]
    with pytest.raises(UsageError, match=message) as caught:
        read_config(config_file(tmp_path, text))
    assert "run.toml" in caught.value.message


def test_one_path_is_a_list_of_it(tmp_path: Path) -> None:
    found = read_config(config_file(tmp_path, GOOD.replace('passages = ["p/*.tsv"]', 'passages = "p/*.tsv"')))
    assert found.passages == (str(tmp_path / "p/*.tsv"),)


@pytest.mark.parametrize("text", ["rounds = " + 5000 * "9", "x = " + 5000 * "["], ids=["digits", "brackets"])
def test_toml_that_no_run_holds_is_refused_all_the_same(tmp_path: Path, text: str) -> None:
    with pytest.raises(FormatError, match=r"run\.toml: not valid TOML"):
        read_config(config_file(tmp_path, text))


def test_what_is_no_toml_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"run.toml.*line 2"):
        read_config(config_file(tmp_path, "work = 'w'\nrounds = = 2\n"))
    with pytest.raises(InputError, match=r"nowhere\.toml"):
        read_config(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b"work = '\xe9'\n")
    with pytest.raises(FormatError, match=r"latin\.toml"):
        read_config(tmp_path / "latin.toml")
    with pytest.raises(InputError):
        read_config(tmp_path)


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = tmp_path / "run.toml"
    path.write_text('work = "~/w"\npassages = ["~/p.tsv"]\nqueries = ["q.tsv"]\n[encoder]\nmodel = "a/b"\n[label]\nlm = "a/c"\n')
    config = read_config(path)
    assert config.work == tmp_path / "home" / "w"
    assert config.passages == (str(tmp_path / "home" / "p.tsv"),)
    assert config.queries == (str(tmp_path / "q.tsv"),)


def test_a_part_of_a_run_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    found = read_tables(config_file(tmp_path, 'passages = ["p.tsv"]\n[mine]\ntop-k = 3\nrun = ["a.run"]\n'))
    assert found == {"passages": (str(tmp_path / "p.tsv"),), "mine": {"top_k": 3, "run": (str(tmp_path / "a.run"),)}}
    assert read_tables(config_file(tmp_path, "")) == {}
    with pytest.raises(UsageError, match=r"\[train\]: unknown key 'epoch'"):
        read_tables(config_file(tmp_path, "[train]\nepoch = 3\n"))


SETTINGS = [(name, field) for name, kind in {"": RunConfig, **TABLES}.items() for field in fields(kind) if field.name not in TABLES]


@pytest.mark.parametrize(("table", "field"), SETTINGS, ids=[f"{t}.{f.name}" for t, f in SETTINGS])
def test_the_default_file_says_what_every_setting_is(table: str, field: Field[Any]) -> None:
    """Its meaning above it; its value, commented where it has no default; behind it the choices or the unit."""
    text = next(part for part in re.split(r"\n(?=\[)", default_file()) if part.startswith(f"[{table}]") or not table)
    above, behind = re.search(rf"\n\n((?:# .*\n)+)(?:# )?{field.name} = .*?(  # .*)?\n", text).groups()
    said = " ".join(line.removeprefix("# ") for line in above.splitlines())
    assert said.startswith(field.metadata["help"])
    assert (field.default is None) == ("(default: " in said) == (f"\n# {field.name} = " in text)
    assert field.type.startswith("bool") or behind, "neither choices nor a unit"


def test_the_default_file_is_a_run_with_the_defaults(tmp_path: Path) -> None:
    found = read_config(config_file(tmp_path, default_file()))
    examples = {field.name: field.metadata["example"] for _, field in SETTINGS if field.default is MISSING}
    assert set(examples) == {"work", "passages", "queries", "model", "lm"}
    assert found == RunConfig(
        tmp_path / "work", (str(tmp_path / "passages.tsv"),), (str(tmp_path / "queries.jsonl"),),
        EncoderConfig(examples["model"]), MineConfig(), LabelConfig(examples["lm"]), TrainConfig(),
    )  # fmt: skip


@pytest.mark.parametrize("name", get_args(Preset))
def test_a_preset_is_the_papers_run(tmp_path: Path, name: str) -> None:
    """Every value stands in the file with its source, and all else at its default."""
    said, text = preset(name), default_file(preset(name))
    found = read_config(config_file(tmp_path, text))
    for table, settings in said.items():
        for field, (value, source) in settings.items():
            made = getattr(getattr(found, table) if table else found, field)
            assert made == (tuple(str(tmp_path / path) for path in value) if isinstance(value, list) else value)
            assert f"the paper's: {source}" in text
    assert found.train == TrainConfig(**{field: value for field, (value, _) in said["train"].items()})
    assert found.rounds == 1
    assert found.encoder.similarity == "dot"
    with pytest.raises(UsageError, match="no preset 'mrtydi'"):
        preset("mrtydi")


def test_the_default_file_can_be_read_with_every_line_in_force(tmp_path: Path) -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", default_file(), flags=re.MULTILINE)
    found = read_tables(config_file(tmp_path, text))
    assert {name: set(found[name]) for name in TABLES} == {name: {f.name for f in fields(kind)} for name, kind in TABLES.items()}
    assert set(found) == {field.name for field in fields(RunConfig)}
    assert read_config(tmp_path / "run.toml").mine.margin == 2.0
