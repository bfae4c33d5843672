"""Options made from the fields of the configurations, so that each is named, described and defaulted once."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from umr.cli.output import Result, finish
from umr.cli.reporter import RichReporter
from umr.config import EncoderConfig, LabelConfig, MineConfig, TrainConfig
from umr.errors import UsageError

PANELS: Mapping[type, str] = {
    EncoderConfig: "Encoder",
    MineConfig: "Mining",
    LabelConfig: "Labelling",
    TrainConfig: "Training",
}
NAMES: Mapping[tuple[type, str], str] = {
    (EncoderConfig, "model"): "--encoder",
    (EncoderConfig, "passage_model"): "--passage-encoder",
}
JSON_HELP = "Put one JSON object on stdout; talk and bars stay on stderr."


def command(function: Callable[..., Any]) -> Callable[..., None]:
    """Make a Typer command of a function whose configuration parameters become options, one a field.

    A required field (the encoder, the language model) may be left out: the function then gets None for that
    configuration. Every command takes `--json` and `--quiet` and is handed a reporter.
    """
    hints = get_type_hints(function, include_extras=True)
    parameters: list[inspect.Parameter] = []
    configs: dict[str, type] = {}
    for parameter in inspect.signature(function).parameters.values():
        kind = next((k for k in (hints[parameter.name], *get_args(hints[parameter.name])) if k in PANELS), hints[parameter.name])
        if parameter.name == "reporter":
            continue
        if kind in PANELS:
            configs[parameter.name] = kind
            parameters += _options(kind)
        else:
            parameters.append(parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))
    parameters += [_flag("json", False, JSON_HELP), _flag("quiet", False, "Say nothing but warnings.")]

    @functools.wraps(function)
    def wrapped(**values: Any) -> None:
        as_json, quiet = values.pop("json"), values.pop("quiet")
        fields = {name: {f.name: values.pop(_key(kind, f.name)) for f in dataclasses.fields(kind)} for name, kind in configs.items()}

        def work(reporter: RichReporter) -> Result:
            made = {name: _make(kind, fields[name]) for name, kind in configs.items()}
            return function(**values, **made, reporter=reporter)  # type: ignore[no-any-return]

        finish(work, as_json, quiet)

    wrapped.__signature__ = inspect.Signature(sorted(parameters, key=lambda p: p.default is not inspect.Parameter.empty))  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def _make(kind: type, values: Mapping[str, Any]) -> Any:
    """The configuration, or None where its required field was left out."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    missing = [f for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING and values[f.name] is None]
    if not missing:
        return kind(**values)
    given = [f for f in dataclasses.fields(kind) if f not in missing and values[f.name] != f.default]
    if given:
        raise UsageError(
            f"{_flag_of(kind, given[0].name)} needs {_flag_of(kind, missing[0].name)}",
            f"add {_flag_of(kind, missing[0].name)} NAME",
        )
    return None


def _flag_of(kind: type, name: str) -> str:
    return NAMES.get((kind, name), "--" + name.replace("_", "-"))


def _key(kind: type, name: str) -> str:
    return f"{PANELS[kind].lower()}_{name}"


def _options(kind: type) -> list[inspect.Parameter]:
    hints = get_type_hints(kind)
    return [_option(kind, field, hints[field.name]) for field in dataclasses.fields(kind)]


def _option(kind: type, field: dataclasses.Field[Any], hint: Any) -> inspect.Parameter:
    flag = _flag_of(kind, field.name)
    required = field.default is dataclasses.MISSING
    if hint is bool:
        flag = f"{flag}/--no-{flag[2:]}"
    many = get_origin(hint) is tuple  # an option that may be given many times
    info = typer.Option(
        flag,
        metavar="<str>" if many else None,
        help=field.metadata["help"],
        rich_help_panel=PANELS[kind],
        show_default=field.default is not None and not required,
    )
    shown: Any = list[str] if many else hint | None if required else hint
    annotation = Annotated[shown, info]
    default = None if required else field.default
    return inspect.Parameter(_key(kind, field.name), inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _flag(name: str, default: bool, text: str) -> inspect.Parameter:
    info = typer.Option(f"--{name}", help=text, rich_help_panel="Output")
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[bool, info])
