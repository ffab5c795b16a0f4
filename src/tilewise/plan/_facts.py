"""A fact and how sizes are written and read.

`Fact` is a value with the name of the place it came from. Sizes are counted in bytes
everywhere; people write and read them with binary suffixes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

# Also what the kernel means by the letters in the sysfs file "size": powers of 1024.
_UNITS = {"": 1, "K": KIB, "KIB": KIB, "M": MIB, "MIB": MIB, "G": GIB, "GIB": GIB}
_SIZE = re.compile(r"([0-9]+)\s*([A-Za-z]*)", re.ASCII)
# What a count of bytes, CPUs or microseconds has room for. Python refuses to read numbers of
# thousands of digits, with an error of its own.
_MOST_DIGITS = 19

SIZE_FORM = "a whole number of bytes, optionally with K, M, G, KiB, MiB or GiB"


@dataclass(frozen=True, slots=True)
class Fact:
    """A value and the place it came from.

    Parameters
    ----------
    value : int, float, str, bool or None
        The fact itself.
    source : str
        Where it was read, or which variable, formula or default gave it.

    Examples
    --------
    >>> from tilewise.plan.machine import Fact
    >>> Fact(64, "default").value
    64
    """

    value: Any
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"value": ..., "source": ...}``."""
        return {"value": self.value, "source": self.source}


def parse_size(text: str) -> int:
    """Read a size such as ``49152``, ``48K`` or ``2 MiB`` as bytes; ValueError otherwise."""
    match = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get(match[2].upper()) if match else None
    digits = None if match is None else whole_number(match[1])
    if digits is None or unit is None:
        raise ValueError(f"{text!r:.60} is not a size: expected {SIZE_FORM}")
    return digits * unit


def whole_number(text: str) -> int | None:
    """Read ASCII digits as a number; None where they are something else or too many.

    Examples
    --------
    >>> from tilewise.plan._facts import whole_number
    >>> whole_number("12"), whole_number("-1"), whole_number("9" * 5000)
    (12, None, None)
    """
    if not (text.isascii() and text.isdigit()) or len(text.lstrip("0")) > _MOST_DIGITS:
        return None
    return int(text[-_MOST_DIGITS:])


def format_bytes(size: int) -> str:
    """Write a size with the largest binary unit that keeps it at 1 or more."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            # Two decimals, so that 1.25 MiB stays exact and odd byte counts stay short.
            return f"{size / unit:.2f}".rstrip("0").rstrip(".") + f" {name}"
    return f"{size} B"


def size_override(env: Mapping[str, str], variable: str, low: int, high: int) -> Fact | None:
    """Read a size from an environment variable; None when it is unset or blank."""
    text = env.get(variable, "")
    if not text.strip():
        return None
    allowed = f"{SIZE_FORM}, from {format_bytes(low)} to {format_bytes(high)}"
    try:
        size = parse_size(text)
    except ValueError:
        raise ValueError(f"{variable}={text!r:.60} is not a size: expected {allowed}") from None
    if not low <= size <= high:
        raise ValueError(f"{variable}={text!r:.60} is out of range: expected {allowed}")
    return Fact(size, variable)
