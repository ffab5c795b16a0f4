"""The roofline of this machine, and one dot per chunk size and shape.

After Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for
multicore architectures", Communications of the ACM 52 (2009).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tilewise.kernels._rows import Rows
from tilewise.plan import machine, plan

from . import _traffic
from ._data import blobs, repeated
from ._rates import measured_rates, peak_of, roof_cases, rows_bandwidth
from ._run import Case, Run, above_zero
from .chunks import resized
from .figures import Axis, Conclusion, Figure, Mark, Series, Table, shown

__all__ = ["figures", "measure", "parse_shapes", "table"]

_ROOFS = {"L1": "dotted", "L2": "dashdot", "L3": "dashed"}
_SHAPE = re.compile(r"([1-9][0-9]*)[x×]([1-9][0-9]*)[x×]([1-9][0-9]*)")


def parse_shapes(text: str) -> list[tuple[int, int, int]]:
    """Read ``60000x64x256,…`` as a list of (rows, features, clusters).

    Raises
    ------
    ValueError
        If a part has another form.

    Examples
    --------
    >>> from tilewise.lab.roofline import parse_shapes
    >>> parse_shapes("1000x16x8,500x4x2")
    [(1000, 16, 8), (500, 4, 2)]
    """
    found = []
    for part in text.split(","):
        match = _SHAPE.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{part.strip()!r} is not a shape; write it like 60000x64x256")
        found.append(tuple(map(int, match.groups())))
    return found


def measure(run: Run) -> None:
    """Peaks first, then passes."""
    p = run.parameters
    here = machine()
    threads, dtype = p["threads"], p["dtype"]
    shapes = parse_shapes(p["shapes"])
    cases = roof_cases(threads, quick=run.quick)
    for n, d, _ in dict.fromkeys((n, d, 0) for n, d, _ in shapes):
        cases.append(rows_bandwidth(n * d * np.dtype(dtype).itemsize, threads))
    run.measure("peaks", cases, 0.3)
    cases, facts = [], {}
    for n, d, k in shapes:
        X, centers = blobs(n, d, k, dtype)
        # The roofs are those of scores.
        base = plan(n, d, k, dtype, n_threads=threads, look=False)
        name = f"{n}x{d}x{k}"
        facts[name] = {
            "plan": base.to_dict(),
            "register_bytes": _traffic.register_bytes(base, here),
        }
        for size in sorted({base.tile_rows, base.chunk_rows, min(n, 8 * base.chunk_rows)}):
            sized = resized(base, size)
            values = _traffic.predicted(sized, here, name, {"chunk_rows": size})
            run.predicted += values
            case = {"shape": name, "chunk_rows": size, "auto": size == base.chunk_rows,
                    "flops": 2 * n * d * k, "products": sized.products, "scores": n * k,
                    "rows_bytes": X.nbytes,
                    "memory_bytes": values[-1]["value"]}  # fmt: skip
            cases.append(Case("pass", case, repeated(Rows(X), centers, sized)[1]))
    run.facts["shapes"] = facts
    run.measure("passes", cases, 0.7)


def _dots(result):
    for e in result["measurements"]:
        if e["series"] == "pass":
            c = e["case"]
            yield e, c, c["flops"] / c["memory_bytes"], c["flops"] / e["median"] / 1e9


def _rate(result, case, levels):
    """Billions of bytes per second at which the rows of a case can be read, and from where."""
    size = case.get("rows_bytes")
    for e in result["measurements"]:
        if e["series"] == "rows bandwidth" and size and e["case"]["bytes"] == size // 64 * 64:
            return max(e["samples"]), f"reads of {shown(size, 'bytes')}"
    return levels.get("memory"), "memory"


def _binding(result, case, intensity, levels):
    """The roof above a dot in GFLOP/s, and what it is made of."""
    peak = peak_of(result, case.get("products", 0))
    rate, source = _rate(result, case, levels)
    if peak is None or rate is None:
        return None, None
    return (peak, "arithmetic") if peak <= rate * intensity else (rate * intensity, source)


def _sizes(result):
    """Bytes that the bandwidth of each level was measured with."""
    return {
        e["case"]["level"]: e["case"]["bytes"] for e in result["measurements"]
        if e["series"] == "bandwidth" and "level" in e["case"]
    }  # fmt: skip


def _roofs(result, levels):
    """Every rate that was measured, in words."""
    peak = peak_of(result, 0)
    if peak is not None:
        yield f"multiply-adds {shown(peak)} GFLOP/s"
    for products in _products(result):
        split = peak_of(result, products)
        if split is not None:
            yield f"scores of {products} products on AMX {shown(split)} GFLOP/s"
    sizes = _sizes(result)
    for name, rate in levels.items():
        yield f"{name} ({shown(sizes[name], 'bytes')}) {shown(rate)} GB/s"
    for e in result["measurements"]:
        if e["series"] == "rows bandwidth":
            yield f"reads of {shown(e['case']['bytes'], 'bytes')} {shown(max(e['samples']))} GB/s"


def _short(which, case):
    """A roof in a word: the column is narrow."""
    if which == "arithmetic":
        return "AMX" if case.get("products") else "FMA"
    return which.split()[0]


@above_zero
def table(result: dict[str, Any]) -> Table:
    """Each dot with the share of its roof, its time and the one that was to be expected."""
    levels = measured_rates(result)[2]
    shapes = result["facts"].get("shapes", {})
    expected = _traffic.expected(result, result["predicted"], shapes)
    rows = []
    for e, c, intensity, rate in _dots(result):
        roof, which = _binding(result, c, intensity, levels)
        should = expected.get((c["shape"], c["chunk_rows"]))
        rows.append(
            [c["shape"], shown(c["chunk_rows"], "rows") + (" auto" if c["auto"] else ""),
             shown(intensity), shown(rate),
             f"{100 * rate / roof:.0f} % {_short(which, c)}" if roof else "",
             shown(e["median"], "s"), shown(should, "s")]
        )  # fmt: skip
    notes = [
        f"Roofs: {', '.join(_roofs(result, levels))}. Each bandwidth is the best of all samples, "
        "reading memory from start to end.",
        "FLOP/B is the number of operations (2 × rows × features × centres) per byte from beyond "
        "the last private cache. The bytes come from formulas, not from counters. A roof of reads "
        "is the speed at which the bytes of the rows alone can be read. The expected time is "
        "computed as `tilewise explain` does it, from these speeds; it is not fitted.",
    ]
    told = ["shape", "chunk rows", "FLOP/B", "GFLOP/s", "of its roof", "time", "expected"]
    return Table(told, rows, notes, concluded=(told.index("of its roof"), told.index("expected")))


@above_zero
def figures(result: dict[str, Any]) -> list[Figure]:
    """The roofs as lines, a dot per chunk size, a colour per shape."""
    peak, _, levels = measured_rates(result)
    dots = list(_dots(result))
    if peak is None or not levels:
        return []
    marks = [Mark("y", peak, f"multiply-add peak {shown(peak)} GFLOP/s", True)]
    for products in _products(result):
        split = peak_of(result, products)
        if split is not None:
            marks.append(
                Mark("y", split, f"{products} products each on AMX {shown(split)} GFLOP/s", True)
            )
            peak = max(peak, split)
    slowest = min(levels.values())
    ridge = peak / slowest
    low = min([0.25, *(0.5 * x for _, _, x, _ in dots)])
    high = max([4 * ridge, *(2 * x for _, _, x, _ in dots)])
    series = [
        Series(f"{name}: {shown(rate)} GB/s", *_roof(low, high, rate, peak),
               style=_ROOFS.get(name, "line"), color=6, labelled=True)
        for name, rate in levels.items()
    ]  # fmt: skip
    for number, shape in enumerate(dict.fromkeys(c["shape"] for _, c, _, _ in dots)):
        own = [dot for dot in dots if dot[1]["shape"] == shape]
        series.append(
            Series(shape, [x for _, _, x, _ in own], [y for _, _, _, y in own], style="dots",
                   color=number, texts=[_text(c) for _, c, _, _ in own])
        )  # fmt: skip
    return [
        Figure(
            "roofline", "Roofline", Axis("floating-point operations per byte of memory", "log10"),
            Axis("GFLOP/s", "log10"), series,
            marks, list(map(Conclusion, _words(result, peak, levels, dots))),
        )
    ]  # fmt: skip


def _products(result):
    """Numbers of products of which passes made their scores."""
    return sorted({c.get("products", 0) for _, c, _, _ in _dots(result)} - {0})


def _text(c):
    return f"{c['chunk_rows']:,} rows per chunk" + (" (the plan's own)" if c["auto"] else "")


def _roof(low, high, rate, peak):
    ridge = min(max(peak / rate, low), high)
    xs = sorted({low, ridge, high})
    return xs, [min(peak, rate * x) for x in xs]


def _of(result):
    products = _products(result)
    if not products or peak_of(result, products[0]) is None:
        return "in multiply-adds of registers"
    return (
        f"in scores of {products[0]} products of bfloat16 parts each on AMX, and "
        f"{shown(peak_of(result, 0))} GFLOP/s in multiply-adds of vectors"
    )


def _threads(count):
    return "One thread of this machine reaches" if count == 1 else (
        f"{count} threads of this machine reach"
    )  # fmt: skip


def _between(result, dot, levels):
    """What stands between one of the plan's own dots and its roof; None for others."""
    e, c, intensity, rate = dot
    roof, which = _binding(result, c, intensity, levels)
    if not c["auto"] or roof is None:
        return None
    told = f"{c['shape']}: {100 * rate / roof:.0f} % of its roof, {which}"
    rest = e["median"] - c["flops"] / roof / 1e9
    if which != "arithmetic" or rest <= 0 or "scores" not in c:
        return told + "."
    return (
        f"{told}; the {'products' if c['products'] else 'multiply-adds'} alone would take "
        f"{shown(e['median'] - rest, 's')} of {shown(e['median'], 's')}, and the rest (packing, "
        f"comparing, certifying, waiting) is {shown(rest / c['scores'], 's')} per score."
    )


def _words(result, peak, levels, dots):
    ridge = peak / levels["memory"] if "memory" in levels else None
    words = [
        f"{_threads(result['parameters']['threads'])} {shown(peak)} GFLOP/s "
        f"{_of(result)}; that is the flat roof. A sloped roof is the limit of a bandwidth: bytes "
        "per second times operations per byte. "
        + " ".join(filter(None, (_between(result, dot, levels) for dot in dots)))
    ]
    if ridge:
        words.append(
            f"Memory delivers {shown(levels['memory'])} GB/s. Work with fewer than {shown(ridge)} "
            "operations per byte waits for memory; work with more waits for arithmetic. Operations "
            "are 2 × rows × features × centres. Bytes are what the model of traffic expects "
            "between memory and the last private cache. Rows that fit a shared cache are read from "
            "there, which is faster, so a dot may lie above the line of memory. The table then "
            "compares it with the speed of reading as many bytes as its rows have."
        )
    best = max((d for d in dots if d[1]["auto"]), key=lambda d: d[3], default=None)
    if best is not None:
        _, c, intensity, rate = best
        roof, which = _binding(result, c, intensity, levels)
        share = f", {100 * rate / roof:.0f} % of the roof ({which})" if roof else ""
        words.append(
            f"The fastest of the plan's own choices, {c['shape']}, does {shown(rate)} GFLOP/s at "
            f"{shown(intensity)} operations per byte{share}. The rest of the time goes into "
            "packing rows, comparing scores and checking labels. None of that is counted as an "
            "operation."
        )
    return words
