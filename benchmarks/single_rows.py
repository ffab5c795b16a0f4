"""Measure answers to one row, and to a few: tilewise against scikit-learn, faiss and ONNX Runtime.

python benchmarks/single_rows.py                  everything, about three minutes
python benchmarks/single_rows.py --quick          two rounds
python benchmarks/single_rows.py --table RESULT   print the tables of a kept result

One thread. Every contender answers some hundred times in a row, another one first in each round;
figures are medians of rounds with the least and the most. Everybody has the same centres, float32
unless the table says otherwise. Prints what was found beside what is aimed at and writes one JSON
with all samples; measures and never judges.
"""

import argparse
import datetime
import gc
import json
import os
import pathlib
import sys
from functools import partial

import environment
import numpy as np
import report
import timing

RESULTS = pathlib.Path(__file__).parent / "results" / "local"
# Features, clusters, and what is aimed at: microseconds of a prepared row, and how many times as
# long faiss takes.
SHAPES = ((16, 16, 0.15, 20), (64, 256, 1.0, 4), (384, 1024, 25.0, 2))
ROWS = (1, 2, 8, 64)
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TILEWISE_NUM_THREADS"), "1"
) | {"TILEWISE_TUNING": "off"}
# Seconds of one sample.
SAMPLE = 0.02


def models(d, k, dtype):
    """Centres, rows near them, and fitted estimators with these centres."""
    import sklearn.cluster

    import tilewise

    rng = np.random.default_rng(0)
    centers = rng.normal(size=(k, d)).astype(dtype)
    rows = (centers[rng.integers(0, k, 64)] + 0.3 * rng.normal(size=(64, d))).astype(dtype)
    fitted = {}
    for name, kind in (("tilewise", tilewise.KMeans), ("scikit-learn", sklearn.cluster.KMeans)):
        # Twice the centres: their means are these centres again.
        model = kind(k, init=centers, n_init=1, max_iter=1).fit(np.concatenate([centers] * 2))
        if name == "scikit-learn":
            model.cluster_centers_ = centers.copy()  # it takes the mean of all away meanwhile
        elif not np.array_equal(model.cluster_centers_, centers):
            raise RuntimeError("the fit moved the centres")
        fitted[name] = model
    return centers, rows, fitted


def session(graph):
    """From rows to a call of ONNX Runtime for them, one thread."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    made = onnxruntime.InferenceSession(
        graph.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    name = made.get_inputs()[0].name
    return lambda rows: partial(made.run, ["label"], {name: rows})


def one_row(d, k, missing):
    """Calls that answer one row of float32, by name."""
    centers, rows, fitted = models(d, k, np.float32)
    row, first = rows[0], rows[:1].copy()
    predictor = fitted["tilewise"].predictor()
    calls = {
        # partial: a function of Python around it would take a third of the first one.
        "predictor(row)": partial(predictor, row),
        "predictor.nearest(row)": partial(predictor.nearest, row),
        "tilewise predict": partial(fitted["tilewise"].predict, first),
        "scikit-learn predict": partial(fitted["scikit-learn"].predict, first),
    }
    try:
        import faiss

        index = faiss.IndexFlatL2(d)
        index.add(centers)
        calls["faiss IndexFlatL2.search"] = partial(index.search, first, 1)
    except ImportError as problem:
        missing["faiss"] = str(problem)
    try:
        import skl2onnx

        from tilewise.export import to_onnx

        theirs = session(skl2onnx.to_onnx(fitted["scikit-learn"], first))
        ours = session(to_onnx(fitted["tilewise"], outputs=("label",)))
        single = session(to_onnx(fitted["tilewise"], outputs=("label",), precision="float32"))
        calls["ONNX, skl2onnx of scikit-learn"] = theirs(first)
        calls["ONNX, tilewise"] = ours(first)
        calls["ONNX, tilewise, float32"] = single(first)
    except ImportError as problem:
        missing["ONNX"] = str(problem)
    return calls


def few_rows(d, k, dtype, n):
    """`predict` of n rows, by name."""
    _, rows, fitted = models(d, k, dtype)
    part = rows[:n].copy()
    return {name: partial(model.predict, part) for name, model in fitted.items()}


def measured(calls, rounds):
    """Samples of every call, in seconds an answer."""
    repeats = {}
    for name, call in calls.items():
        call()
        seconds, _ = timing.clock(call)
        repeats[name] = max(3, min(5000, int(SAMPLE / max(seconds, 1e-7))))
    samples = {name: [] for name in calls}
    gc.disable()
    try:
        for turn in range(rounds):
            for name in timing.rotated(calls, turn):
                call, times = calls[name], range(repeats[name])

                def run(call=call, times=times):
                    for _ in times:
                        call()

                samples[name].append(timing.clock(run)[0] / len(times))
    finally:
        gc.enable()
    return {name: timing.summary(values) for name, values in samples.items()}


def measure(options, path):
    """Run everything; the result, which is written after every record."""
    started, missing = datetime.datetime.now(datetime.UTC), {}
    result = {
        "format": 1, "about": "answers to single rows, one thread; times in seconds",
        "started": started.isoformat(timespec="seconds"),
        "arguments": {"quick": options.quick, "rounds": options.rounds},
        "missing": missing,
    } | environment.describe() | {"records": []}  # fmt: skip
    environment.warn_if_loud(result["quiet"])
    print(report.head(result), flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    rounds = options.rounds or (2 if options.quick else 15)

    def keep(calls, **about):
        result["records"].append(about | {"contenders": measured(calls, rounds)})
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    for d, k, aim, times_faiss in SHAPES:
        print(f"  {d} x {k}", file=sys.stderr, flush=True)
        keep(
            one_row(d, k, missing), what="one row", d=d, k=k, dtype="float32", n=1,
            aim_us=aim, aim_faiss=times_faiss,
        )  # fmt: skip
        for dtype in ("float32", "float64"):
            for n in ROWS:
                keep(few_rows(d, k, dtype, n), what="few rows", d=d, k=k, dtype=dtype, n=n)
    for name, problem in missing.items():
        print(f"left out: {name} ({problem})", file=sys.stderr)
    result["finished"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def table(result):
    """The tables of a result, as text."""
    lines = []
    for record in result["records"]:
        found = record["contenders"]
        if record["what"] != "one row":
            continue
        own = found["predictor(row)"]["median"]
        lines += [
            "", f"## One row of {record['d']} features, {record['k']} centres, µs", "",
            "| | median | least | most | times predictor(row) |", "|---|--:|--:|--:|--:|",
        ]  # fmt: skip
        for name, figures in found.items():
            a, b, c = (1e6 * figures[key] for key in ("median", "min", "max"))
            ratio = figures["median"] / own
            lines.append(f"| {name} | {a:.3g} | {b:.3g} | {c:.3g} | {ratio:.1f} |")
        lines.append(
            f"\nAimed at: predictor(row) {record['aim_us']:g} µs, "
            f"and {record['aim_faiss']} times faster than faiss."
        )
    lines += [
        "", "## predict of few rows, µs", "",
        "| features × centres, dtype | rows | tilewise | scikit-learn | ratio |",
        "|---|--:|--:|--:|--:|",
    ]  # fmt: skip
    for record in result["records"]:
        if record["what"] != "few rows":
            continue
        ours, theirs = (record["contenders"][x]["median"] for x in ("tilewise", "scikit-learn"))
        lines.append(
            f"| {record['d']} × {record['k']}, {record['dtype']} | {record['n']} "
            f"| {1e6 * ours:.3g} | {1e6 * theirs:.3g} | {theirs / ours:.1f} |"
        )
    return "\n".join(lines)


def main(arguments=None):
    """Measure, or print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--rounds", type=int, help="samples of each")
    parser.add_argument("--json", type=pathlib.Path, help="where to write")
    parser.add_argument("--table", type=pathlib.Path, metavar="RESULT", help="only print a result")
    options = parser.parse_args(arguments)
    if options.table:
        print(table(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    path = options.json or RESULTS / f"single-{datetime.datetime.now():%Y%m%d-%H%M%S}.json"
    print(table(measure(options, path)))
    print(f"written to {path}", file=sys.stderr)


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        # Libraries read these when they are imported.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)
    main()
