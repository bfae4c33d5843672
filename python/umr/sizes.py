"""Amounts of memory as people write them."""

from __future__ import annotations

import re
from decimal import Decimal

from umr.errors import UsageError

UNITS = {"b": 1} | {
    f"{letter}{middle}b": base**power
    for power, letter in enumerate("kmgt", start=1)
    for middle, base in (("", 1000), ("i", 1024))
}  # fmt: skip


def bytes_of(text: str, name: str = "size") -> int:
    """The number of bytes that a size stands for: `8GB`, `512 MiB`, `1.5 gb`.

    Arguments:
        text: a number and a unit: B; KB, MB, GB, TB (powers of 1000); KiB, MiB, GiB, TiB (powers of 1024). Case does not matter.
        name: of the option, for the message.

    Raises:
        UsageError: it has another form, or is less than one byte.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]+)", str(text).strip().lower(), re.ASCII)
    if not found or found[2] not in UNITS:
        raise UsageError(
            f"{name} is {text!r}, expected a number of bytes with its unit",
            "write a number and B, KB, MB, GB, TB, KiB, MiB, GiB or TiB: 8GB",
        )
    size = int(Decimal(found[1]) * UNITS[found[2]])
    if size < 1:
        raise UsageError(f"{name} is {text!r}, expected at least one byte", "write a size such as 8GB")
    return size
