"""Is a file a result? `result.schema.json` says what one is, and jsonschema checks it."""

import functools
import json
from importlib import resources
from pathlib import Path
from typing import Any

from tilewise._json import read_json
from tilewise._text import shorten

__all__ = ["SCHEMA_VERSION", "read", "result_schema", "validate"]

#: Rises when a reader of the older form would misread the newer one.
SCHEMA_VERSION = 1

# Messages repeat values and names, which a stranger's file may have as long as it likes.
_MOST_SHOWN = 120


@functools.cache
def result_schema() -> dict[str, Any]:
    """The schema of a result, as JSON Schema (draft 2020-12).

    Returns
    -------
    dict

    Examples
    --------
    >>> from tilewise.lab.schema import result_schema
    >>> result_schema()["properties"]["schema_version"]
    {'const': 1}
    """
    text = (resources.files(__package__) / "result.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


def validate(value: Any, schema: dict[str, Any] | None = None) -> None:
    """Check that a value follows a schema.

    Parameters
    ----------
    value : object
        What `json.loads` returned.
    schema : dict, optional
        The schema of a result by default.

    Raises
    ------
    ModuleNotFoundError
        Without jsonschema (extra ``lab``).
    ValueError
        If it does not; the message names the place.

    Examples
    --------
    >>> from tilewise.lab.schema import validate
    >>> validate({"a": 1}, {"type": "object", "required": ["b"]})
    Traceback (most recent call last):
    ...
    ValueError: top: 'b' is a required property
    """
    try:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import best_match
    except ImportError as error:
        raise ModuleNotFoundError(
            'jsonschema is not installed, which checks results; run: pip install "tilewise[lab]"',
            name="jsonschema",
        ) from error
    schema = result_schema() if schema is None else schema
    error = best_match(Draft202012Validator(schema).iter_errors(value))
    if error is not None:
        place = error.json_path.removeprefix("$").removeprefix(".") or "top"
        raise ValueError(f"{shorten(place, _MOST_SHOWN)}: {shorten(error.message, _MOST_SHOWN)}")


def read(path: str | Path) -> dict[str, Any]:
    """Read a result from a file.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict

    Raises
    ------
    OSError
        If it cannot be read.
    ModuleNotFoundError
        Without jsonschema (extra ``lab``).
    ValueError
        If it is no result of this version; the message says where it departs from one.
    """
    try:
        value = read_json(path)
        validate(value)
    except RecursionError as error:
        raise ValueError("nested too deeply for a result") from error
    return value
