"""Bytes between levels for the experiments: predicted, simulated, counted by valgrind."""

import time

from ._rates import measured_rates, peak_of
from .caches import CacheConfig
from .expected import expected_seconds
from .figures import Axis, Figure, Series, shown
from .simulate import simulate
from .traffic import traffic

__all__ = [
    "add_cachegrind", "add_simulated", "bytes_columns", "bytes_figures", "expected", "predicted",
    "register_bytes",
]  # fmt: skip

# Rows that are walked through, at least two shards: bytes per row hardly change after the first.
_SIMULATED_ROWS = 6144
# valgrind is some fifty times slower than the machine: few rows, scaled up, and few sizes.
_CACHEGRIND_ROWS = 1536
_CACHEGRIND_SIZES = 4


def predicted(plan, machine, series, case):
    """What the model of traffic says of one plan, as values of a result."""
    return _values(traffic(plan, machine).flows, series, case, "formulas")


def register_bytes(plan, machine):
    """Bytes that one pass loads from L1 into registers."""
    return traffic(plan, machine).registers.bytes


def _values(flows, series, case, by):
    return [_value(series, case, f"{f.inner}-{f.outer}", by, f.bytes) for f in flows]


def _value(series, case, flow, by, size):
    case = case | {"flow": flow, "by": by}
    return {"series": series, "case": case, "unit": "bytes", "value": float(size)}


def expected(result, values, engines):
    """What a pass should take, by `tilewise.lab.expected` from the roofs of the same result.

    `values` are bytes of flows; `engines` has by series its "plan" and perhaps the
    "register_bytes" of a pass. By series and rows per chunk; empty where no roof was measured.
    """
    peak, _, levels = measured_rates(result)
    times = {}
    for value in values:
        outer = value["case"]["flow"].partition("-")[2]
        if outer in levels and value["series"] in engines:
            place = (value["series"], value["case"].get("chunk_rows"))
            times.setdefault(place, {})[outer] = value["value"] / levels[outer] / 1e9
    found = {}
    for place, by_level in times.items():
        engine = engines[place[0]]
        chosen, loads = engine["plan"], engine.get("register_bytes")
        own = peak_of(result, chosen.get("products", 0))
        if own is None:
            continue
        operations = 2 * chosen["n_samples"] * chosen["n_features"] * chosen["n_clusters"]
        by_level["arithmetic"] = operations / own / 1e9
        if loads is not None and "L1" in levels:
            by_level["L1"] = loads / levels["L1"] / 1e9
        found[place] = expected_seconds(by_level, chosen, peak)
    return found


def add_simulated(run, cases):
    """Walk every plan through simulated caches; sizes near the plan's own first.

    What is not done when the budget is spent is left out.
    """
    config = CacheConfig.from_machine()
    run.facts["simulated_caches"] = config.to_dict()
    begin, limit = time.perf_counter(), 0.4 * run.seconds
    auto = {engine: facts["auto"] for engine, facts in run.facts["engines"].items()}
    order = sorted(cases, key=lambda c: abs(c.plan.chunk_rows - auto[c.series]))
    for done, case in enumerate(order):
        passed = time.perf_counter() - begin
        if passed > limit and not run.quick and done:
            run.facts["not_simulated"] = len(order) - done
            return
        run._tell(
            "simulating", done, len(order), passed / done * (len(order) - done) if done else None
        )
        walked = simulate(case.plan, config, max_rows=2048 if run.quick else _SIMULATED_ROWS)
        run.simulated += _values(walked.flows, case.series, case.case, "simulator")


def add_cachegrind(run, cases):
    """Run the real kernels under valgrind for a few sizes, and scale what it counts."""
    from . import cachegrind

    p = run.parameters
    config = CacheConfig.from_machine()
    levels, line = config.levels[:2], config.line_bytes
    sizes = [cachegrind.rounded(config.bytes(i), v.ways, line) for i, v in enumerate(levels)]
    run.facts["cachegrind_caches"] = [
        {"name": level.name, "bytes": size[0], "ways": size[1], "rounded_from": config.bytes(i)}
        for i, (level, size) in enumerate(zip(levels, sizes, strict=True))
    ]
    rows = min(p["rows"], 512 if run.quick else _CACHEGRIND_ROWS)
    fitting = [c for c in cases if c.series == "fused" and c.plan.chunk_rows <= rows]
    step = max(1, -(-len(fitting) // _CACHEGRIND_SIZES))
    chosen = fitting[::step][: 1 if run.quick else None]
    names = [level.name for level in levels]
    data_item = 4 if p["dtype"] == "float32" else 8
    for done, case in enumerate(chosen):
        run._tell("valgrind", done, len(chosen), None)
        try:
            told = cachegrind.run(
                rows, p["features"], p["clusters"], dtype=p["dtype"],
                chunk_size=case.plan.chunk_rows, engine="fused", d1=sizes[0], ll=sizes[1],
            )  # fmt: skip
        except cachegrind.CachegrindError as error:
            # What was measured is kept; the words say what is missing.
            run.facts["cachegrind_problem"] = str(error)
            return
        flows = [(f"{names[0]}-{names[1]}", told.d1_misses)]
        # Rows that lie in the last level before the pass begins say nothing of memory.
        if rows * p["features"] * data_item > 2 * sizes[1][0]:
            flows.append((f"{names[1]}-memory", told.ll_misses))
        for flow, misses in flows:
            moved = misses * line * p["rows"] / rows
            run.simulated.append(_value("fused", case.case, flow, "cachegrind", moved))


def bytes_columns(result):
    """Names of columns, and what takes a measurement and returns their cells.

    MiB of each flow, ``formulas / simulator``; no columns where nothing was simulated.
    """
    known = {}
    for value in (*result["predicted"], *result["simulated"]):
        case = value["case"]
        if case.get("by") in ("formulas", "simulator") and "chunk_rows" in case:
            place = (value["series"], case["chunk_rows"], case["flow"], case["by"])
            known[place] = value["value"]
    flows = list(dict.fromkeys(flow for *_, flow, by in known if by == "simulator"))

    def cells(entry):
        own = (entry["series"], entry["case"]["chunk_rows"])
        both = [[known.get((*own, flow, by)) for by in ("formulas", "simulator")] for flow in flows]
        return [
            " / ".join("–" if size is None else shown(size / 2**20) for size in pair)
            for pair in both
        ]

    return [f"{flow.replace('-', '–')}, MiB" for flow in flows], cells


def bytes_figures(result):
    """For each engine, bytes between levels over chunk size, by formulas and by simulation."""
    made = []
    for engine in dict.fromkeys(v["series"] for v in result["simulated"]):
        series, flows = [], []
        for by, style in (("formulas", "dashed"), ("simulator", "line"), ("cachegrind", "dots")):
            values = result["predicted"] if by == "formulas" else result["simulated"]
            own = [v for v in values if v["series"] == engine and v["case"].get("by") == by]
            for flow in dict.fromkeys(v["case"]["flow"] for v in own):
                flows += [flow] if flow not in flows else []
                points = sorted(
                    (v["case"]["chunk_rows"], v["value"]) for v in own
                    if v["case"]["flow"] == flow and v["value"] > 0
                )  # fmt: skip
                if points:
                    xs, ys = zip(*points, strict=True)
                    series.append(Series(f"{flow.replace('-', ' – ')}, {by}", xs, ys, style=style,
                                         color=flows.index(flow)))  # fmt: skip
        if series:
            made.append(
                Figure(
                    f"chunks-bytes-{engine}", f"Bytes between levels, {engine} engine",
                    Axis("rows per chunk", "log2", "rows"),
                    Axis("bytes moved by one pass", "log2", "bytes"), series,
                    words=_words(result, engine), timed=False,
                )
            )  # fmt: skip
    return made


def _words(result, engine):
    known = {
        (v["case"]["chunk_rows"], v["case"]["flow"]): v["value"]
        for v in result["predicted"] if v["series"] == engine and "flow" in v["case"]
    }  # fmt: skip
    words = []
    apart = [
        (abs(v["value"] / known[place] - 1), *place)
        for v in result["simulated"]
        if v["series"] == engine and v["case"]["by"] == "simulator"
        and known.get(place := (v["case"]["chunk_rows"], v["case"]["flow"]), 0) > 0
    ]  # fmt: skip
    if apart:
        apart.sort()
        middle, (most, rows, flow) = apart[len(apart) // 2][0], apart[-1]
        words.append(
            f"{engine} engine: formulas and simulator differ by {100 * middle:.1f} % in the median "
            f"of {len(apart)} comparisons, and by {100 * most:.0f} % at most ({flow} at "
            f"{shown(rows, 'rows')} rows)."
        )
    words.append(
        f"Bytes of the {engine} engine, one colour per pair of neighbouring levels. Dashed lines "
        "are formulas. Solid lines are a simulator that gets every address of the same loops."
        + (" Dots are valgrind, which runs the real kernels." * _has(result, "cachegrind"))
    )
    words.append(
        "Neither models hardware prefetchers, page tables, or other programs that use the caches. "
        "Prefetched bytes are moved as well, but the kernels do not wait for them."
    )
    if _has(result, "cachegrind"):
        words.append(
            "valgrind cannot run AVX-512 or AMX. It runs the kernels for AVX2, whose tiles have "
            f"other sizes, on at most {_CACHEGRIND_ROWS:,} rows; the counts are scaled up. It "
            "counts lines that are read in, not lines that are written back. So few rows fit into "
            "the second level, so the dots show the first level only."
        )
    for cache in result["facts"].get("cachegrind_caches", ()):
        if cache["bytes"] != cache["rounded_from"]:
            words.append(
                f"valgrind needs a power of two of sets, so its {cache['name']} has "
                f"{cache['bytes']:,} bytes instead of {cache['rounded_from']:,}."
            )
    if result["facts"].get("cachegrind_problem"):
        words.append(f"valgrind failed: {result['facts']['cachegrind_problem']}.")
    if result["facts"].get("not_simulated"):
        words.append(
            f"{result['facts']['not_simulated']} sizes were not simulated: the time was spent."
        )
    return words


def _has(result, by):
    return any(v["case"].get("by") == by for v in result["simulated"])
