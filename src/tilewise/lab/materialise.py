"""Nearest centres from the whole matrix of distances, from chunks of it, and without it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np

from tilewise._sizes import sized
from tilewise.plan import plan

from ._data import room
from ._materialise import FEWEST_RUNS, NO_ROOM
from ._run import Case, Run, above_zero, measurement
from .figures import Axis, Conclusion, Figure, Table, measured, shown, spread

__all__ = ["METHODS", "figures", "measure", "table"]

#: What is compared.
METHODS = {
    "whole": "compute the rows × centres matrix, then take the minimum of each row (numpy)",
    "chunked": "the same, one chunk of rows at a time (numpy)",
    "fused": "compare scores in registers and store none of them (tilewise)",
}
_TIMEOUT = 600
# How often numpy holds the matrix at once: the products, and what becomes of them.
_COPIES = 2
# What a process returns that the system killed, as Linux does where memory runs out.
_KILLED = -9


def _check_matrix(p):
    """Raise where the whole matrix does not fit; a machine that swaps teaches nothing."""
    limit, whose = room()
    item = np.dtype(p["dtype"]).itemsize
    needed = p["rows"] * item * (_COPIES * p["clusters"] + p["features"])
    if needed > limit:
        raise ValueError(
            f"the whole matrix of {p['rows']} rows x {p['clusters']} clusters takes "
            f"{sized(needed)} with its products and the data, but the memory {whose} is "
            f"{sized(limit)}: choose fewer rows or clusters"
        )


def measure(run: Run) -> None:
    """Run every method at a few sizes, each in a fresh process."""
    p = run.parameters
    _check_matrix(p)
    cases = []
    for share in (1,) if run.quick else (4, 2, 1):
        rows = max(1, p["rows"] // share)
        for method in METHODS:
            job = {"method": method, "rows": rows, "features": p["features"],
                   "clusters": p["clusters"], "dtype": p["dtype"], "threads": p["threads"],
                   "chunk_rows": _chunk(p)}  # fmt: skip
            cases.append(_child(method, job))
    run.facts |= {"chunk_rows": _chunk(p), "methods": METHODS, "runs_per_process": FEWEST_RUNS}
    run.measure("one process after another", cases)
    for case in cases:
        if case.peaks:
            what = case.case | {"what": "peak"}
            run.measurements.append(measurement(case.series, what, "bytes", case.peaks))


def _chunk(p):
    return plan(p["rows"], p["features"], p["clusters"], p["dtype"], engine="blas").chunk_rows


class _child(Case):
    """A method at a size, timed by the process that runs it."""

    def __init__(self, method, job):
        self.job, self.peaks = job, []
        super().__init__(method, {"rows": job["rows"]}, self._start, warm=False)

    def _start(self):
        name = f"{self.job['method']} at {self.job['rows']} rows"
        try:
            done = subprocess.run(
                [sys.executable, "-m", "tilewise.lab._materialise", json.dumps(self.job)],
                capture_output=True, text=True, timeout=_TIMEOUT, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise ValueError(
                f"{name} took longer than {_TIMEOUT} s: choose fewer rows or clusters"
            ) from error
        if done.returncode in (NO_ROOM, _KILLED):
            killed = "" if done.returncode == NO_ROOM else ": the system ended its process"
            raise ValueError(
                f"{name} ran out of memory{killed}; choose fewer rows or clusters, or close what "
                "else uses memory"
            )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"{name} failed: {last}")
        told = json.loads(done.stdout)
        if told["peak_bytes"] is not None:
            self.peaks.append(told["peak_bytes"])
        return told["seconds"]


def _rows(result, unit):
    return [e for e in result["measurements"] if e["unit"] == unit]


@above_zero
def table(result: dict[str, Any]) -> Table:
    """Seconds and peak memory of each method at each size."""
    peaks = {(e["series"], e["case"]["rows"]): e["median"] for e in _rows(result, "bytes")}
    rows = [
        [e["series"], shown(e["case"]["rows"], "rows"), shown(e["median"], "s"),
         spread(e),
         shown(peaks.get((e["series"], e["case"]["rows"])), "bytes")]
        for e in _rows(result, "s")
    ]  # fmt: skip
    count = min((len(e["samples"]) for e in _rows(result, "s")), default=0)
    notes = []
    if count and result["facts"].get("runs_per_process"):
        notes.append(
            f"Each time is the median of at least {count} process{'es' if count > 1 else ''}. A "
            f"process reports the median of at least {result['facts']['runs_per_process']} runs, "
            "after one run that measures its peak memory."
        )
    return Table(["method", "rows", "time", "quartiles", "peak beyond the data"], rows, notes)


@above_zero
def figures(result: dict[str, Any]) -> list[Figure]:
    """Time and peak memory over the number of rows."""
    made = []
    for unit, key, title, label in (
        ("bytes", "materialise-memory", "Peak memory beyond the data", "peak memory"),
        ("s", "materialise-time", "Time to label all rows", "time"),
    ):
        entries = _rows(result, unit)
        series = []
        for number, method in enumerate(METHODS):
            own = sorted(
                (e for e in entries if e["series"] == method), key=lambda e: e["case"]["rows"]
            )
            if own:
                series.append(measured(method, own, "rows", color=number))
        if series:
            words = _words(result, {s.name: (s.x[-1], s.y[-1]) for s in series}, unit)
            made.append(
                Figure(key, title, Axis("rows", "log2", "rows"),
                       Axis(label, "log2" if unit == "bytes" else "log10", unit),
                       series, words=words, timed=unit == "s")
            )  # fmt: skip
    return made


def _words(result, last, unit):
    p = result["parameters"]
    rows = max(x for x, _ in last.values())
    whole = rows * p["clusters"] * (4 if p["dtype"] == "float32" else 8)
    told = ", ".join(f"{name} {shown(y, unit)}" for name, (x, y) in last.items() if x == rows)
    words = [Conclusion(f"With {rows:,} rows and {p['clusters']} centres: {told}.")]
    if unit == "bytes":
        words.append(
            f"The matrix alone takes {shown(whole, 'bytes')} and grows with the rows. numpy holds "
            "it twice: the products, and the distances that it makes of them. The fused method "
            "keeps one label per row and one workspace per thread. A peak is what the process held "
            "beyond what it held before the call."
        )
    else:
        words.append(
            "The whole matrix is written to memory and read back. A chunk of "
            f"{result['facts'].get('chunk_rows')} rows stays in a cache. Fused scores never leave "
            "the registers."
        )
    return words
