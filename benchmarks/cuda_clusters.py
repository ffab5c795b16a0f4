"""Measure tilewise on a GPU: against the libraries that cluster there, and against the CPU.

python benchmarks/cuda_clusters.py                          everything
python benchmarks/cuda_clusters.py --seconds 200            stop starting cases after so long
python benchmarks/cuda_clusters.py --only iterations labels --shapes 1Mx128x1024 300kx32x50
python benchmarks/cuda_clusters.py --table RESULT           print the tables of a kept result

Contenders take turns, another one first in each round; figures are medians of rounds, and every
time ends when the device has finished. One iteration is a tenth of what 12 iterations take longer
than 2, from the same centres. Prints each figure as soon as it is there and writes one JSON with
all samples after each case; measures and never judges.
"""

import argparse
import datetime
import json
import os
import pathlib
import sys
import time

import cuda_peers
import cuda_tables
import environment
import numpy as np
import timing
import torch
from cuda_cases import first_least, in_pieces, inertia_of, rows_for, sizes_of

RESULTS = pathlib.Path(__file__).parent / "results" / "local"
SHAPES = ("1Mx128x1024", "500kx384x4096", "4Mx16x64", "2Mx64x256")
NEIGHBORS = ("20kx128x1M",)  # queries, columns, rows
SEEDING = ("1Mx128x1024",)
#: Parts of a run in the order in which they are measured.
PARTS = ("iterations", "labels", "assign", "launches", "fit", "seeding", "argkmin")
SHORT, LONG = 2, 12
# Rows whose labels and neighbours are compared with a readable reference.
CHECKED, CHECKED_NEIGHBORS = 20_000, 64
K_NEAREST = 10
# Rows of a start on the CPU; its time grows with the number of rows.
CPU_ROWS = 250_000

os.environ.setdefault("TILEWISE_TUNING", "off")


def finish(device):
    """Wait until the device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clock(call, device):
    """Seconds from here until the device has finished, and what the call returned."""
    finish(device)
    start = time.perf_counter()
    result = call()
    finish(device)
    return time.perf_counter() - start, result


def give_back(device):
    """Let the next one find the memory free."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


# ---------------------------------------------------------------- the run


class Run:
    """What all parts share: options, who takes part, the result and where it is written."""

    def __init__(self, options, path):
        self.options, self.path = options, path
        self.device = torch.device(options.device)
        self.started = time.monotonic()
        self.rounds = options.rounds
        self.peers, missing = cuda_peers.available(self.device, options.peers)
        self.result = {
            "format": 1, "about": "K-Means and neighbours on a GPU; times in seconds",
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "arguments": {k: str(v) for k, v in vars(options).items() if v is not None},
            "missing": missing, "notes": {peer.name: peer.note for peer in self.peers if peer.note},
            "device": self.describe(), "versions": versions(), "commit": environment.commit(),
            "machine": {"cpu": environment.cpu_model(), "cpus": os.cpu_count()}, "records": [],
            "left_out": [],
        }  # fmt: skip
        for name, problem in missing.items():
            self.say(f"left out: {name} ({problem})")

    def describe(self):
        """Facts of the device with their sources, and two measured limits."""
        from tilewise.cuda._facts import device_facts

        told = {"facts": device_facts(self.device).to_dict(), "measured": {}}
        if self.device.type == "cuda":
            told["measured"] = limits(self.device)
        return told

    def say(self, text):
        """Print a line at once."""
        print(text, flush=True)

    def has_time(self, what):
        """Whether another case may start; a case that may not is listed."""
        if time.monotonic() - self.started < self.options.seconds:
            return True
        self.result["left_out"].append(what)
        self.say(f"left out: {what} (the {self.options.seconds:g} seconds are over)")
        return False

    def keep(self, record):
        """Add a record, write the result, print the record."""
        self.result["records"].append(record)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")
        for line in cuda_tables.lines(record):
            self.say(line)

    def in_turn(self, calls, warm=True):
        """Samples of every call by name; those that fail say why instead.

        `calls` maps names to functions without arguments, which return seconds. Once the share of
        a case is spent, no round starts but the first.
        """
        samples, errors = {name: [] for name in calls}, {}
        began = time.monotonic()
        for turn in range(-1 if warm else 0, self.rounds):
            if turn > 0 and time.monotonic() - began > self.options.share:
                break
            for name in timing.rotated(calls, max(turn, 0)):
                if name in errors:
                    continue
                try:
                    seconds = calls[name]()
                except Exception as problem:  # of a library that is not ours
                    errors[name] = f"{type(problem).__name__}: {problem}"[:300]
                    continue
                if turn >= 0:  # the round before compiles
                    samples[name].append(seconds)
        told = {name: timing.summary(own) for name, own in samples.items() if own}
        return told | {name: {"error": text} for name, text in errors.items()}

    def able(self, task):
        """Those who can do it."""
        return [peer for peer in self.peers if getattr(peer, task) is not None]


def versions():
    """Installed versions of what takes part."""
    import importlib.metadata

    told = environment.versions()
    for name in ("triton", "flash-kmeans", "flashlib", "cupy-cuda13x", "cupy-cuda12x", "cuml-cu13"):
        try:
            told[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {name: version for name, version in told.items() if version is not None}


def limits(device):
    """Measured speed of a copy, bytes read and written, and of a product of 16-bit numbers."""
    source = torch.empty(2**29, device=device)
    target = torch.empty_like(source)
    halves = torch.randn(8192, 8192, device=device).half()
    copies = sorted(clock(lambda: target.copy_(source), device)[0] for _ in range(6))
    products = sorted(clock(lambda: halves @ halves, device)[0] for _ in range(6))
    return {
        "copy_tbs": 2 * source.numel() * 4 / copies[2] / 1e12,
        "float16_tflops": 2 * 8192**3 / products[2] / 1e12,
    }


# ---------------------------------------------------------------- parts


def ready(run, task, prepare):
    """Calls by name of those who can do something; who fails before it starts is named."""
    calls = {}
    for peer in run.able(task):
        try:
            calls[peer.name] = prepare(peer)
        except Exception as problem:  # of a library that is not ours
            run.say(f"left out: {peer.name} ({type(problem).__name__}: {problem})")
    return calls


def iterations(run, shape, X, C):
    """One iteration of everybody."""
    ran = {}

    def one(peer):
        rows, centers = peer.rows(X), peer.rows(C)
        work = peer.iterations(rows, centers)

        def sample():
            short, done = clock(lambda: work(SHORT), run.device)
            long, more = clock(lambda: work(LONG), run.device)
            ran[peer.name] = [done, more]
            if more <= done:
                raise RuntimeError(f"settled after {done} iterations: nothing to compare")
            return (long - short) / (more - done)

        return sample

    told = run.in_turn(ready(run, "iterations", one))
    for name, counts in ran.items():
        told.get(name, {})["n_iter"] = counts
    size = X.numel() * X.element_size()
    run.keep({"part": "iterations", "shape": shape, "bytes": size, "peers": told})


def labels(run, shape, X, C):
    """Wrong labels of everybody, and whether ours are those of the CPU."""
    few = X[: min(CHECKED, len(X))]
    truth = in_pieces(first_least, few, C)
    told, ours = {}, None
    for peer in run.able("labels"):
        try:
            found = peer.labels(peer.rows(X), peer.rows(C))
        except Exception as problem:  # of a library that is not ours
            told[peer.name] = {"error": f"{type(problem).__name__}: {problem}"[:300]}
            continue
        own = {"wrong": int((found[: len(few)] != truth).sum()), "checked": len(few)}
        if peer.name == "tilewise":
            ours = found
        elif ours is not None:
            own |= {"unlike_ours": int((found != ours).sum()), "rows": len(X)}
        told[peer.name] = own
    if ours is not None and run.options.cpu:
        told["tilewise"] |= same_as_cpu(X, C, ours)
    run.keep({"part": "labels", "shape": shape, "peers": told})


def same_as_cpu(X, C, labels):
    """Whether two iterations on the CPU give the bits that the device gives."""
    import tilewise

    rows, start = X.cpu().numpy(), C.cpu().numpy()
    how = {"init": start, "n_init": 1, "max_iter": 2, "tol": 0}
    theirs = tilewise.KMeans(len(C), **how).fit(rows)
    ours = tilewise.KMeans(len(C), **how).fit(X)
    centers = torch.as_tensor(ours.cluster_centers_).cpu().numpy()
    predicted = tilewise.KMeans(len(C), init=start, n_init=1, max_iter=1)
    predicted = predicted.fit(np.concatenate([start] * 2)).predict(rows)
    return {
        "same_labels_as_cpu": bool((predicted == labels.cpu().numpy()).all()),
        "same_centers_as_cpu": centers.tobytes() == theirs.cluster_centers_.tobytes(),
        "same_inertia_as_cpu": float(ours.inertia_) == theirs.inertia_,
    }


def assign(run, shape, X, C):
    """Labels for given centres, without sums."""

    def one(peer):
        work = peer.assign(peer.rows(X), peer.rows(C))
        return lambda: clock(work, run.device)[0]

    told = run.in_turn(ready(run, "assign", one))
    size = X.numel() * X.element_size()
    run.keep({"part": "assign", "shape": shape, "bytes": size, "peers": told})


def launches(run, shape, X, C):
    """Kernels and copies that one of our iterations starts, and the time of each kernel."""
    from torch.profiler import ProfilerActivity, profile

    if run.device.type != "cuda":
        run.say("left out: launches (needs a GPU)")
        return
    ours = next((peer for peer in run.peers if peer.name == "tilewise"), None)
    if ours is None:
        return
    work = ours.iterations(X, C)
    counts = []
    for n_iter in (SHORT, LONG):
        work(n_iter)
        finish(run.device)
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            work(n_iter)
            finish(run.device)
        counts.append(
            {
                event.key: (event.count, event.self_device_time_total)
                for event in seen.key_averages()
                if event.self_device_time_total > 0
            }
        )
    short, long = counts
    times = LONG - SHORT
    kernels = {
        name: {
            "per_iteration": (count - short.get(name, (0, 0))[0]) / times,
            "seconds": (spent - short.get(name, (0, 0))[1]) / times / 1e6,
        }
        for name, (count, spent) in long.items()
        if count > short.get(name, (0, 0))[0]
    }
    run.keep({"part": "launches", "shape": shape, "kernels": kernels})


def fit(run, shape, X, C):
    """Default fits with what they start from, once or a few times each."""
    ends = {}

    def one(peer):
        work = peer.fit(peer.rows(X), len(C))
        peer.fit(peer.rows(X[: 16 * len(C)]), len(C))()  # compiles

        def sample():
            seconds, ends[peer.name] = clock(work, run.device)
            return seconds

        return sample

    told = run.in_turn(ready(run, "fit", one), warm=False)
    for name, (centers, n_iter) in ends.items():
        if name in told:
            centers = torch.as_tensor(centers, device=run.device).float()
            told[name] |= {"n_iter": n_iter, "inertia": inertia_of(X, centers)}
    run.keep({"part": "fit", "shape": shape, "peers": told})


def seeding(run, shape, X, C):
    """k-means++ alone, on the device and on all CPUs."""
    import tilewise

    k, n = len(C), min(len(X), run.options.cpu_rows)
    on_cpu = X[:n].cpu().numpy()
    picked = {}

    def start(name, rows):
        def sample():
            call = lambda: tilewise.kmeans_plusplus(rows, k, random_state=0)  # noqa: E731
            seconds, found = clock(call, run.device)
            picked[name] = np.asarray(torch.as_tensor(found[1]).cpu())
            return seconds

        return sample

    tilewise.kmeans_plusplus(X[: 16 * k], k, random_state=0)  # compiles
    calls = {"tilewise": start("tilewise", X)}
    if n < len(X):
        calls["tilewise, the CPU's rows"] = start("tilewise, the CPU's rows", X[:n])
    told = run.in_turn(calls, warm=False)
    told |= run.in_turn({"CPU": start("CPU", on_cpu)}, warm=False)
    same = picked.get("tilewise" if n == len(X) else "tilewise, the CPU's rows")
    run.keep(
        {
            "part": "seeding", "shape": shape, "peers": told, "rows": len(X), "cpu_rows": n,
            "cpu_threads": tilewise.plan(n, X.shape[1], k).n_threads,
            "same_seeds": bool("CPU" in picked and np.array_equal(same, picked["CPU"])),
        }
    )  # fmt: skip


def argkmin(run, shape, X, Y):
    """The nearest rows of Y for rows of X."""
    ends = {}

    def one(peer):
        work = peer.argkmin(peer.rows(X), peer.rows(Y), K_NEAREST)

        def sample():
            seconds, ends[peer.name] = clock(work, run.device)
            return seconds

        return sample

    told = run.in_turn(ready(run, "argkmin", one))
    few = X[: min(CHECKED_NEIGHBORS, len(X))]
    order = lambda squares: squares.sort(dim=1, stable=True).indices[:, :K_NEAREST]  # noqa: E731
    truth = in_pieces(order, few, Y)
    for name, found in ends.items():
        if name in told:
            found = torch.as_tensor(found, device=run.device)[: len(few)].long()
            told[name] |= {"wrong": int((found != truth).sum()), "checked": truth.numel()}
    run.keep({"part": "argkmin", "shape": shape, "k": K_NEAREST, "peers": told})


BY_SHAPE = {
    "iterations": iterations, "labels": labels, "assign": assign, "launches": launches, "fit": fit,
}  # fmt: skip


def measure(options, path):
    """Run all that is wanted; the result, which is written after every record."""
    run = Run(options, path)
    for line in cuda_tables.head(run.result):
        run.say(line)
    for shape in options.shapes:
        wanted = [part for part in PARTS if part in options.only and part in BY_SHAPE]
        if wanted:
            measure_shape(run, shape, wanted)
    for part, shapes in (("seeding", options.seeding), ("argkmin", options.neighbors)):
        for shape in shapes if part in options.only else ():
            measure_shape(run, shape, [part])
    run.result["finished"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    path.write_text(json.dumps(run.result, indent=1) + "\n", encoding="utf-8")
    return run.result


def measure_shape(run, shape, parts):
    """The parts on one shape; those for which there is no time, or no memory, are listed."""
    if not run.has_time(f"{', '.join(parts)} of {shape}"):
        return
    n, d, k = sizes_of(shape)
    if parts == ["argkmin"]:
        X, Y = rows_for(n, d, 64, run.device, seed=2)[0], rows_for(k, d, 64, run.device)[0]
    else:
        X, Y = rows_for(n, d, k, run.device)
    for part in parts:
        if not run.has_time(f"{part} of {shape}"):
            continue
        began = time.monotonic()
        try:
            {**BY_SHAPE, "seeding": seeding, "argkmin": argkmin}[part](run, shape, X, Y)
        except Exception as problem:
            text = f"{type(problem).__name__}: {problem}"[:500]
            run.keep({"part": part, "shape": shape, "error": text})
        run.say(f"  ({part} of {shape}: {time.monotonic() - began:.1f} s)")
        give_back(run.device)


def through_interpreter():
    """Let tensors in memory count as arrays on a device: for trying this program without a GPU."""
    os.environ["TRITON_INTERPRET"] = "1"  # before kernels are imported
    from tilewise.cuda import _arrays

    _arrays.DEVICE_TYPES.add("cpu")


def main(arguments=None):
    """Measure, or print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option = parser.add_argument
    option("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure")
    option("--shapes", nargs="*", default=SHAPES, help="rows x columns x clusters")
    option("--seeding", nargs="*", default=SEEDING, help="shapes of the part seeding")
    option("--neighbors", nargs="*", default=NEIGHBORS, help="queries x columns x rows")
    option("--peers", nargs="+", help="packages that take part")
    option("--seconds", type=float, default=3600.0, help="start no case after so long")
    option(
        "--share", type=float, default=20.0, help="no further round of a case after so many seconds"
    )
    option("--rounds", type=int, default=7, help="samples of each")
    option("--no-cpu", dest="cpu", action="store_false", help="compare no labels with the CPU's")
    option("--cpu-rows", type=int, default=CPU_ROWS, help="rows of a start on the CPU")
    option("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    option("--json", type=pathlib.Path, help="where to write")
    option("--table", type=pathlib.Path, metavar="RESULT", help="only print a result")
    options = parser.parse_args(arguments)
    if options.table:
        print(cuda_tables.table(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    for shape in (*options.shapes, *options.seeding, *options.neighbors):
        sizes_of(shape)
    if options.device == "cpu":
        through_interpreter()
    path = options.json or RESULTS / f"cuda-{datetime.datetime.now():%Y%m%d-%H%M%S}.json"
    print(cuda_tables.table(measure(options, path)))
    print(f"written to {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
