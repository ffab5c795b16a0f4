"""float32 against float64: seconds, bytes, and labels that differ."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilewise._typing import FloatMatrix, Vector
from tilewise.engine import assign
from tilewise.kernels._rows import Rows
from tilewise.plan import machine, plan

from . import _traffic
from ._data import blobs, repeated
from ._run import Case, Run, above_zero
from .figures import Axis, Conclusion, Figure, Series, Table, measured, shown, spread

__all__ = ["figures", "measure", "plain_labels", "table"]

_TYPES = ("float32", "float64")
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


def measure(run: Run) -> None:
    """Time a pass in each type, then count labels near the origin and far from it."""
    p = run.parameters
    n, d, k = p["rows"], p["features"], p["clusters"]
    X, centers = blobs(n, d, k, "float64")
    cases = []
    for dtype in _TYPES:
        rows = Rows(X.astype(dtype))
        chosen = plan(n, d, k, dtype, n_threads=p["threads"])
        cases.append(Case("tilewise", {"dtype": dtype}, repeated(rows, centers, chosen)[1]))
        # What a pass must read whatever it does: every number once.
        run.predicted.append(
            {"series": "data", "case": {"dtype": dtype}, "unit": "bytes",
             "value": float(n * d * np.dtype(dtype).itemsize)}
        )  # fmt: skip
        run.predicted += _traffic.predicted(chosen, machine(), "tilewise", {"dtype": dtype})
    run.facts["labels"] = [
        _differing(p, offset) for offset in (_OFFSETS[:2] if run.quick else _OFFSETS)
    ]
    run.measure("a pass in each type", cases)


def _differing(p, offset):
    X, centers = blobs(p["rows"], p["features"], p["clusters"], "float64", offset)
    narrow = X.astype(np.float32)
    found = {
        dtype: assign(Rows(data), centers, plan(*data.shape, len(centers), dtype))
        for dtype, data in (("float32", narrow), ("float64", X))
    }
    return {
        "offset": offset,
        # The rows themselves were rounded: exact labels of other rows.
        "rounded_rows": int(np.sum(found["float32"] != found["float64"])),
        # The same float32 rows, scored in float32 without any certificate.
        "plain_float32": int(np.sum(plain_labels(narrow, centers) != found["float32"])),
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
        for entry in result["facts"].get("labels", [])
    ]
    moved = [f"moved {flow.replace('-', '–')} (formulas)" for flow in flows]
    return Table(["type", "pass", "quartiles", "data", *moved], rows, notes)


@above_zero
def figures(result: dict[str, Any]) -> list[Figure]:
    """Seconds and bytes by type; labels that differ by offset."""
    made = []
    p, entries = result["parameters"], result["measurements"]
    if entries:
        words = []
        if len(entries) == 2:
            times = {e["case"]["dtype"]: e["median"] for e in entries}
            words += [
                Conclusion(
                    f"A pass over {p['rows']:,} × {p['features']} numbers against "
                    f"{p['clusters']} centres took {shown(times['float32'], 's')} in float32 and "
                    f"{shown(times['float64'], 's')} in float64, "
                    f"{times['float64'] / times['float32']:.2f} times as long."
                ),
                f"The rows are {shown(_bytes(result, 'float32'), 'bytes')} in float32 and twice "
                "that in float64." + _moved(result),
            ]
        words.append(
            "tilewise finds candidates in float32, whatever the type of the rows, and computes a "
            "row again in float64 where rounding could decide. So float64 rows cost twice the "
            "bytes to read, and their conversion. Most of the arithmetic is still float32."
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
    narrow, wide = (_flows(result, name) for name in _TYPES)
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
             ("rounded_rows", "rows rounded to float32"))
        )
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
            f"{last['rounded_rows']:,} rows are nearer to another centre.",
        ],
        kind="bars", timed=False,
    )  # fmt: skip
