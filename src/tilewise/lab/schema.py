"""Is a file a result? A validator of the part of JSON Schema that `result.schema.json` uses."""

import functools
import json
from importlib import resources
from pathlib import Path
from typing import Any

from tilewise._json import read_json

__all__ = ["SCHEMA_VERSION", "read", "result_schema", "validate"]

#: Rises when a reader of the older form would misread the newer one.
SCHEMA_VERSION = 1

_TYPES = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None),
    "number": (int, float), "integer": int,
}  # fmt: skip


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
        With no more than type, const, required, properties, additionalProperties, items,
        minItems, minimum and references into its own $defs; the schema of a result by default.

    Raises
    ------
    ValueError
        If it does not; the message names the place.

    Examples
    --------
    >>> from tilewise.lab.schema import validate
    >>> validate({"a": 1}, {"type": "object", "required": ["b"]})
    Traceback (most recent call last):
    ...
    ValueError: top: 'b' is missing
    """
    schema = result_schema() if schema is None else schema
    _check(value, schema, schema, "top")


def _check(value, schema, root, place):
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "const" in schema and (value != schema["const"] or isinstance(value, bool)):
        raise ValueError(f"{place}: {schema['const']!r} expected, not {value!r:.60}")
    if "type" in schema:
        wanted = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        # True is an int to Python, but no number to JSON.
        fits = any(
            isinstance(value, _TYPES[name])
            and not (isinstance(value, bool) and name in ("number", "integer"))
            for name in wanted
        )
        if not fits:
            raise ValueError(f"{place}: {' or '.join(wanted)} expected, not {value!r:.60}")
    if "minimum" in schema and value is not None and value < schema["minimum"]:
        raise ValueError(f"{place}: at least {schema['minimum']} expected, not {value!r:.60}")
    if isinstance(value, dict):
        for name in schema.get("required", ()):
            if name not in value:
                raise ValueError(f"{place}: {name!r} is missing")
        known = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        for name, item in value.items():
            inside = f"{place}.{name:.60}".removeprefix("top.")
            if name in known:
                _check(item, known[name], root, inside)
            elif others is False:
                raise ValueError(f"{place}: {name!r:.60} is not known")
            elif others is not True:
                _check(item, others, root, inside)
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            raise ValueError(f"{place}: at least {schema['minItems']} items expected")
        for number, item in enumerate(value):
            if "items" in schema:
                _check(item, schema["items"], root, f"{place}[{number}]")


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
    ValueError
        If it is no result of this version; the message says where it departs from one.
    """
    try:
        value = read_json(path)
        validate(value)
    except RecursionError as error:
        raise ValueError("nested too deeply for a result") from error
    return value
