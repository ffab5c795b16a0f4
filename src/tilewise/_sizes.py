"""Sizes in bytes, as people write and read them."""

import math
import re

__all__ = [
    "GIB", "KIB", "MIB", "MOST_BYTES", "SIZE_FORM", "fact_text", "kernel_bytes", "parse_size",
    "sized",
]  # fmt: skip

KIB, MIB, GIB, TIB = (1 << power for power in (10, 20, 30, 40))
#: Larger sizes are read as this one: no memory is larger, and arithmetic with floats holds it.
MOST_BYTES = 1 << 62

# A letter alone is what the kernel means by it in sysfs: a power of 1024.
_UNITS = {"": 1, "B": 1} | {
    prefix + suffix: base**power
    for base, suffix in ((1024, ""), (1000, "B"), (1024, "IB"))
    for power, prefix in enumerate("KMGT", 1)
}
_SIZE = re.compile(r"\s*(\d+)(\.\d+)?\s*([a-zA-Z]*)\s*", re.ASCII)
# Python refuses to read numbers of thousands of digits, with an error of its own.
_MOST_DIGITS = 19

#: What a message says of it.
SIZE_FORM = "a number of bytes, optionally with K, M, G, KiB, MiB, GiB, kB, MB or GB"


def parse_size(text: str) -> int:
    """Read a size as bytes.

    Parameters
    ----------
    text : str
        A number, perhaps with a unit: kB, MB, GB and TB are powers of 1000; KiB, MiB, GiB and
        TiB, and K, M, G and T alone, powers of 1024. Capitals do not matter.

    Returns
    -------
    int
        At most `MOST_BYTES`.

    Raises
    ------
    ValueError
        If it is no size.

    Examples
    --------
    >>> from tilewise._sizes import parse_size
    >>> parse_size("48K"), parse_size("1.5 GB"), parse_size("2 MiB"), parse_size("49152")
    (49152, 1500000000, 2097152, 49152)
    """
    found = _SIZE.fullmatch(text)
    unit = _UNITS.get(found[3].upper()) if found else None
    if unit is None:
        raise ValueError(f"{text!r:.60} is not a size: expected {SIZE_FORM}")
    whole, part, _ = found.groups()
    if len(whole.lstrip("0")) > _MOST_DIGITS:
        return MOST_BYTES
    exact = int(whole[-_MOST_DIGITS:]) * unit
    return min(exact + int(float(part or 0) * unit), MOST_BYTES)


def sized(size: float) -> str:
    """Write bytes with the largest binary unit that keeps them at 1 or more.

    With two decimals where they are exact, else with three digits.

    Examples
    --------
    >>> from tilewise._sizes import sized
    >>> sized(49152), sized(1.25 * 2**20), sized(741_459), sized(816)
    ('48 KiB', '1.25 MiB', '724 KiB', '816 B')
    """
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            value = size / unit
            exact = value * 100 == round(value * 100)
            decimals = 2 if exact else max(0, 2 - int(math.log10(value)))
            text = f"{value:,.{decimals}f}"
            return f"{text.rstrip('0').rstrip('.') if decimals else text} {name}"
    return f"{size:.0f} B"


def fact_text(name: str, value: object) -> str:
    """Write the value of a fact about the machine as people read it.

    Examples
    --------
    >>> from tilewise._sizes import fact_text
    >>> fact_text("l2_bytes", 2097152), fact_text("hypervisor", True), fact_text("l3_bytes", None)
    ('2 MiB', 'yes', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_bytes") and isinstance(value, int):
        return sized(value)
    return str(value)


def kernel_bytes(path: str, name: str) -> int | None:
    """Read a size that Linux states as ``name: 4 kB`` in a file of /proc; None if it does not."""
    try:
        with open(path, encoding="ascii") as lines:
            return next(int(x.split()[1]) * KIB for x in lines if x.startswith(f"{name}:"))
    except (OSError, ValueError, StopIteration):
        return None
