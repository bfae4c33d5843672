"""The TOML file of a run: what it may hold, and what each mistake says."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import pytest
import tomli_w

from umr.config import EncoderConfig, LabelConfig, MineConfig, TrainConfig
from umr.errors import FormatError, InputError, UsageError
from umr.rounds import read_config

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
    text = GOOD.replace(
        'lm = "owner/name"', 'lm = "owner/name"\nalso = ["second", "owner/third"]\nalso-template = ["{text}", "second {text}"]'
    )
    found = read_config(config_file(tmp_path, text)).label
    assert found.also == (str(tmp_path / "second"), "owner/third")
    assert found.also_template == ("{text}", "second {text}")


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
        ('passages = ["p/*.tsv"]', 'passages = "p"', "passages is 'p', expected a list of strings"),
        ('passages = ["p/*.tsv"]', "passages = [1]", r"passages is \[1\], expected a list of strings"),
        ("top-k = 7", "topk = 7", r"\[mine\]: unknown key 'topk'"),
        ("top-k = 7", "top-k = 7.5", r"\[mine\]: top_k is 7.5, expected int"),
        ("top-k = 7", "top-k = 0", "top_k is 0, expected more than 0"),
        ('store = "f16"', 'store = "f8"', "store is 'f8', expected f32 or f16"),
        ('lm = "owner/name"', 'lm = "owner/name"\nalso = "x"', r"\[label\]: also is 'x', expected a list of strings"),
        ('lm = "owner/name"', 'lm = "owner/name"\nalso = [1]', r"\[label\]: also is \[1\], expected a list of strings"),
        ('lm = "owner/name"', "", r"\[label\]: missing key 'lm'"),
        ("epochs = 3", "epochs = true", "epochs is True, expected int"),
        ('freeze = "passages"', 'freeze = "all"', "freeze is 'all', expected none or passages or queries"),
        ('freeze = "passages"', "warmup = 1.0", "warmup is 1.0, expected a share"),
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
    assert "run.toml" in caught.value.message or "expected more than 0" in message or "share" in message


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
