"""Read JSON from strangers: strict about its grammar, with limits on its size."""

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

__all__ = ["MOST_BYTES", "loads", "read_json"]

#: The longest file that is read, 50 times as long as all results of the benchmarks together.
MOST_BYTES = 1 << 26

# Larger whole numbers count nothing real, and most arithmetic cannot hold them.
_MOST_DIGITS = 19


def read_json(path: str | os.PathLike, most_bytes: int = MOST_BYTES) -> Any:
    """Read a file of JSON.

    Parameters
    ----------
    path : path
        A regular file: a device or a pipe might never end.
    most_bytes : int, optional
        The longest file that is taken.

    Returns
    -------
    object
        What `json.loads` makes of it.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is too long, is not text, or is not JSON with numbers in range. The message does not
        name the file.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        if os.path.isdir(path):
            raise IsADirectoryError(21, "Is a directory", os.fspath(path))
        raise ValueError("not a regular file")
    with Path(path).open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"too long: more than {most_bytes} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("not JSON: it is not UTF-8 text") from error
    return loads(text)


def loads(text: str) -> Any:
    """Parse JSON: no NaN, no infinity, no whole number of twenty digits or more.

    Parameters
    ----------
    text : str

    Returns
    -------
    object

    Raises
    ------
    ValueError
        If the text is anything else.

    Examples
    --------
    >>> from tilewise._json import loads
    >>> loads('{"gain": 1e999}')
    Traceback (most recent call last):
    ...
    ValueError: not JSON with numbers in range (1e999)
    """
    try:
        return json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: not JSON ({error.msg})") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _whole(digits):
    if len(digits.lstrip("-")) > _MOST_DIGITS:
        raise ValueError(f"not JSON with numbers in range (a whole number of {len(digits)} digits)")
    return int(digits)


def _finite(digits):
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"not JSON with numbers in range ({digits[:20]})")
    return value


def _no_constant(name):
    raise ValueError(f"not JSON ({name} is not a JSON number)")
