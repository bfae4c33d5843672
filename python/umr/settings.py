"""How a setting is described, and how its value is checked when a configuration is made, wherever it came from."""

from __future__ import annotations

import dataclasses
import math
import operator
import os
import re
from collections.abc import Callable
from dataclasses import field
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from umr.errors import UsageError

DEVICE = "Where it runs: auto (a GPU where there is one), cpu, cuda or cuda:N."
REQUIRED = dataclasses.MISSING
MOST = 2**31 - 1
EXPECTED = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path", str: "a string", tuple: "a list of strings"}


def setting(
    default: Any,
    help: str,
    *,
    unit: str = "",
    panel: str = "",
    found: str = "",
    example: Any = None,
    path: Literal["", "file", "model"] = "",
    check: Callable[[Any, str], object] | None = None,
    **limits: float,
) -> Any:
    """A dataclass field with its description.

    Arguments:
        default: None where the value is found elsewhere.
        help: what it does, in sentences.
        unit: of the value, or what the value names; empty for a choice.
        panel: of the help page that shows its option; empty for a setting of the run file alone.
        found: where a default of None comes from.
        example: what `umr init` writes where there is no default.
        path: "file": a path; "model": a path or the name of a model. In a run file both are relative to the file.
        check: is handed value and name, and raises a UsageError.
        limits: `least` and `most`, which are allowed; `above` and `below`, which are not. A whole number is 1 to 2^31 - 1 where they say
            nothing else.
    """
    metadata = {
        "help": help, "unit": unit, "panel": panel, "found": found, "example": example, "path": path, "check": check, "limits": limits,
    }  # fmt: skip
    return field(metadata=metadata) if default is REQUIRED else field(default=default, metadata=metadata)


def choices_of(hint: Any) -> tuple[str, ...]:
    """The words that a type allows; empty where it allows others."""
    return next((get_args(one) for one in (hint, *get_args(hint)) if get_origin(one) is Literal), ())


class Settings:
    """Base of the configurations, which are frozen dataclasses: every value is checked, and made that of its field's type."""

    def __post_init__(self) -> None:
        config: Any = type(self)
        for name, (kind, metadata) in _fields(config).items():
            object.__setattr__(self, name, checked(getattr(self, name), kind, name, metadata))


@cache
def _fields(config: Any) -> dict[str, tuple[Any, Any]]:
    hints = get_type_hints(config)
    return {f.name: (hints[f.name], f.metadata) for f in dataclasses.fields(config)}


def checked(value: Any, kind: Any, name: str, metadata: Any) -> Any:
    """A value as its setting's type has it: a list as a tuple, one path as a tuple of it, a model's name as an encoder.

    Arguments:
        value: of the setting.
        kind: the type of the field.
        name, metadata: of the field.

    Raises:
        UsageError: another type, no choice, out of range.
    """
    if type(None) in get_args(kind):
        if value is None:
            return None
        kind = get_args(kind)[0]
    found = _converted(value, kind)
    if found is None or (found == "" and metadata["path"]):
        expected = " or ".join(choices_of(kind)) or EXPECTED.get(get_origin(kind) or kind) or f"a {kind.__name__}"
        raise UsageError(f"{name} is {value!r:.80}, expected {expected}")
    if kind in (int, float):
        _require_range(found, kind, name, metadata["limits"])
    if metadata.get("check"):
        metadata["check"](found, name)
    return found


def _converted(value: Any, kind: Any) -> Any:
    """The value in its field's type; None where it cannot be one."""
    named = isinstance(value, str | os.PathLike) and str(value) != ""
    if isinstance(kind, type) and issubclass(kind, Settings):
        config: Any = kind
        is_encoder = named and "model" in _fields(config)
        return value if isinstance(value, kind) else config(model=str(value)) if is_encoder else None
    if get_origin(kind) is tuple:
        items = (value,) if named else value if isinstance(value, list | tuple) else (None,)
        return tuple(map(str, items)) if all(isinstance(i, str | os.PathLike) and str(i) for i in items) else None
    if choices_of(kind):
        return value if value in choices_of(kind) else None
    if kind in (int, float):
        number = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
        return kind(value) if number else None
    if kind in (str, Path):
        return kind(value) if isinstance(value, str | os.PathLike) else None
    return value if type(value) is kind else None


BOUNDS = (
    ("least", "at least", operator.ge), ("above", "more than", operator.gt),
    ("most", "at most", operator.le), ("below", "less than", operator.lt),
)  # fmt: skip


def _require_range(value: float, kind: type, name: str, limits: dict[str, float]) -> None:
    """Refuse a number that is beyond the limits or not finite."""
    if kind is float and not math.isfinite(value):
        raise UsageError(f"{name} is {value}, expected a finite number")
    bounds = {"least": 1, "most": MOST, **limits} if kind is int else limits
    for bound, words, holds in BOUNDS:
        if bound in bounds and not holds(value, bounds[bound]):
            raise UsageError(f"{name} is {value!r:.80}, expected {words} {bounds[bound]:,}")


def require_device(value: str, name: str) -> None:
    """Refuse the name of a device that umr does not run on.

    Raises:
        UsageError: it is none of auto, cpu, cuda and cuda:N.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", value):
        raise UsageError(f"{name} is {value!r}, expected auto, cpu, cuda or cuda:N")
