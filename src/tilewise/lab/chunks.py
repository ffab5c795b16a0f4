"""Time of a pass over the number of rows that are packed and scored at a time."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

from numpy.typing import DTypeLike

from tilewise._typing import Engine
from tilewise.kernels._rows import Rows
from tilewise.plan import Plan, machine, plan

from . import _traffic
from ._data import blobs, repeated
from ._rates import peak_of, roof_cases
from ._run import Case, Run, above_zero
from .figures import Axis, Conclusion, Figure, Mark, Series, Table, measured, shown, spread
from .quiet import noise

__all__ = ["bytes_per_row", "figures", "measure", "resized", "sizes", "table"]

_SKLEARN_CHUNK = 256  # the constant of its K-Means, sklearn/cluster/_k_means_common.pyx
# Scores of the BLAS engine are chunk x clusters numbers: no longer chunk than this is swept.
_MOST_BYTES = 2**29
_SHARD_MULTIPLE = 384


def resized(base: Plan, chunk_rows: int) -> Plan:
    """The plan with another chunk; a shard that is shorter is stretched to hold it.

    Results do not depend on either. A plan itself never has a chunk that is longer than a shard.

    Parameters
    ----------
    base : Plan
    chunk_rows : int

    Returns
    -------
    Plan

    Examples
    --------
    >>> import tilewise
    >>> from tilewise.lab.chunks import resized
    >>> resized(tilewise.plan(100_000, 8, 4), 50_000).chunk_rows
    50000
    """
    shard = max(base.shard_rows, -(-chunk_rows // _SHARD_MULTIPLE) * _SHARD_MULTIPLE)
    count = max(1, -(-base.n_samples // shard))
    return replace(
        base, chunk_rows=chunk_rows, shard_rows=shard, n_shards=count,
        shards_per_call=max(1, min(base.shards_per_call, count)),
        reasons=base.reasons | {"chunk_rows": f"{chunk_rows} rows, from the sweep."},
    )  # fmt: skip


def bytes_per_row(
    n: int, d: int, k: int, dtype: DTypeLike, engine: Engine, threads: int = 1
) -> float:
    """Bytes of workspace that a row of a chunk takes, by the plan's own account."""
    short, long = (
        plan(n, d, k, dtype, engine=engine, n_threads=threads, chunk_size=rows)
        for rows in (_SHARD_MULTIPLE, 2 * _SHARD_MULTIPLE)
    )
    rows = long.chunk_rows - short.chunk_rows
    if rows <= 0:  # the data are too few for two chunks
        return short.workspace_bytes_per_thread / short.chunk_rows
    return (long.workspace_bytes_per_thread - short.workspace_bytes_per_thread) / rows


def sizes(base: Plan, row_bytes: float, quick: bool = False) -> list[int]:
    """Chunk sizes of a sweep: from one tile, by powers of two, to the whole array."""
    last = min(base.n_samples, int(_MOST_BYTES / row_bytes))
    found, rows = set(), base.tile_rows
    while rows < last:
        found.add(rows)
        rows *= 4 if quick else 2
    found |= {max(last, base.tile_rows), base.chunk_rows, _SKLEARN_CHUNK}
    return sorted(rows for rows in found if base.tile_rows <= rows <= max(last, base.tile_rows))


def measure(run: Run) -> None:
    """Sweep chunk sizes in one or both engines."""
    p = run.parameters
    n, d, k, dtype = p["rows"], p["features"], p["clusters"], p["dtype"]
    X, centers = blobs(n, d, k, dtype)
    rows = Rows(X)
    engines = ("fused", "blas") if p["engines"] == "both" else (p["engines"],)
    cases, facts = [], {}
    for engine in engines:
        # Its figures are those of scores.
        base = plan(n, d, k, dtype, n_threads=p["threads"], engine=engine, look=False)
        row_bytes = bytes_per_row(n, d, k, dtype, engine, p["threads"])
        facts[engine] = {
            "auto": base.chunk_rows, "tile_rows": base.tile_rows, "row_bytes": row_bytes,
            "plan": base.to_dict(), "register_bytes": _traffic.register_bytes(base, machine()),
        }  # fmt: skip
        cases += [_case(rows, centers, resized(base, c)) for c in sizes(base, row_bytes, run.quick)]
    run.facts |= {"engines": facts, "sklearn_chunk": _SKLEARN_CHUNK}
    here = machine()
    for case in cases:
        run.predicted += _traffic.predicted(case.plan, here, case.series, case.case)
    extra = p["simulate"] or p["cachegrind"]
    if p["cachegrind"]:
        _need_valgrind()
    if extra:
        run.measure("roofs", roof_cases(p["threads"], quick=run.quick), 0.1)
    run.measure("chunk sizes", cases, 0.5 if extra else 1.0)
    if p["simulate"]:
        _traffic.add_simulated(run, cases)
    if p["cachegrind"]:
        _traffic.add_cachegrind(run, cases)


def _need_valgrind():
    from . import cachegrind

    problem = cachegrind.available()
    if problem:
        raise ValueError(f"--cachegrind: {problem}")


class _case(Case):
    """A pass with one chunk size."""

    def __init__(self, rows, centers, sized):
        self.plan = sized
        work, call = repeated(rows, centers, sized)
        super().__init__(
            sized.engine, {"chunk_rows": sized.chunk_rows}, call,
            more=lambda: {"labels_crc32": zlib.crc32(work.labels)},
        )  # fmt: skip


def _by_engine(result):
    found = {}
    for entry in result["measurements"]:
        if "chunk_rows" in entry["case"]:
            found.setdefault(entry["series"], []).append(entry)
    return {
        engine: sorted(entries, key=lambda e: e["case"]["chunk_rows"])
        for engine, entries in found.items()
    }


def verdict(result: dict[str, Any], engine: str) -> dict[str, Any] | None:
    """How far the plan's own chunk is from the best one found; None where one is missing.

    Returns
    -------
    dict
        ``auto`` and ``best`` (rows), ``behind`` (share of time; 0.05 is 5 %), ``range`` (the
        same from the quartiles that are nearest and furthest), ``apart`` (whether the quartiles
        of the two do not overlap).
    """
    entries = _by_engine(result).get(engine, [])
    auto_rows = result["facts"].get("engines", {}).get(engine, {}).get("auto")
    auto = next((e for e in entries if e["case"]["chunk_rows"] == auto_rows), None)
    if auto is None:
        return None
    best = min(entries, key=lambda e: e["median"])
    return {
        "auto": auto_rows, "best": best["case"]["chunk_rows"],
        "behind": auto["median"] / best["median"] - 1,
        "range": (auto["low"] / best["high"] - 1, auto["high"] / best["low"] - 1),
        "apart": auto["low"] > best["high"],
    }  # fmt: skip


@above_zero
def table(result: dict[str, Any]) -> Table:
    """Seconds of each chunk size, by engine."""
    facts = result["facts"].get("engines", {})
    rows = []
    for engine, entries in _by_engine(result).items():
        best = min(e["median"] for e in entries)
        for e in entries:
            c = e["case"]["chunk_rows"]
            notes = [
                name
                for name, rows_of in (
                    ("auto", facts.get(engine, {}).get("auto")),
                    ("sklearn", _SKLEARN_CHUNK),
                )
                if c == rows_of
            ]
            notes += ["best"] if e["median"] == best and not noise(result) else []
            rows.append(
                [engine, shown(c, "rows"), shown(e["median"], "s"),
                 spread(e),
                 f"{e['median'] / best:.2f}×", ", ".join(notes)]
            )  # fmt: skip
    columns, cells = _traffic.bytes_columns(result)
    notes = ["MiB that a pass moves between levels: from formulas / simulated"] if columns else []
    if columns:
        found = [e for entries in _by_engine(result).values() for e in entries]
        rows = [row[:-1] + cells(e) + row[-1:] for row, e in zip(rows, found, strict=True)]
    heads = ["engine", "rows" if columns else "chunk rows", "pass", "quartiles", "to best"]
    return Table([*heads, *columns, ""], rows, notes, concluded=(heads.index("to best"),))


@above_zero
def figures(result: dict[str, Any]) -> list[Figure]:
    """The curve over chunk sizes; bytes between levels where there are any."""
    by_engine = _by_engine(result)
    if not by_engine:
        return []
    return [_time_figure(result, by_engine), *_traffic.bytes_figures(result)]


def _time_figure(result, by_engine):
    p, facts = result["parameters"], result["facts"].get("engines", {})
    series = [
        measured(f"{engine} engine", entries, "chunk_rows", color=number)
        for number, (engine, entries) in enumerate(by_engine.items())
    ]
    for by, values in (("formulas", result["predicted"]), ("simulated", result["simulated"])):
        series += _expected(result, by, values, list(by_engine))
    low = min(min(s.x) for s in series)
    high = max(max(s.x) for s in series)
    marks = [Mark("x", _SKLEARN_CHUNK, "scikit-learn 256")]
    main = "fused" if "fused" in by_engine else next(iter(by_engine))
    for engine in by_engine:
        if engine in facts:
            marks.append(Mark("x", facts[engine]["auto"], f"auto {engine}", engine == main))
    marks += _level_marks(result, facts.get(main, {}).get("row_bytes"))
    marks = [m for m in marks if low <= m.value <= high]
    return Figure(
        "chunks",
        f"Chunk size: {p['rows']:,} × {p['features']}, {p['clusters']} centres, {p['dtype']}",
        Axis("rows per chunk", "log2", "rows"), Axis("time of one pass", "log10", "s"),
        series, marks, _words(result, by_engine, main),
    )  # fmt: skip


def _expected(result, by, values, engines):
    """Time that bytes and work should take on the roofs of this machine, by engine."""
    made = []
    values = [v for v in values if v["case"].get("by") in ("formulas", "simulator")]
    found = _traffic.expected(result, values, result["facts"].get("engines", {}))
    for number, engine in enumerate(engines):
        points = sorted((rows, time) for (name, rows), time in found.items() if name == engine)
        if points:
            xs, ys = zip(*points, strict=True)
            style = "dashed" if by == "formulas" else "dots"
            made.append(Series(f"{engine}, expected ({by})", xs, ys, style=style, color=number,
                               expected=True))  # fmt: skip
    return made


def _own_choice(result, engine):
    """How far the plan's own chunk is from the best, and whether that is more than noise."""
    found = verdict(result, engine)
    if found is None:
        return None
    auto, best = f"auto ({found['auto']:,} rows, {engine} engine)", f"{found['best']:,} rows"
    if found["auto"] == found["best"]:
        return f"The plan's choice, {auto}, was the fastest that was measured."
    if not found["apart"]:
        return f"Too noisy to tell whether {auto} is slower than {best}."
    least, most = (100 * share for share in found["range"])
    return (
        f"The plan's choice, {auto}, was {100 * found['behind']:.1f} % slower than {best} "
        f"({least:.1f} to {most:.1f} % from quartile to quartile)."
    )


def _level_marks(result, row_bytes):
    if not row_bytes:
        return []
    told = {name: fact["value"] for name, fact in result["machine"]["facts"].items()}
    levels = (("L1", told["l1d_bytes"]), ("L2", told["l2_bytes"]), ("L3", told["l3_bytes"]))
    return [Mark("x", size / row_bytes, f"{name} full") for name, size in levels if size]


def _words(result, by_engine, main):
    p = result["parameters"]
    entries = by_engine[main]
    worst = max(entries, key=lambda e: e["median"])
    best = min(entries, key=lambda e: e["median"])
    words = [
        Conclusion(
            f"One pass of the {main} engine took {shown(best['median'], 's')} with the fastest "
            f"chunk ({best['case']['chunk_rows']:,} rows) and {shown(worst['median'], 's')} with "
            f"the slowest ({worst['case']['chunk_rows']:,} rows). That is "
            f"{worst['median'] / best['median']:.1f} times as long for the same labels. "
            + " ".join(filter(None, (_own_choice(result, engine) for engine in by_engine)))
        ),
    ]
    words.append(
        "On the left, chunks are so short that the centres are read again for every few rows. On "
        "the right, the packed rows of a chunk no longer fit the caches. The marks “L1 full”, “L2 "
        f"full” and “L3 full” show where one chunk of the {main} engine is as large as that cache."
    )
    if peak_of(result, 0) is not None:
        words.append(
            "“Expected” is computed, not fitted to the times. It adds up the arithmetic at its "
            "measured peak (multiply-adds, or bfloat16 products on AMX), the vector operations "
            "that pack, compare and check, and the bytes of each level at its measured bandwidth. "
            "In the fused engine, part of the transfers overlaps with the arithmetic."
        )
    crcs = {
        e["more"]["labels_crc32"]
        for found in by_engine.values() for e in found if "more" in e
    }  # fmt: skip
    count = sum(map(len, by_engine.values()))
    if len(crcs) == 1 and count > 1:
        words.append(f"All {count} cases gave the same labels for all {p['rows']:,} rows.")
    return words
