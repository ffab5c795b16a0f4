"""One to twice as many threads as CPUs; then too many at once, left alone and tamed."""

from __future__ import annotations

import functools
import math
import time
import warnings
from typing import Any

import numpy as np
import threadpoolctl
from joblib import Parallel, delayed

from tilewise._text import counted
from tilewise.engine import assign
from tilewise.kernels._rows import Rows
from tilewise.plan import machine, plan

from ._data import blobs, repeated
from ._run import Case, Run, above_zero
from .dtypes import plain_labels
from .figures import Axis, Conclusion, Figure, Mark, Series, Table, measured, shown, spread
from .quiet import noise

__all__ = ["SETUPS", "WORKS", "figures", "measure", "table"]

# Workers of OpenMP runtimes spin for some milliseconds after a loop (libgomp: 5 ms).
_PAUSE = 0.02

# A job lasts about so long on one thread: starting threads and handing out jobs is then little.
_JOB_SECONDS = 0.1
_QUICK_JOB_SECONDS = 0.002
# More jobs at once than this teach nothing new, and jobs x CPUs threads must not exhaust a system.
_MOST_JOBS = 16
_FEWEST = 4  # samples of a case before anything is said of a difference
_ITERATIONS = 5  # of scikit-learn's K-Means; each has several parallel loops

#: How several jobs are run: name, what it does, how.
SETUPS = {
    "in turn": "one job after the other, each with all threads",
    "left alone": "all jobs at once, each with all threads",
    "tamed": "all jobs at once, each held to its share of the CPUs with threadpoolctl",
    "processes, left alone": "a process per job, each with all threads",
    "processes, tamed": "a process per job, each held to its share of the CPUs",
}
#: What a job is: who makes threads in it.
WORKS = {
    "BLAS": "products of numpy",
    "OpenMP": "passes of tilewise",
    "scikit-learn": "fits of its KMeans, OpenMP loops that call BLAS",
}


def measure(run: Run) -> None:
    """Sweep threads; then time the same jobs under each setup."""
    p = run.parameters
    n, d, k, dtype = p["rows"], p["features"], p["clusters"], p["dtype"]
    cpus = _cpus(machine())
    count = min(_MOST_JOBS, cpus if run.quick else 2 * cpus)
    held = max(1, cpus // count)
    run.facts |= {"cpus": cpus, "jobs": count, "tamed_threads": held}
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
    run.measure("threads", cases, 0.25, _PAUSE, warm_each=True)
    share = max(k, n // count)
    shape = (share, d, k, dtype)
    jobs, repeats = [], {}
    for number, work in enumerate(WORKS):
        run._tell("how long a job lasts", number, len(WORKS), None)
        repeats[work] = _repeats(work, shape, run.quick)
        for setup in SETUPS:
            threads = held if setup.endswith("tamed") else cpus
            call = functools.partial(_jobs, setup, work, shape, count, threads, repeats[work])
            jobs.append(Case(work, {"setup": setup, "repeats": repeats[work]}, call))
    run.facts |= {"job_rows": share, "job_repeats": repeats}
    run.measure("several jobs at once", jobs, 0.75, _PAUSE)


def _cpus(here):
    """CPUs that this process may use, a part of one for a whole: threads beyond a quota wait."""
    quota = here.cgroup_cpus.value
    return here.n_cpus.value if quota is None else max(1, min(here.n_cpus.value, math.ceil(quota)))


def _repeats(work, shape, quick):
    """How often a job does its work, so that it lasts long enough on one thread."""
    seconds = []
    for _ in range(3):  # the first one makes the data and loads libraries
        begin = time.perf_counter()
        _jobs("in turn", work, shape, 1, 1, 1)
        seconds.append(time.perf_counter() - begin)
    wanted = _QUICK_JOB_SECONDS if quick else _JOB_SECONDS
    return max(1, math.ceil(wanted / max(min(seconds), 1e-6)))


def _counts(cpus):
    if cpus <= 4:
        return list(range(1, 2 * cpus + 1))
    return sorted({1, 2, *(max(1, round(cpus * s / 4)) for s in range(1, 9))})


def _jobs(setup, work, shape, count, threads, repeats):
    """Run so many jobs as the setup says, each with so many threads."""
    calls = (delayed(_job)(work, shape, threads, repeats) for _ in range(count))
    if setup.startswith("processes"):
        # joblib holds its processes to a share of the CPUs unless it is told otherwise. Both
        # setups use the same processes, which are started and warmed up once.
        Parallel(count, backend="loky", inner_max_num_threads=machine().n_cpus.value)(
            delayed(_own_job)(work, shape, threads, repeats) for _ in range(count)
        )
        return
    # BLAS has one limit for the whole process. It is set here, once: limits that threads set and
    # put back in turn would overtake one another and leave a wrong one behind.
    with threadpoolctl.threadpool_limits(threads, "blas"):
        if setup == "in turn":
            for _ in range(count):
                _job(work, shape, threads, repeats)
        else:
            Parallel(count, backend="threading")(calls)


def _own_job(work, shape, threads, repeats):
    """A job in a process of its own, which sets its own limit of BLAS."""
    with threadpoolctl.threadpool_limits(threads, "blas"):
        return _job(work, shape, threads, repeats)


def _job(work, shape, threads, repeats):
    X, centers = _data(*shape)
    # OpenMP has one limit per thread that opens a loop: it is set where the job runs.
    with threadpoolctl.threadpool_limits(threads, "openmp"):
        return [_labels(work, X, centers, threads) for _ in range(repeats)]


def _labels(work, X, centers, threads):
    if work == "BLAS":
        return int(plain_labels(X, centers).sum())
    if work == "scikit-learn":
        from sklearn.cluster import KMeans

        first = KMeans(len(centers), init=centers.astype(X.dtype), n_init=1,
                       max_iter=_ITERATIONS, tol=0.0, algorithm="lloyd")  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of clusters that fell empty
            return int(first.fit(X).labels_.sum())
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


@above_zero
def table(result: dict[str, Any]) -> Table:
    """Seconds and speed-up of each number of threads, then of each setup."""
    sweep, jobs = _split(result)
    one = next((e["median"] for e in sweep if e["case"]["threads"] == 1), None)
    rows = [
        [counted(e["case"]["threads"], "thread"), shown(e["median"], "s"), spread(e),
         f"{one / e['median']:.2f}×" if one else ""]
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
    return Table(["", "time", "quartiles", "speed-up"], rows, concluded=(3,))


@above_zero
def figures(result: dict[str, Any]) -> list[Figure]:
    """Speed-up over threads; time of the jobs by setup."""
    sweep, jobs = _split(result)
    made = []
    if sweep and sweep[0]["case"]["threads"] == 1:
        made.append((_times_figure if noise(result) else _sweep_figure)(result, sweep))
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
                   style="dashed", color=6, expected=True),
        ],
        [Mark("x", cpus, f"{cpus} CPUs")],
        [
            Conclusion(_sweep_words(sweep, best, cpus)), *_SWEEP_WORDS,
        ],
    )  # fmt: skip


_SWEEP_WORDS = (
    "Each sample follows an untimed pass, as passes of a fit follow one another. Threads that have "
    "slept often wake up two on one CPU and spread out later.",
    "Labels, centres and inertia are the same, bit for bit, for every number of threads.",
)


def _times_figure(result, sweep):
    """The same as times: a speed-up is a ratio, which a busy machine does not give."""
    return Figure(
        "threads-times", "Time over threads", Axis("threads"), Axis("time of one pass", unit="s"),
        [measured("tilewise", sweep, "threads", color=0)],
        [Mark("x", result["facts"]["cpus"], f"{result['facts']['cpus']} CPUs")],
        list(_SWEEP_WORDS),
    )  # fmt: skip


def _sweep_words(sweep, best, cpus):
    one, count = sweep[0]["median"], best["case"]["threads"]
    if count == 1:
        return f"One thread took {shown(one, 's')}. More threads were not faster."
    words = (
        f"One thread took {shown(one, 's')}. The best number, {counted(count, 'thread')}, took "
        f"{shown(best['median'], 's')} on {counted(cpus, 'CPU')}, {one / best['median']:.2f} times "
        "as fast. "
    )
    every = next((e for e in sweep if e["case"]["threads"] == cpus), None)
    if every is None or every is best:
        return words + (
            "More CPUs gain little if two of them are hardware threads of one core, or if the "
            "memory bandwidth is used up."
        )
    told = f"One thread per CPU took {shown(every['median'], 's')}, "
    if not _apart(best, every):
        return words + told + "too noisy to tell from the best."
    if count > cpus:
        return (
            words
            + told
            + (
                "clearly slower. Perhaps a thread waited for its CPU now and then, and the extra "
                "threads worked meanwhile."
            )
        )
    return words + told + "clearly slower: the last CPUs cost more than they gained."


def _apart(less, more):
    """Whether the quartiles of two measurements do not overlap, and there are any."""
    return _enough(less, more) and less["high"] < more["low"]


def _enough(*entries):
    return all(len(e["samples"]) >= _FEWEST for e in entries)


def _lesson(work, own):
    """What happened to one kind of job, in threads and in processes."""
    turn = own.get("in turn")
    if turn is None:
        return None
    told = [f"{work}: in turn {shown(turn['median'], 's')}"]
    for where in ("", "processes, "):
        alone, tamed = own.get(f"{where}left alone"), own.get(f"{where}tamed")
        if alone is None or tamed is None:
            continue
        ratio = alone["median"] / tamed["median"]
        if not _enough(alone, tamed):
            verdict = "too few samples to tell"
        elif _apart(tamed, alone):
            verdict = f"limiting threads made it {ratio:.2f} times as fast"
        elif _apart(alone, tamed):
            verdict = f"limiting threads made it take {1 / ratio:.2f} times as long"
        else:
            verdict = "too noisy to tell which is faster"
        told.append(
            f"{where or 'threads, '}left alone {shown(alone['median'], 's')}, tamed "
            f"{shown(tamed['median'], 's')}: {verdict}"
        )
    best = min(own, key=lambda name: own[name]["median"])
    return "; ".join(told) + f". The fastest was “{best}”."


def _jobs_figure(result, jobs):
    names = list(dict.fromkeys(e["case"]["setup"] for e in jobs))
    series, found = [], {}
    for number, work in enumerate(dict.fromkeys(e["series"] for e in jobs)):
        own = {e["case"]["setup"]: e for e in jobs if e["series"] == work}
        found[work] = own
        entries = [own[name] for name in names if name in own]
        series.append(measured(f"{work} jobs", entries, "setup", color=number))
    lessons = [_lesson(work, own) for work, own in found.items()]
    facts = result["facts"]
    words = [
        Conclusion(
            " ".join(filter(None, lessons))
            or "The jobs were not run with enough setups to compare."
        ),
        f"{facts['jobs']} jobs of equal work, each on {facts['job_rows']:,} rows, repeated until a "
        f"job lasts about {shown(_JOB_SECONDS, 's')} on one thread: "
        + "; ".join(f"{work}, {WORKS[work]}" for work in found if work in WORKS)
        + ". "
        + "; ".join(f"“{name}” is {about}" for name, about in SETUPS.items() if name in names)
        + f". The share of a job is {counted(facts.get('tamed_threads', 1), 'thread')}.",
        "Jobs that are left alone start jobs × CPUs threads. These take turns on the CPUs and wait "
        "for one another at the end of each loop. The cost depends on the number of CPUs, on the "
        "length of the loops, and on whether waiting threads spin or sleep. The bars show the cost "
        "on this machine. Inside one process, tilewise's loops share the CPUs among themselves. "
        "They cannot see other processes, and BLAS sees no other loops at all.",
    ]
    return Figure(
        "threads-jobs", "Several jobs at once", Axis("how they are run"),
        Axis("time of all jobs", unit="s"), series, words=words, kind="bars",
    )  # fmt: skip
