"""Options are fields of the configurations: described and defaulted once, at most 22 a command, the others in a run file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer

from umr.cli import app
from umr.config import EncoderConfig, LabelConfig, MineConfig, TrainConfig
from umr.settings import choices_of

Shell = Callable[..., Any]
CONFIGS: dict[str, tuple[type, ...]] = {"mine": (EncoderConfig, MineConfig), "label": (LabelConfig,), "train": (TrainConfig,)}
FIELDS = [(verb, config, field) for verb, configs in CONFIGS.items() for config in configs for field in dataclasses.fields(config)]
SHOWN = [(verb, config, field) for verb, config, field in FIELDS if field.metadata["panel"]]
WHOLE: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = {
    " ".join([name, *more]): one
    for name, command in WHOLE.commands.items()
    for more, one in ([([part], sub) for part, sub in command.commands.items()] if hasattr(command, "commands") else [([], command)])
}
MOST = 22  # 20 of the stage, and two that say which processes do it
"""Options of a command, without --help."""


def flag(config: type, name: str) -> str:
    return "--encoder" if (config, name) == (EncoderConfig, "model") else "--" + name.replace("_", "-")


def options(verb: str) -> dict[str, Any]:
    return {name: p for p in COMMANDS[verb].params if p.param_type_name == "option" for name in (*p.opts, *p.secondary_opts)}


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_a_command_has_no_more_options_than_a_person_reads(verb: str) -> None:
    found = options(verb)
    assert len(set(found.values())) <= MOST
    assert {"--json", "--quiet"} <= set(found)
    assert all(p.rich_help_panel and p.help for p in found.values())


@pytest.mark.parametrize(("verb", "config", "field"), FIELDS, ids=[f"{v}-{f.name}" for v, _, f in FIELDS])
def test_a_field_with_a_panel_is_an_option_with_its_text_default_and_choices(verb: str, config: type, field: Any) -> None:
    found = options(verb).get(flag(config, field.name))
    if not field.metadata["panel"]:
        assert found is None or field.name == "store" or not found.help.startswith(field.metadata["help"])
        return
    assert found.help.startswith(field.metadata["help"].replace("[", r"\["))
    assert found.rich_help_panel == field.metadata["panel"]
    assert found.default is None, "so that what is left out comes from the run file"
    if type(field.default) in (int, float, str):
        default = f"{field.default:g}" if isinstance(field.default, float) else field.default
        assert f"default: {default})" in found.help
    if field.default is None:
        assert f"default: {field.metadata['found']}" in found.help
    assert all(choice in found.help for choice in choices_of(get_type_hints(config)[field.name]))


CHOICES = [(v, c, f.name, values) for v, c, f in SHOWN if (values := choices_of(get_type_hints(c)[f.name]))]


@pytest.mark.parametrize(("verb", "config", "name", "values"), CHOICES, ids=[f"{v}-{n}" for v, _, n, _ in CHOICES])
def test_a_value_that_is_no_choice_is_refused_with_the_choices(
    shell: Shell, verb: str, config: type, name: str, values: tuple[str, ...]
) -> None:
    done = shell(verb, "W", flag(config, name), "nonsense")
    assert done.code == 2
    assert flag(config, name) in done.talk
    assert all(f"'{value}'" in done.talk for value in values)


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("verb", ["", *sorted(COMMANDS)])
def test_help_shows_every_option_in_its_panel(shell: Shell, monkeypatch: pytest.MonkeyPatch, verb: str, width: int) -> None:
    done = shell(*verb.split(), "--help", columns=width)
    assert done.code == 0
    words = done.out.split()
    lines = done.out.splitlines()
    assert all(len(line) <= width for line in lines)
    for name, found in options(verb).items() if verb else ():
        assert name in words, f"{name} is cut"
        assert any(line.startswith(f"╭─ {found.rich_help_panel} ─") for line in lines)
    assert "<bool>" not in done.out
    assert "…" not in done.out


def test_the_front_page_names_every_command_in_its_group(shell: Shell) -> None:
    done = shell("--help")
    assert done.code == 0
    assert all(verb in done.out for verb in ("mine", "label", "train", "init", "run", "eval", "search", "status", "data", "models", "demo"))
    assert "The loop" in done.out


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The configurations that reach the stages, which stop there."""
    found: list[Any] = []

    def stage(workspace: Any, config: Any, *_: Any) -> None:
        found.append(config)
        raise KeyboardInterrupt

    for verb in CONFIGS:
        monkeypatch.setattr(f"umr.cli.{verb}.stage", stage)
    return found


OTHER: dict[str, Any] = {"int": 7, "int | None": 7, "float": 0.5, "float | None": 0.5, "str | None": "3GB", "tuple[str, ...]": ("a", "b")}


def another(config: type, field: Any) -> Any:
    """A value that is not the default."""
    choices = [c for c in choices_of(get_type_hints(config)[field.name]) if c != field.default]
    return choices[0] if choices else True if field.type == "bool" else OTHER.get(field.type, "cpu")


@pytest.mark.parametrize(("verb", "config"), [("mine", MineConfig), ("label", LabelConfig), ("train", TrainConfig)])
def test_options_reach_the_stage(shell: Shell, work: Path, seen: list[Any], verb: str, config: Any) -> None:
    """Every option given another value arrives in the configuration."""
    values = {f.name: another(config, f) for v, c, f in SHOWN if c is config}
    words: list[object] = []
    for name, value in values.items():
        assert value != {f.name: f.default for f in dataclasses.fields(config)}[name]
        many = value if isinstance(value, tuple) else (value,)
        words += [flag(config, name)] if value is True else [word for one in many for word in (flag(config, name), one)]
    shell(verb, work, *words)
    assert seen == [config(**values)]


def test_a_run_file_stands_behind_the_options(shell: Shell, work: Path, seen: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        '[mine]\ntop_k = 3\nper-language = 2\nbm25 = true\ncollapse = "near"\nrun = ["a.run"]\n'
        '[label]\nlm = "first"\nbatch_tokens = 5\nshare = false\nfuse = 1\n[train]\nclip = 1.5\nepochs = 3\ndropout = false\n'
    )
    shell("mine", work, "--config", file, "--per-language", 0)
    shell("mine", work, "--config", file, "--run", "b.run", "--top-k", 2)
    shell("label", work, "--config", file, "--fuse", 0, "--device", "cpu")
    shell("label", work, "--config", file, "--lm", "second")
    shell("train", work, "--config", file, "--epochs", 2)
    assert seen == [
        MineConfig(top_k=3, bm25=True, collapse="near", run=(str(tmp_path / "a.run"),)),
        MineConfig(top_k=2, per_language=2, bm25=True, collapse="near", run=("b.run",)),
        LabelConfig("first", batch_tokens=5, share=False, device="cpu"),
        LabelConfig("second", batch_tokens=5, share=False, fuse=1.0),
        TrainConfig(clip=1.5, epochs=2, dropout=False),
    ]


def test_a_work_folder_begins_with_a_run_file(shell: Shell, kit: Any, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        f'passages = ["{kit.passages}"]\nqueries = ["{kit.queries}"]\nlang = "de"\n[mine]\ntop_k = 3\n'
        f'[encoder]\nmodel = "{kit.bert}"\npooling = "cls"\nsimilarity = "dot"\nquery_length = 9\n'
    )
    done = shell("mine", tmp_path / "work", "--config", file, "--pooling", "mean", "--json")
    assert done.code == 0, done.err
    assert (done.json["round"], done.json["top_k"]) == (0, 3)
    assert "mean pooling, dot" in done.talk
    assert "at most 9 /" in done.talk
    assert shell("status", tmp_path / "work", "--json").json["languages"] == ["de"]


def test_what_a_run_file_says_wrongly_is_refused_with_its_place(shell: Shell, work: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    for text, message in (
        ("[mine]\ntopk = 3\n", "run.toml [mine]: unknown key 'topk'"),
        ("[encoder]\npooling = 'mean'\n", "pooling needs --encoder"),
        ("[encoder]\npooling = 'mean'\n", "or model under [encoder] of the run file"),
        ("mine = 3\n", "run.toml: mine is 3, expected a table"),
    ):
        file.write_text(text)
        done = shell("mine", work, "--config", file)
        assert done.code == 2
        assert message in done.talk
    assert shell("label", work, "--config", tmp_path / "none.toml").code == 1


def test_init_writes_a_run_file_once(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = shell("init")
    assert done.code == 0, done.err
    assert "fill in" in done.out
    written = (tmp_path / "run.toml").read_bytes()
    again = shell("init", "run.toml", "--json")
    assert again.code == 1
    assert "run.toml is there already" in again.json["error"]["message"]
    assert (tmp_path / "run.toml").read_bytes() == written
    assert shell("init", "other.toml", "--json").json == {"file": "other.toml"}
    assert shell("init", tmp_path / "none" / "run.toml").code == 1
    assert "see that its files are there" in shell("init", "paper.toml", "--preset", "xor-full").out
    assert "data/all_w100.tsv" in (tmp_path / "paper.toml").read_text()
    assert shell("init", "more.toml", "--preset", "xor").code == 2
    assert not (tmp_path / "more.toml").exists()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("mine", "--topk", 3), "Did you mean --top-k?"),
        (("label", "--temprature", 3), "Did you mean --temperature?"),
        (("train", "--learning-rates", 3), "Did you mean --learning-rate?"),
        (("train", "--clip", 3), "a setting of the run file: clip under [train] (--config FILE"),
        (("mine", "--query-length", 3), "a setting of the run file: query_length under [encoder]"),
        (("mine", "--precision", "bf16"), "a setting of the run file: precision under [mine]"),
        (("train", "--shard-row", 5), "a setting of the run file: shard_rows under [mine]"),
        (("mine", "--rounds", 5), "a setting of the run file: rounds at its top"),
        (("status", "--verfy"), "Did you mean --verify?"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_an_unknown_option_names_the_nearest_one_or_its_place_in_the_run_file(shell: Shell, call: tuple[object, ...], said: str) -> None:
    verb, *words = call
    done = shell(verb, "W", *words)
    assert done.code == 2
    assert f"No such option: {words[0]}" in done.talk
    assert said in " ".join(done.talk.replace("│", " ").split())


def test_a_word_like_no_option_has_no_suggestion(shell: Shell) -> None:
    assert "Did you mean" not in shell("mine", "W", "--xyzzy").talk
    assert "Did you mean --version?" in shell("--verson").talk


@pytest.mark.parametrize(
    "call",
    [("train", "--seed", -1), ("mine", "--per-language", -1), ("train", "--device", "meta"), ("label", "--memory", "1KB", "--lm", "l")],
)
def test_a_value_out_of_range_is_a_usage_error(shell: Shell, work: Path, call: tuple[object, ...]) -> None:
    done = shell(call[0], work, *call[1:])
    assert done.code == 2
    assert f"error: {str(call[1])[2:].replace('-', '_')} is " in done.talk
