"""A fact: a value with the name of the place it came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tilewise._sizes import SIZE_FORM, parse_size, sized

# What a count of bytes, CPUs or microseconds has room for. Python refuses to read numbers of
# thousands of digits, with an error of its own.
_MOST_DIGITS = 19


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


def size_override(env: Mapping[str, str], variable: str, low: int, high: int) -> Fact | None:
    """Read a size from an environment variable; None when it is unset or blank."""
    text = env.get(variable, "")
    if not text.strip():
        return None
    allowed = f"{SIZE_FORM}, from {sized(low)} to {sized(high)}"
    try:
        size = parse_size(text)
    except ValueError:
        raise ValueError(f"{variable}={text!r:.60} is not a size: expected {allowed}") from None
    if not low <= size <= high:
        raise ValueError(f"{variable}={text!r:.60} is out of range: expected {allowed}")
    return Fact(size, variable)
