"""The saved record of chunk sizes that were measured to be faster than the plan's own.

``tilewise tune`` writes it; plans read it and name it as their source. It holds for one model of
CPU with its caches and instruction set, one type of the data and one version of tilewise, and
changes nothing but speed. ``TILEWISE_TUNING`` names another file, or is "off".
"""

import contextlib
import contextvars
import functools
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tilewise._json import read_json
from tilewise._text import printable
from tilewise._version import __version__

from .machine import Machine

__all__ = [
    "VARIABLE", "Entry", "Tuning", "current", "ignored", "machine_key", "read", "record_path",
    "to_text", "why_no_path",
]  # fmt: skip

VARIABLE = "TILEWISE_TUNING"
SCHEMA_VERSION = 1
_FORMAT = "tilewise-tuning"
# A shape is served by an entry whose features and clusters both lie within this factor.
_NEAR = math.sqrt(2)
_MOST_ROWS = 2**24
_MOST_BYTES = 2**22
# What was measured is at most this many times faster: beyond lies a slip, or a joke.
_MOST_GAIN = 1000.0
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_WORD = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)

_ignored: contextvars.ContextVar[bool] = contextvars.ContextVar("tilewise_tuning", default=False)


@dataclass(frozen=True)
class Entry:
    """What was measured for one shape.

    Attributes
    ----------
    dtype, layout, score_dtype : str
        As in the `Plan`.
    n_samples, n_features, n_clusters, n_threads : int
        What it was measured on.
    chunk_rows, panels_per_block : int
        What was faster.
    plan_chunk_rows, plan_panels_per_block : int
        What the plan had chosen.
    gain : float
        Lesser of the ratio of medians and the median of paired ratios: 0.1 if the plan's own
        sizes took 10 % longer.
    measured : str
        Date.
    """

    dtype: str
    layout: str
    score_dtype: str
    n_samples: int
    n_features: int
    n_clusters: int
    n_threads: int
    chunk_rows: int
    panels_per_block: int
    plan_chunk_rows: int
    plan_panels_per_block: int
    gain: float
    measured: str

    def to_dict(self) -> dict[str, Any]:
        """The entry as JSON-safe values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Entry":
        """Build an entry from what `to_dict` returned; ValueError if it is not that."""
        names = {field.name: field.type for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != set(names):
            raise ValueError("an entry does not have the fields of one")
        for name, kind in names.items():
            value = values[name]
            if kind is int:
                fits = isinstance(value, int) and not isinstance(value, bool)
                fits = fits and 1 <= value <= (_MOST_ROWS if "samples" not in name else 2**62)
            elif kind is float:
                fits = isinstance(value, int | float) and not isinstance(value, bool)
                fits = fits and -1 < value <= _MOST_GAIN
            else:
                form = _DATE if name == "measured" else _WORD
                fits = isinstance(value, str) and form.fullmatch(value) is not None
            if not fits:
                raise ValueError(f"{name} is {value!r:.60}")
        return cls(**values)


def record_path(env: Mapping[str, str] | None = None) -> Path | None:
    """Where the record is kept.

    Parameters
    ----------
    env : mapping, optional
        Environment; the process's own by default.

    Returns
    -------
    Path or None
        None where TILEWISE_TUNING is "off", and where there is no folder for it: a user in a
        container may have no home. Plans need no record.

    Examples
    --------
    >>> from tilewise.plan.tuning import record_path
    >>> record_path({"TILEWISE_TUNING": "off"}) is None
    True
    """
    env = os.environ if env is None else env
    named = env.get(VARIABLE, "").strip()
    if named:
        return None if named.lower() == "off" else Path(named)
    folder = _cache_folder(env)
    return None if folder is None else folder / "tilewise" / "tuning.json"


def why_no_path(env: Mapping[str, str] | None = None) -> str:
    """What to tell people where `record_path` is None."""
    env = os.environ if env is None else env
    if env.get(VARIABLE, "").strip():
        return f"{VARIABLE} is off, so there is no tuning record. Unset it first"
    return (
        f"this user has no home folder for the tuning record. Set {VARIABLE} to the path of a "
        "file for it"
    )


def _cache_folder(env: Mapping[str, str]) -> Path | None:
    """The user's folder of files that programs can do without; None if there is none."""
    variable = {"win32": "LOCALAPPDATA", "darwin": ""}.get(sys.platform, "XDG_CACHE_HOME")
    below = {"win32": "AppData/Local", "darwin": "Library/Caches"}.get(sys.platform, ".cache")
    # By the rules of these variables a relative path counts as none: it would mean another
    # folder wherever the process stands, and there a record of whoever owns that one.
    # Which, unlike pathlib's, raises nothing.
    return _absolute(env.get(variable, "").strip(), os.path.expanduser("~"), below)


@functools.lru_cache(maxsize=8)
def _absolute(base: str, home: str, below: str) -> Path | None:
    # Every plan asks; paths are slow to make.
    if Path(base).is_absolute():
        return Path(base)
    return Path(home) / below if Path(home).is_absolute() else None


def machine_key(machine: Machine) -> dict[str, Any]:
    """What a record must have been measured on, and with, to be used."""
    names = ("cpu_model", "l1d_bytes", "l2_bytes", "l3_bytes", "cpus_per_core", "isa")
    key = {name: getattr(machine, name).value for name in names}
    return key | {"version": __version__}


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Let plans in the body be made without the record."""
    token = _ignored.set(True)
    try:
        yield
    finally:
        _ignored.reset(token)


class Tuning:
    """The entries of a record that hold for one machine.

    Attributes
    ----------
    path : Path
    entries : tuple of Entry
    """

    path: Path
    entries: tuple[Entry, ...]

    def __init__(self, path: Path, entries: tuple[Entry, ...]) -> None:
        self.path, self.entries = path, entries

    def find(
        self, dtype: str, layout: str, score_dtype: str, n_features: int, n_clusters: int
    ) -> Entry | None:
        """The entry that was measured nearest to a shape; None if none is near."""
        best, least = None, math.inf
        for entry in self.entries:
            if (entry.dtype, entry.layout, entry.score_dtype) != (dtype, layout, score_dtype):
                continue
            apart = [
                abs(math.log(max(1, ours) / theirs))
                for ours, theirs in (
                    (n_features, entry.n_features), (n_clusters, entry.n_clusters),
                )
            ]  # fmt: skip
            if max(apart) <= math.log(_NEAR) and sum(apart) < least:
                best, least = entry, sum(apart)
        return best

    def chunk(
        self, entry: Entry, n_features: int, tile_rows: int, shard_rows: int
    ) -> tuple[int, str]:
        """Rows per chunk by an entry, and the sentence that says so."""
        # What was measured is how many bytes of rows are best; at other lengths that is other
        # rows.
        wanted = entry.chunk_rows * entry.n_features / max(1, n_features)
        rows = max(tile_rows, round(wanted / tile_rows) * tile_rows)
        rows = min(rows, -(-shard_rows // tile_rows) * tile_rows)
        return rows, (
            f"{rows} rows, from the tuning record {printable(self.path)}. With "
            f"{entry.n_features} features and {entry.n_clusters} clusters, {entry.chunk_rows} "
            f"rows were {100 * entry.gain:.0f} % faster than {entry.plan_chunk_rows} "
            f"({entry.measured})."
        )


# By path: what the file looked like, for which machine, and what it held.
_KEPT: dict[Path, tuple[tuple, Tuning | None]] = {}


def current(machine: Machine, own: bool) -> Tuning | None:
    """The record for a machine, read anew where the file has changed.

    Parameters
    ----------
    machine : Machine
    own : bool
        Whether it is the machine of this process: only then is a record of others worth a
        warning.

    Returns
    -------
    Tuning or None
        None where there is no record, or none that holds here; the same object as before as
        long as nothing changed.

    Warns
    -----
    RuntimeWarning
        Once for each state of the file, if it is malformed or was measured on another machine
        or with another version.
    """
    if _ignored.get():
        return None
    path = record_path()
    if path is None:
        return None
    try:
        seen = os.stat(path)
    except (OSError, ValueError):
        return None
    state = (seen.st_mtime_ns, seen.st_size, id(machine))
    kept = _KEPT.get(path)
    if kept is not None and kept[0][:3] == state:
        return kept[1]
    found = _current(path, machine, own)
    # The machine is kept, so that its id stays its own.
    _KEPT[path] = ((*state, machine), found)
    return found


def _current(path: Path, machine: Machine, own: bool) -> Tuning | None:
    try:
        records = read(path)
    except (OSError, ValueError) as error:
        _warn(own, f"{path} is ignored: not a tuning record ({error}). Run `tilewise tune` for one")
        return None
    key = machine_key(machine)
    entries = tuple(e for record in records if record["key"] == key for e in record["entries"])
    if records and not entries:
        _warn(
            own,
            f"{path} is ignored: measured on another machine or with another version of "
            f"tilewise. Run `tilewise tune` here, or set {VARIABLE}=off",
        )
    return Tuning(path, entries) if entries else None


def _warn(own: bool, text: str) -> None:
    if own:
        warnings.warn(printable(text), RuntimeWarning, stacklevel=5)


def read(path: Path) -> list[dict[str, Any]]:
    """Read a file of records.

    Returns
    -------
    list of dict
        Each with a ``key`` and its ``entries``.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it holds something else.
    """
    told = read_json(path, _MOST_BYTES)
    if not isinstance(told, dict) or told.get("format") != _FORMAT:
        raise ValueError(f"no {_FORMAT}")
    version = told.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise ValueError(f"schema version {version!r:.60}")
    if not isinstance(told.get("records"), list):
        raise ValueError("no list of records")
    records = []
    for record in told["records"]:
        if not isinstance(record, dict) or not isinstance(record.get("key"), dict):
            raise ValueError("a record without a key")
        if not isinstance(record.get("entries"), list):
            raise ValueError("a record without entries")
        entries = [Entry.from_dict(values) for values in record["entries"]]
        records.append({"key": record["key"], "entries": entries})
    return records


def to_text(records: list[dict[str, Any]]) -> str:
    """The text of a file that `read` reads."""
    told = [
        {"key": record["key"], "entries": [entry.to_dict() for entry in record["entries"]]}
        for record in records
    ]
    document = {"format": _FORMAT, "schema_version": SCHEMA_VERSION, "records": told}
    return json.dumps(document, indent=1, allow_nan=False) + "\n"
