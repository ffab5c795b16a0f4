"""Fit a file that is larger than the memory granted: peak memory and rows per second.

python benchmarks/stream.py                         8 GB of float32, 64 columns, a limit of 1 GB
python benchmarks/stream.py --gigabytes 0.2 --limit 64MiB --iterations 2
python benchmarks/stream.py --gigabytes 2 --warm --rounds 5 --only "tilewise MiniBatchKMeans" \
    "scikit-learn partial_fit loop"

Beside tilewise stand scikit-learn's MiniBatchKMeans, fed slices of a memory map by hand, dask-ml
where it can be imported, and a program that only reads the file. Everybody runs in a process of
its own, in every round another one first, and starts with none of the file in the page cache, or
with all of it (`--warm`). Times are medians. The file is written first and deleted afterwards.
Prints a table and writes one JSON; measures and never judges.
"""

import argparse
import datetime
import gc
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import memory
import numpy as np
import timing

RESULTS = pathlib.Path(__file__).parent / "results" / "local"
COLUMNS = 64
# Rows that are made, and by scikit-learn's loop read, at a time.
BLOCK = 2**16
# What the program that only reads asks for at a time.
READ_BYTES = 32 * 2**20


def write(path, gigabytes, columns, n_clusters):
    """Write overlapping blobs as a .npy file; returns how many rows."""
    rows = int(gigabytes * 1e9) // (4 * columns)
    rng = np.random.default_rng(0)
    middles = rng.normal(scale=2.0, size=(n_clusters, columns)).astype(np.float32)
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)}
        )
        for first in range(0, rows, BLOCK):
            count = min(BLOCK, rows - first)
            block = rng.standard_normal((count, columns), dtype=np.float32)
            block += middles[rng.integers(0, n_clusters, count)]
            file.write(block.data)
        file.flush()
        os.fsync(file.fileno())
    return rows


def forget(path):
    """Drop the file from the page cache; False where the system cannot."""
    if not hasattr(os, "posix_fadvise"):
        return False
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def starts(path, n_clusters):
    """Rows spread over the file, from which everybody starts."""
    X = np.load(path, mmap_mode="r")
    return np.array(X[:: len(X) // n_clusters][:n_clusters])


def read_only(options):
    """Read the file from its first to its last byte."""
    buffer = bytearray(READ_BYTES)
    with open(options.path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return {"passes": 1}


def tilewise_kmeans(options):
    """Full K-Means, a given number of iterations."""
    from tilewise import KMeans

    model = KMeans(
        options.clusters, init=starts(options.path, options.clusters), n_init=1, tol=0,
        max_iter=options.iterations, memory_limit=options.limit,
    ).fit(options.path)  # fmt: skip
    return told(model)


def tilewise_minibatch(options):
    """One epoch of mini-batches, and the labels of all rows."""
    from tilewise import MiniBatchKMeans

    model = MiniBatchKMeans(
        options.clusters, init=starts(options.path, options.clusters), n_init=1, max_iter=1,
        batch_size=options.batch, max_no_improvement=None, random_state=0,
        memory_limit=options.limit,
    ).fit(options.path)  # fmt: skip
    return told(model)


def told(model):
    """What a model of tilewise says of itself."""
    report = model.stream_report_
    return {
        "passes": report.passes, "rows": report.rows + report.rows_skipped,
        "inertia": model.inertia_, "planned_bytes": model.stream_plan_.total_bytes,
        "report": report.to_dict(),
    }  # fmt: skip


def sklearn_minibatch(options):
    """One epoch of partial_fit over slices of a memory map, and the labels of all rows."""
    from sklearn.cluster import MiniBatchKMeans

    X = np.load(options.path, mmap_mode="r")
    model = MiniBatchKMeans(
        options.clusters, init=starts(options.path, options.clusters), n_init=1, random_state=0,
        batch_size=options.batch, compute_labels=False,
    )  # fmt: skip
    for first in range(0, len(X), options.batch):
        model.partial_fit(X[first : first + options.batch])
    inertia = 0.0
    for first in range(0, len(X), BLOCK):
        inertia -= model.score(np.asarray(X[first : first + BLOCK]))
    return {"passes": 2, "inertia": inertia}


def dask_kmeans(options):
    """dask-ml's K-Means on a memory map, a given number of iterations."""
    import dask.array
    from dask_ml.cluster import KMeans

    X = dask.array.from_array(np.load(options.path, mmap_mode="r"), chunks=(BLOCK, COLUMNS))
    model = KMeans(
        options.clusters, init=starts(options.path, options.clusters), max_iter=options.iterations,
        tol=0,
    ).fit(X)  # fmt: skip
    return {"passes": model.n_iter_ + 1, "inertia": float(model.inertia_)}


CONTENDERS = {
    "reading alone": read_only,
    "tilewise KMeans": tilewise_kmeans,
    "tilewise MiniBatchKMeans": tilewise_minibatch,
    "scikit-learn partial_fit loop": sklearn_minibatch,
    "dask-ml KMeans": dask_kmeans,
}
NEEDS = {"scikit-learn partial_fit loop": "sklearn", "dask-ml KMeans": "dask_ml"}


def measure(name, options):
    """Run one contender in this process; returns its figures."""
    import sklearn.cluster  # noqa: F401 - everybody's modules are there before the peak is reset

    if name.startswith("tilewise"):
        import tilewise  # noqa: F401
    cold = not options.warm and forget(options.path)
    if options.warm:
        read_only(options)
    gc.collect()
    if memory.CLEAR_REFS.exists():
        memory.CLEAR_REFS.write_text("5")
    before, _ = memory.resident()
    begin = time.perf_counter()
    found = CONTENDERS[name](options)
    seconds = time.perf_counter() - begin
    _, peak = memory.resident()
    return {"seconds": seconds, "peak_rss": peak, "rss_before": before, "cold": cold} | found


def parse(arguments=None):
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=8.0)
    parser.add_argument("--clusters", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8192, help="rows of a mini-batch")
    parser.add_argument("--limit", default="1GB")
    parser.add_argument(
        "--folder", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()),
        help="where the file is put",
    )  # fmt: skip
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--warm", action="store_true", help="start with the file in the page cache")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--path", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def in_a_process(name, options):
    """Measure a contender in a fresh process; what it said if it failed."""
    command = [sys.executable, __file__, "--measure", name, "--path", str(options.path)]
    for option in ("clusters", "iterations", "batch", "limit"):
        command += [f"--{option}", str(getattr(options, option))]
    if options.warm:
        command.append("--warm")
    told = subprocess.run(command, capture_output=True, text=True)
    if told.returncode:
        return {"error": (told.stderr.strip() or "no message").splitlines()[-1]}
    return json.loads(told.stdout.splitlines()[-1])


def available(name):
    """Whether what a contender needs is there; says so if not."""
    module = NEEDS.get(name)
    if module is None or importlib.util.find_spec(module) is not None:
        return True
    print(f"left out: {name} ({module} is missing)", file=sys.stderr)
    return False


def together(rounds):
    """One finding of several rounds: that of the median time, with all times; an error wins."""
    for found in rounds:
        if "error" in found:
            return found
    ordered = sorted(rounds, key=lambda found: found["seconds"])
    return ordered[(len(ordered) - 1) // 2] | {"all_seconds": [f["seconds"] for f in rounds]}


def line(name, found, rows, size):
    """One row of the table."""
    if "error" in found:
        return f"| {name} | failed: {found['error']} | | | | |"
    passes = found["passes"]
    handled = found.get("rows", rows * passes)
    inertia = f"{found['inertia']:.6g}" if "inertia" in found else "–"
    return (
        f"| {name} | {found['seconds']:.1f} s | {passes} | "
        f"{handled / found['seconds'] / 1e6:.2f} M rows/s, "
        f"{handled / rows * size / found['seconds'] / 1e6:.0f} MB/s | "
        f"{found['peak_rss'] / 1e6:.0f} MB ({found['rss_before'] / 1e6:.0f} before) | {inertia} |"
    )


def main():
    """Write the file, measure everybody, delete the file."""
    options = parse()
    if options.measure:
        print(json.dumps(measure(options.measure, options)))
        return
    started = datetime.datetime.now(datetime.UTC)
    out = options.json or RESULTS / f"stream-{started:%Y%m%d-%H%M%S}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(".npy", "stream-", options.folder)
    os.close(handle)
    options.path = pathlib.Path(name)
    try:
        print(f"writing {options.gigabytes} GB to {options.path}", file=sys.stderr)
        rows = write(options.path, options.gigabytes, COLUMNS, options.clusters)
        size = options.path.stat().st_size
        result = {
            "about": "tilewise streaming benchmark; in turn, processes of their own",
            "started": started.isoformat(timespec="seconds"), "rows": rows, "columns": COLUMNS,
            "bytes": size, "clusters": options.clusters, "iterations": options.iterations,
            "batch": options.batch, "memory_limit": options.limit, "warm": options.warm,
            "rounds": options.rounds, "found": {},
        }  # fmt: skip
        print(f"{rows:,} x {COLUMNS} float32, {options.clusters} clusters, limit {options.limit}\n")
        print("| | time | passes | rate | peak memory | inertia |\n|---|--:|--:|--:|--:|--:|")
        contenders = [name for name in options.only if available(name)]
        found = {name: [] for name in contenders}
        for turn in range(options.rounds):
            print(f"round {turn + 1} of {options.rounds}", file=sys.stderr)
            for name in timing.rotated(contenders, turn):
                found[name].append(in_a_process(name, options))
        for name, rounds in found.items():
            result["found"][name] = together(rounds)
            print(line(name, result["found"][name], rows, size), flush=True)
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    finally:
        options.path.unlink(missing_ok=True)
    print(f"written to {out}", file=sys.stderr)


if __name__ == "__main__":
    main()
