"""Commands made of functions: the fields of the configurations become options, and a run file stands behind them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from umr.cli.output import Result, finish
from umr.config import EncoderConfig
from umr.data.corpus import is_utf8
from umr.errors import UsageError
from umr.progress import Reporter
from umr.run_file import TABLES, RunConfig, read_tables
from umr.settings import DEVICE, REQUIRED, choices_of
from umr.together import launch
from umr.work.ranks import ranks_of

FLAGS: dict[tuple[type, str], str] = {(EncoderConfig, "model"): "--encoder"}


def option(*names: str, help: str, unit: str = "", panel: str | None = None, **more: Any) -> Any:
    """An option of a command; `help` says its default.

    Arguments:
        names: `--name`; empty for the name of the parameter.
        help, panel: of the help page.
        unit: stands for the value; empty for a flag.
        more: of `typer.Option`.
    """
    shown = unit and f"<{unit}>"
    return typer.Option(*names, help=escape(help), metavar=shown, rich_help_panel=panel, show_default=False, **more)


def _flag(config: type, name: str) -> str:
    return FLAGS.get((config, name), "--" + name.replace("_", "-"))


def _is_given(value: Any) -> bool:
    return value is not None and value is not False and value not in ([], ())


def _setting(config: type, field: dataclasses.Field[Any]) -> Any:
    """The option of a setting: described, named and defaulted by its field."""
    choices, meta = choices_of(get_type_hints(config)[field.name]), field.metadata
    given = field.default is not REQUIRED and _is_given(field.default)
    default = meta["found"] or (f"{field.default:g}" if isinstance(field.default, float) else str(field.default) if given else "")
    notes = "; ".join(filter(None, (", ".join(choices), default and f"default: {default}")))
    text = f"{meta['help']} ({notes})" if notes else meta["help"]
    return option(_flag(config, field.name), help=text, unit="choice" if choices else meta["unit"], panel=meta["panel"])


RUN = {field.name: _setting(RunConfig, field) for field in dataclasses.fields(RunConfig)}
Work = Annotated[Path, typer.Argument(metavar="WORK", help="The work folder.", show_default=False)]
Passages = Annotated[list[str] | None, RUN["passages"]]
Queries = Annotated[list[str] | None, RUN["queries"]]
Lang = Annotated[str | None, RUN["lang"]]
Round = Annotated[
    int | None, option("--round", help="The round. (default: the newest that this stage can work on)", unit="number", panel="Input")
]
Force = Annotated[
    bool,
    option(
        "--force",
        help="Do the stage again, also with other settings. Vectors and scores are kept; what was trained is moved aside and named.",
        panel="Input",
    ),
]
Rank = Annotated[
    str | None,
    option(
        help="Do a part, beside others with the same command: i/N, or auto in a Slurm array. (default: all of it, or torchrun's)",
        unit="i/N", panel="Resources",
    ),
]  # fmt: skip
Workers = Annotated[
    int | None,
    option(help="Processes on this machine, by torchrun; one for each GPU. (default: 1)", unit="processes", min=1, panel="Resources"),
]
Device = Annotated[str, option("--device", help=f"{DEVICE} (default: auto)", unit="device", panel="Resources")]
CONFIG = Annotated[
    Path | None, option("--config", help="A run file; its settings count where no option is given.", unit="file", panel="Input")
]
JSON = Annotated[bool, option("--json", help="Write one JSON object to stdout.", panel="Output")]
QUIET = Annotated[bool, option("--quiet", help="Say nothing but warnings.", panel="Output")]


def _explained(error: Exception, context: Any) -> Exception:
    """The error of an option that does not exist, with the nearest one that does, or the setting of the run file of that name."""
    given = getattr(error, "option_name", None)
    if not given or not hasattr(error, "possibilities"):
        return error
    options = [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]
    settings = _settings_of_run_file(context.info_name)
    nearest = next(iter(get_close_matches(given, [*options, *settings], n=1, cutoff=0.5)), None)
    hint = f". Did you mean {nearest}?" if nearest else ""
    if nearest in settings and nearest not in options:
        hint = f". It is a setting of the run file: {settings[nearest]} (--config FILE reads it, `umr init` writes one)."
    error.message, error.possibilities = f"No such option: {given}{hint}", None  # type: ignore[attr-defined]
    return error


def _settings_of_run_file(first: str) -> dict[str, str]:
    """Every setting as an option would be called, and where it stands in a run file; of equal names that of the table `first`."""
    tables: dict[str, Any] = {"": RunConfig, **TABLES}
    found = {}
    for table in sorted(tables, key=lambda name: name == first):
        for field in dataclasses.fields(tables[table]):
            found[_flag(tables[table], field.name)] = f"{field.name} {f'under [{table}]' if table else 'at its top'}"
    return found


class _Plain:
    """A command whose arguments are text, that explains options that do not exist, and on whose help page a flag has no `<bool>`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse arguments that are no text, and explain options that do not exist."""
        broken = next((word for word in args if not is_utf8(word)), None)
        if broken is not None:
            raise typer.BadParameter(f"an argument is not UTF-8: {broken!a}")
        try:
            return list(super().parse_args(ctx, args))  # type: ignore[misc]  # of typer
        except Exception as error:
            raise _explained(error, ctx) from None

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters of the help page."""
        found = list(super().get_params(ctx))  # type: ignore[misc]
        for parameter in found:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
        return found


class Group(_Plain, TyperGroup):
    """`umr` itself."""


class Command(_Plain, TyperCommand):
    """A verb; its `--help` stands beside `--json` and `--quiet`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters of the help page."""
        found = super().get_params(ctx)
        found[-1].rich_help_panel = "Output"
        return found


def command(function: Callable[..., Result]) -> Callable[..., None]:
    """Make a command of a function: each setting of its configurations that has a panel becomes an option.

    A configuration whose required setting (the encoder, the language model) is left out is None. The command of a stage takes
    `--config`, every command `--json` and `--quiet`; each is handed a reporter.
    """
    hints = get_type_hints(function, include_extras=True)
    configs = {name: kind for name, hint in hints.items() for kind in (hint, *get_args(hint)) if kind in TABLES.values()}
    own = [p for p in inspect.signature(function).parameters.values() if p.name not in configs and p.name != "reporter"]
    parameters = [_parameter(p.name, hints[p.name], p.default) for p in own]
    parameters += [_parameter("config_file", CONFIG)] if configs else []
    parameters += [made for kind in configs.values() for made in _settings(kind)]
    parameters += [_parameter("json", JSON, False), _parameter("quiet", QUIET, False)]

    @functools.wraps(function)
    def wrapped(**values: Any) -> None:
        if (values.get("workers") or 1) > 1 and ranks_of() is None:
            if values.get("rank"):
                raise typer.BadParameter("--rank and --workers are two ways to do one thing: leave one of them out")
            launch(values["workers"], without(sys.argv[1:], "--workers"))
            return
        as_json, quiet, path = values.pop("json"), values.pop("quiet"), values.pop("config_file", None)
        given = {name: {f.name: values.pop(_key(kind, f.name), None) for f in dataclasses.fields(kind)} for name, kind in configs.items()}

        def work(reporter: Reporter) -> Result:
            file = read_tables(path) if path else {}
            for name in ("passages", "queries", "lang"):
                if name in values and not values[name]:
                    values[name] = file.get(name)
            values.update({name: _configured(kind, file, given[name]) for name, kind in configs.items()})
            return function(**values, reporter=reporter)

        finish(work, as_json, quiet)

    parameters.sort(key=lambda p: p.annotation.__metadata__[0].rich_help_panel == "Output")  # the last panel of the page
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def without(words: Sequence[str], name: str) -> list[str]:
    """A command line without an option and its value."""
    at = next(n for n, word in enumerate(words) if word.split("=")[0] == name)
    return [*words[:at], *words[at + (1 if "=" in words[at] else 2) :]]


def _configured(kind: Any, file: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """The configuration: options before the file before the defaults; None where its required setting is in neither."""
    table = next(name for name, one in TABLES.items() if one is kind)
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if _is_given(value)}
    values: dict[str, Any] = {**file.get(table, {}), **options}
    missing = [f.name for f in dataclasses.fields(kind) if f.default is REQUIRED and f.name not in values]
    if missing and values:
        flag = _flag(kind, missing[0])
        raise UsageError(f"{next(iter(values))} needs {flag}", f"add {flag} NAME, or {missing[0]} under [{table}] of the run file")
    return None if missing else kind(**values)


def _settings(kind: Any) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.metadata["panel"]:
            shape = list[str] if get_origin(hints[field.name]) is tuple else hints[field.name]
            yield _parameter(_key(kind, field.name), Annotated[shape | None, _setting(kind, field)])


def words_of(kind: type, values: Mapping[str, Any]) -> list[str]:
    """The words on a command line that set a configuration to some values; those at their defaults need none.

    Arguments:
        kind: of the configuration.
        values: by field; others are passed over.
    """
    words: list[str] = []
    for field in dataclasses.fields(kind):
        value = values.get(field.name)
        if field.metadata["panel"] and _is_given(value) and value != field.default:
            flag, many = _flag(kind, field.name), value if isinstance(value, list | tuple) else [value]
            words += [flag] if value is True else [word for one in many for word in (flag, str(one))]
    return words


def _key(kind: type, name: str) -> str:
    return f"{kind.__name__}_{name}"


def _parameter(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
