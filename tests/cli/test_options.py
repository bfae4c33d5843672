"""Options are the fields of the configurations: each shown with its text and default, each reaching its stage."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import pytest
import typer

from umr.cli import app
from umr.config import EncoderConfig, LabelConfig, MineConfig, TrainConfig

Shell = Callable[..., Any]
CONFIGS: dict[str, tuple[type, ...]] = {"mine": (EncoderConfig, MineConfig), "label": (LabelConfig,), "train": (TrainConfig,)}
FIELDS = [(verb, config, field) for verb, configs in CONFIGS.items() for config in configs for field in dataclasses.fields(config)]
RENAMED = {(EncoderConfig, "model"): "--encoder", (EncoderConfig, "passage_model"): "--passage-encoder"}
COMMANDS: Any = typer.main.get_command(app)


def flag(config: type, name: str) -> str:
    return RENAMED.get((config, name), "--" + name.replace("_", "-"))


def option(verb: str, name: str) -> Any:
    return next(p for p in COMMANDS.commands[verb].params if name in p.opts)


@pytest.mark.parametrize(("verb", "config", "field"), FIELDS, ids=[f"{v}-{f.name}" for v, _, f in FIELDS])
def test_every_field_is_an_option_with_its_text_default_and_choices(verb: str, config: type, field: Any) -> None:
    found = option(verb, flag(config, field.name))
    assert found.help == field.metadata["help"]
    required = field.default is dataclasses.MISSING
    assert found.default == (None if required else field.default)
    if not required and field.default is not None:
        assert found.show_default
    elif field.default is None:
        assert "default: " in field.metadata["help"] or field.name == "passage_model", "a default that is found must be said in words"


CHOICES = [
    (verb, config, field.name, values)
    for verb, config, field in FIELDS
    for hint in [get_type_hints(config)[field.name]]
    for values in [get_args(h) for h in (hint, *get_args(hint)) if get_args(h) and all(isinstance(v, str) for v in get_args(h))]
]


@pytest.mark.parametrize(("verb", "config", "name", "values"), CHOICES, ids=[f"{v}-{n}" for v, _, n, _ in CHOICES])
def test_a_value_that_is_no_choice_is_refused_with_the_choices(
    shell: Shell, verb: str, config: type, name: str, values: tuple[str, ...]
) -> None:
    done = shell(verb, "W", flag(config, name), "nonsense")
    assert done.code == 2
    assert flag(config, name) in done.talk
    assert all(f"'{value}'" in done.talk for value in values)


@pytest.mark.parametrize("verb", list(CONFIGS))
def test_help_shows_every_option_in_its_panel(shell: Shell, verb: str) -> None:
    done = shell(verb, "--help")
    assert done.code == 0
    words = done.out.split()
    for config in CONFIGS[verb]:
        for field in dataclasses.fields(config):
            assert any(word.startswith(flag(config, field.name)[:20]) for word in words), field.name
    assert "--json" in words
    if verb == "train":
        assert "[default: 2e-05]" in " ".join(done.out.replace("│", " ").split())


@pytest.mark.parametrize("verb", sorted(COMMANDS.commands))
def test_every_command_has_help_json_and_quiet(shell: Shell, verb: str) -> None:
    done = shell(verb, "--help")
    assert done.code == 0
    assert "--json" in done.out
    assert "--quiet" in done.out
    for parameter in COMMANDS.commands[verb].params:
        assert parameter.name == "help" or parameter.param_type_name == "argument" or parameter.help, parameter.name


def test_the_front_page_names_every_command_in_its_group(shell: Shell) -> None:
    done = shell("--help")
    assert done.code == 0
    assert all(verb in done.out for verb in ("mine", "label", "train", "run", "eval", "search", "status", "models", "demo"))
    assert "The loop" in done.out


def test_options_reach_the_stage(shell: Shell, work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every option of `train` given another value arrives in the configuration."""
    import umr.train  # noqa: F401

    seen: list[TrainConfig] = []

    class EnoughError(Exception):
        pass

    def stage(workspace: Any, config: TrainConfig, *_: Any) -> None:
        seen.append(config)
        raise EnoughError

    monkeypatch.setattr(sys.modules["umr.train"], "train", stage)
    wanted = TrainConfig(
        epochs=3, batch_size=5, passages_per_query=6, learning_rate=0.5, weight_decay=0.25, warmup=0.0, clip=1.5, student_temperature=0.7,
        negatives="own", duplicates="keep", freeze="queries", untie=True, dropout=False, chunk_tokens=77, precision="bf16", held_out=0.5,
        evaluations=9, keep="last", seed=11, device="cpu",
    )  # fmt: skip
    arguments: list[object] = []
    for field in dataclasses.fields(TrainConfig):
        value = getattr(wanted, field.name)
        assert value != field.default, field.name
        name = flag(TrainConfig, field.name)
        arguments += ([name] if value else ["--no-" + name[2:]]) if isinstance(value, bool) else [name, value]
    shell("train", work, *arguments)
    assert seen == [wanted]
