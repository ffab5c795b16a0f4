"""One to twice as many threads as CPUs; then too many at once, left alone and tamed."""

import functools

import numpy as np
import threadpoolctl
from joblib import Parallel, delayed

from tilewise.engine import assign
from tilewise.kernels._rows import Rows
from tilewise.plan import machine, plan

from ._data import blobs, repeated
from ._run import Case
from .dtypes import plain_labels
from .figures import Axis, Figure, Mark, Series, Table, shown, spread

__all__ = ["SETUPS", "figures", "measure", "table"]

# Workers of OpenMP runtimes spin for some milliseconds after a loop (libgomp: 5 ms).
_PAUSE = 0.02

#: How several jobs are run: name, what it does, how.
SETUPS = {
    "in turn": "one job after the other, each with all threads",
    "left alone": "all jobs at once, each with all threads",
    "tamed": "all jobs at once, each held to one thread with threadpoolctl",
    "processes, left alone": "a process per job, each with all threads",
    "processes, tamed": "a process per job, each held to one thread",
}


def measure(run):
    """Sweep threads; then time the same jobs under each setup."""
    p = run.parameters
    n, d, k, dtype = p["rows"], p["features"], p["clusters"], p["dtype"]
    cpus = machine().n_cpus.value
    count = cpus if run.quick else 2 * cpus
    run.facts |= {"cpus": cpus, "jobs": count}
    X, centers = blobs(n, d, k, dtype)
    rows = Rows(X)
    counts = _counts(cpus)
    cases = [
        Case(
            "tilewise",
            {"threads": t},
            repeated(rows, centers, plan(n, d, k, dtype, n_threads=t))[1],
        )
        for t in counts
    ]
    run.measure("threads", cases, 0.4, _PAUSE)
    share = max(k, n // count)
    jobs = []
    for work in ("BLAS", "OpenMP"):
        for setup in SETUPS:
            call = functools.partial(_jobs, setup, work, (share, d, k, dtype), count, cpus)
            jobs.append(Case(work, {"setup": setup}, call))
    run.facts["job_rows"] = share
    run.measure("several jobs at once", jobs, 0.6, _PAUSE)


def _counts(cpus):
    if cpus <= 4:
        return list(range(1, 2 * cpus + 1))
    return sorted({1, 2, *(max(1, round(cpus * s / 4)) for s in range(1, 9))})


def _jobs(setup, work, shape, count, cpus):
    """Run so many jobs as the setup says."""
    job = delayed(_job)
    one = setup.endswith("tamed")
    calls = (job(work, shape, cpus, one) for _ in range(count))
    if setup == "in turn":
        for _ in range(count):
            _job(work, shape, cpus, False)
    elif setup.startswith("processes"):
        # joblib holds its processes to a share of the CPUs unless it is told otherwise. Both
        # setups use the same processes, which are started and warmed up once.
        Parallel(count, backend="loky", inner_max_num_threads=cpus)(calls)
    else:
        Parallel(count, backend="threading")(calls)


def _job(work, shape, threads, tamed):
    X, centers = _data(*shape)
    if tamed:
        with threadpoolctl.threadpool_limits(1):
            return _labels(work, X, centers, 1)
    return _labels(work, X, centers, threads)


def _labels(work, X, centers, threads):
    if work == "BLAS":
        return int(plain_labels(X, centers).sum())
    chosen = plan(*X.shape, len(centers), X.dtype, n_threads=threads)
    return int(assign(Rows(X), centers, chosen).sum())


@functools.lru_cache(maxsize=2)
def _data(n, d, k, dtype):
    # Made in each process once, so that nothing is sent between them.
    X, centers = blobs(n, d, k, dtype)
    return np.ascontiguousarray(X), centers


def _split(result):
    sweep = sorted(
        (e for e in result["measurements"] if "threads" in e["case"]),
        key=lambda e: e["case"]["threads"],
    )
    return sweep, [e for e in result["measurements"] if "setup" in e["case"]]


def table(result):
    """Seconds and speed-up of each number of threads, then of each setup."""
    sweep, jobs = _split(result)
    rows = [
        [f"{e['case']['threads']} thread{'s' if e['case']['threads'] > 1 else ''}",
         shown(e["median"], "s"), spread(e),
         f"{sweep[0]['median'] / e['median']:.2f}×"]
        for e in sweep
    ]  # fmt: skip
    first = {e["series"]: e["median"] for e in reversed(jobs) if e["case"]["setup"] == "in turn"}
    for e in jobs:
        base = first.get(e["series"])
        rows.append(
            [f"{e['series']} jobs, {e['case']['setup']}", shown(e["median"], "s"),
             spread(e),
             f"{base / e['median']:.2f}×" if base else ""]
        )  # fmt: skip
    return Table(["", "time", "quartiles", "speed-up"], rows)


def figures(result):
    """Speed-up over threads; time of the jobs by setup."""
    sweep, jobs = _split(result)
    made = []
    if sweep and sweep[0]["case"]["threads"] == 1:
        made.append(_sweep_figure(result, sweep))
    if jobs:
        made.append(_jobs_figure(result, jobs))
    return made


def _sweep_figure(result, sweep):
    cpus = result["facts"]["cpus"]
    one = sweep[0]["median"]
    counts = [e["case"]["threads"] for e in sweep]
    best = min(sweep, key=lambda e: e["median"])
    return Figure(
        "threads", "Speed-up over threads", Axis("threads"), Axis("speed-up over one thread"),
        [
            Series("tilewise", counts, [one / e["median"] for e in sweep],
                   [one / e["high"] for e in sweep], [one / e["low"] for e in sweep], color=0),
            Series("a CPU per thread, no loss", counts, [float(min(t, cpus)) for t in counts],
                   style="dashed", color=6),
        ],
        [Mark("x", cpus, f"{cpus} CPUs")],
        [
            f"One thread took {shown(one, 's')}; the best, {best['case']['threads']} threads, "
            f"{shown(best['median'], 's')}: {one / best['median']:.2f} times as fast on {cpus} "
            "CPUs. More threads than CPUs take turns and gain nothing; where the CPUs are two "
            "threads of one core, or share a bandwidth that is spent, even the last ones gain "
            "little.",
            "The labels, centres and inertia are the same bits for every number of threads.",
        ],
    )  # fmt: skip


def _jobs_figure(result, jobs):
    names = list(dict.fromkeys(e["case"]["setup"] for e in jobs))
    series, medians = [], {}
    for number, work in enumerate(dict.fromkeys(e["series"] for e in jobs)):
        own = {e["case"]["setup"]: e for e in jobs if e["series"] == work}
        medians[work] = {name: e["median"] for name, e in own.items()}
        have = [name for name in names if name in own]
        series.append(
            Series(f"{work} jobs", have, [own[s]["median"] for s in have],
                   [own[s]["low"] for s in have], [own[s]["high"] for s in have], color=number)
        )  # fmt: skip
    words = [
        f"{result['facts']['jobs']} jobs, each labels {result['facts']['job_rows']:,} rows: by a "
        "BLAS product of numpy, or by tilewise's OpenMP loops. "
        + "; ".join(f"“{name}” is {about}" for name, about in SETUPS.items() if name in names)
        + ".",
    ]
    for work, found in medians.items():
        if {"left alone", "tamed"} <= found.keys():
            words.append(
                f"{work}: left alone {shown(found['left alone'], 's')}, tamed "
                f"{shown(found['tamed'], 's')}, "
                f"{found['left alone'] / found['tamed']:.2f} times."
            )
    words.append(
        "Jobs that are left alone start jobs × CPUs threads, which take turns on the CPUs and "
        "throw each other's data out of the caches. tilewise's loops leave one another their "
        "share inside a process; they cannot know of other processes, and BLAS knows of nobody."
    )
    return Figure(
        "threads-jobs", "Several jobs at once", Axis("how they are run"),
        Axis("time of all jobs", unit="s"), series, words=words, kind="bars",
    )  # fmt: skip
