"""Rows of one, two, four and eight bytes a number: seconds, bytes, and labels that differ."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilewise._typing import FloatMatrix, Matrix, Vector
from tilewise.engine import assign
from tilewise.kernels._rows import Rows
from tilewise.plan import machine, plan

from . import _traffic
from ._data import blobs, repeated
from ._run import Case, Run, above_zero
from .figures import Axis, Conclusion, Figure, Series, Table, measured, shown, spread

__all__ = ["figures", "measure", "plain_labels", "stored", "table"]

_TYPES = ("int8", "float16", "float32", "float64")
# Types that kernels read where they stand: the model of traffic knows no others.
_READ = ("float32", "float64")
_OFFSETS = (0.0, 100.0, 1000.0)


def plain_labels(X: FloatMatrix, centers: FloatMatrix, chunk_rows: int = 4096) -> Vector[np.int32]:
    """Labels by the textbook: ‖c‖² − 2 x·c in the type of the rows, nothing moved or checked.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    centers : ndarray of shape (k, d)
    chunk_rows : int, default=4096

    Returns
    -------
    ndarray of shape (n,), int32
    """
    C = centers.astype(X.dtype)
    norms = np.einsum("ij,ij->i", C, C)
    labels = np.empty(len(X), dtype=np.int32)
    for start in range(0, len(X), chunk_rows):
        part = X[start : start + chunk_rows]
        labels[start : start + len(part)] = np.argmin(norms - 2 * (part @ C.T), axis=1)
    return labels


def stored(X: FloatMatrix, dtype: str) -> tuple[Matrix[Any], float]:
    """Rows as somebody would store them in a type, and the unit that its numbers count.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    dtype : {"int8", "float16", "float32", "float64"}

    Returns
    -------
    rows : ndarray of shape (n, d)
        Rounded to the closest number of the type. Whole numbers count a unit that the largest
        magnitude is 127 of.
    unit : float
        1 except for whole numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from tilewise.lab.dtypes import stored
    >>> stored(np.array([[-2.54, 0.01, 1.0]]), "int8")
    (array([[-127,    0,   50]], dtype=int8), 0.02)
    """
    if np.dtype(dtype).kind == "f":
        with np.errstate(over="ignore"):
            return X.astype(dtype), 1.0
    unit = float(np.abs(X).max(initial=0.0)) / 127 or 1.0
    return np.rint(X / unit).astype(dtype), unit


def measure(run: Run) -> None:
    """Time a pass in each type, then count labels near the origin and far from it."""
    p = run.parameters
    n, d, k = p["rows"], p["features"], p["clusters"]
    X, centers = blobs(n, d, k, "float64")
    cases = []
    for dtype in _TYPES:
        values, unit = stored(X, dtype)
        rows = Rows(values)
        chosen = plan(n, d, k, dtype, n_threads=p["threads"], direct=rows.is_direct)
        cases.append(Case("tilewise", {"dtype": dtype}, repeated(rows, centers / unit, chosen)[1]))
        # What a pass must read whatever it does: every number once.
        run.predicted.append(
            {"series": "data", "case": {"dtype": dtype}, "unit": "bytes",
             "value": float(n * d * np.dtype(dtype).itemsize)}
        )  # fmt: skip
        if dtype in _READ:
            run.predicted += _traffic.predicted(chosen, machine(), "tilewise", {"dtype": dtype})
    run.facts["labels"] = [
        _differing(p, offset) for offset in (_OFFSETS[:2] if run.quick else _OFFSETS)
    ]
    run.measure("a pass in each type", cases)


def _differing(p, offset):
    X, centers = blobs(p["rows"], p["features"], p["clusters"], "float64", offset)
    kept = {dtype: stored(X, dtype) for dtype in _TYPES}
    found = {
        dtype: assign(Rows(data), centers / unit, plan(*data.shape, len(centers), dtype))
        for dtype, (data, unit) in kept.items()
    }
    single = kept["float32"][0]
    return {
        "offset": offset,
        # The rows themselves were rounded: exact labels of other rows.
        "rounded_rows": int(np.sum(found["float32"] != found["float64"])),
        "rounded_float16": int(np.sum(found["float16"] != found["float64"])),
        "rounded_int8": int(np.sum(found["int8"] != found["float64"])),
        # The same float32 rows, scored in float32 without any certificate.
        "plain_float32": int(np.sum(plain_labels(single, centers) != found["float32"])),
        "plain_float64": int(np.sum(plain_labels(X, centers) != found["float64"])),
    }


def _bytes(result, dtype):
    for value in result["predicted"]:
        if value["series"] == "data" and value["case"].get("dtype") == dtype:
            return value["value"]
    return None


def _flows(result, dtype):
    """Bytes that the model of traffic expects between neighbouring levels, by pair."""
    return {
        v["case"]["flow"]: v["value"] for v in result["predicted"]
        if v["case"].get("dtype") == dtype and "flow" in v["case"]
    }  # fmt: skip


@above_zero
def table(result: dict[str, Any]) -> Table:
    """Seconds and bytes of each type, by formulas; labels for each offset."""
    flows = list(dict.fromkeys(f for name in _TYPES for f in _flows(result, name)))
    rows = [
        [e["case"]["dtype"], shown(e["median"], "s"),
         spread(e),
         shown(_bytes(result, e["case"]["dtype"]), "bytes"),
         *(shown(_flows(result, e["case"]["dtype"]).get(f), "bytes") for f in flows)]
        for e in result["measurements"]
    ]  # fmt: skip
    notes = [
        f"at offset {entry['offset']:g}: plain float32 scores give {entry['plain_float32']:,} "
        f"wrong labels; rounding the rows to float32 changes {entry['rounded_rows']:,} labels"
        + _narrower(entry)
        for entry in result["facts"].get("labels", [])
    ]
    moved = [f"moved {flow.replace('-', '–')} (formulas)" for flow in flows]
    return Table(["type", "pass", "quartiles", "data", *moved], rows, notes)


def _narrower(entry, word="to"):
    """What rounding to less than four bytes changed, where that was counted."""
    told = [
        f"{word} {dtype} {entry[key]:,}" for dtype, key in
        (("float16", "rounded_float16"), ("int8", "rounded_int8")) if key in entry
    ]  # fmt: skip
    return f", {', '.join(told)}" if told else ""


@above_zero
def figures(result: dict[str, Any]) -> list[Figure]:
    """Seconds and bytes by type; labels that differ by offset."""
    made = []
    p, entries = result["parameters"], result["measurements"]
    if entries:
        words = []
        times = {e["case"]["dtype"]: e["median"] for e in entries}
        if {"float32", "float64"} <= set(times):
            base = times["float32"]
            others = [
                f"{seconds / base:.2f} times as long in {dtype}"
                for dtype, seconds in times.items() if dtype != "float32"
            ]  # fmt: skip
            words += [
                Conclusion(
                    f"A pass over {p['rows']:,} × {p['features']} numbers against "
                    f"{p['clusters']} centres took {shown(base, 's')} in float32, "
                    f"{' and '.join(', '.join(others).rsplit(', ', 1))}."
                ),
                f"The rows are {shown(_bytes(result, 'float32'), 'bytes')} in float32, twice that "
                "in float64, half in float16 and a quarter in int8." + _moved(result),
            ]
        words.append(
            "tilewise finds candidates in float32, whatever the type of the rows, and computes a "
            "row again in float64 where rounding could decide. So float64 rows cost twice the "
            "bytes to read, and their conversion. Most of the arithmetic is still float32. float16 "
            "and int8 rows stay as they are: what a pass reads of them is made float32 in the "
            "cache, which rounds nothing."
        )
        made.append(
            Figure(
                "dtypes-time", "One pass by type of the rows", Axis("type of the rows"),
                Axis("time of one pass", unit="s"),
                [measured("tilewise", entries, "dtype")], words=words, kind="bars",
            )
        )  # fmt: skip
    labels = result["facts"].get("labels", [])
    if labels:
        made.append(_labels_figure(p, labels))
    return made


def _moved(result):
    """A sentence on the bytes between levels; empty where they are not known."""
    narrow, wide = (_flows(result, name) for name in _READ)
    told = [
        f"{shown(size, 'bytes')} and {shown(wide[flow], 'bytes')} between "
        + flow.replace("-", " and ")
        for flow, size in narrow.items() if flow in wide
    ]  # fmt: skip
    if not told:
        return ""
    return f" By the formulas, a pass in float32 and in float64 moves {', '.join(told)}."


def _labels_figure(p, labels):
    names = [f"offset {entry['offset']:g}" for entry in labels]
    share = 100 / p["rows"]
    last = labels[-1]
    series = [
        Series(title, names, [share * entry[key] for entry in labels], color=number)
        for number, (key, title) in enumerate(
            (("plain_float32", "float32 scores without a check"),
             ("plain_float64", "float64 scores without a check"),
             ("rounded_rows", "rows rounded to float32"),
             ("rounded_float16", "rows rounded to float16"),
             ("rounded_int8", "rows rounded to int8"))
        )
        if all(key in entry for entry in labels)
    ]  # fmt: skip
    return Figure(
        "dtypes-labels", "Labels that differ from the exact ones", Axis("where the data lie"),
        Axis("labels that differ (% of rows)"), series,
        words=[
            f"At offset {last['offset']:g}, plain float32 scores give {last['plain_float32']:,} of "
            f"{p['rows']:,} rows a wrong label. Plain float64 scores give "
            f"{last['plain_float64']:,}. tilewise's labels are exact in both types: it moves the "
            "rows to the origin before it scores them, and decides near ties in float64.",
            "It cannot undo the rounding of the rows themselves. Stored as float32, "
            f"{last['rounded_rows']:,} rows are nearer to another centre{_narrower(last, 'as')}. "
            "Narrow types need rows near the origin: take the mean off before you store them.",
        ],
        kind="bars", timed=False,
    )  # fmt: skip
