"""Measure tilewise.dask on two worker processes: against one process, dask-ml, and its targets.

python benchmarks/dask_clusters.py                  everything, under six minutes on two cores
python benchmarks/dask_clusters.py --quick          a tenth of the rows, two rounds
python benchmarks/dask_clusters.py --table RESULT   print the tables of a kept result

Every contender runs once a round, another one first each time; figures are medians with the least
and the most. Prints what was found beside what is aimed at and writes one JSON with all samples;
measures and never judges.
"""

import argparse
import dataclasses
import datetime
import importlib
import json
import os
import pathlib
import signal
import statistics
import sys
import threading
import time

import data
import environment
import memory
import numpy as np
import report
import timing

RESULTS = pathlib.Path(__file__).parent / "results" / "local"
WORKERS = 2
BLOCKS = 8
ONE, OURS, RIVAL = "one process, 2 threads", "tilewise.dask, 2 workers", "dask-ml, 2 workers"
# A rival that has taken so many seconds of a case sits out its further rounds.
PATIENCE = 25.0
# After so many seconds a case has three rounds instead of five.
CASE_SECONDS = 60.0

os.environ.setdefault("TILEWISE_TUNING", "off")


@dataclasses.dataclass(frozen=True)
class Case:
    """Rows, columns, clusters; iterations of a short and a long fit; what is aimed at."""

    n: int
    d: int
    k: int
    iterations: tuple
    against_one: float | None = None
    against_rival: float | None = None

    def shape(self):
        """The sizes in words."""
        return f"{self.n:,} × {self.d} × {self.k}"


CASES = (
    Case(1_000_000, 16, 16, (2, 22), against_rival=1.0),
    Case(200_000, 64, 256, (2, 12), against_rival=5.0),
    Case(200_000, 128, 1024, (2, 7), against_one=1.15),
)
EMPTY = Case(2_000, 2, 2, (30, 30))
MEMORY = Case(4_000_000, 32, 64, (6, 6))
KILL = Case(1_000_000, 32, 64, (40, 40))
# What is aimed at elsewhere.
EMPTY_MS, MEMORY_SHARE, BYTES_PER_NUMBER, PASSES_PER_KILL = 15.0, 0.15, 3 * 8, 2


def smaller(case):
    """The same with few rows and clusters, to see that everything works."""
    return dataclasses.replace(
        case, n=max(2_000, case.n // 10), k=min(case.k, 32), iterations=(2, 6)
    )


# ---------------------------------------------------------------- who takes part


def models(case, init, client):
    """For each contender a function from data and iterations to a fitted model."""
    import tilewise
    import tilewise.dask

    how = {"init": init, "n_init": 1, "tol": 0}
    found = {
        ONE: lambda X, D, m: tilewise.KMeans(case.k, max_iter=m, n_threads=WORKERS, **how).fit(X),
        OURS: lambda X, D, m: tilewise.dask.KMeans(case.k, max_iter=m, client=client, **how).fit(D),
    }
    rival = rival_module()
    if rival is not None:
        found[RIVAL] = lambda X, D, m: rival.KMeans(case.k, init=init, tol=0, max_iter=m).fit(D)
    return found


def rival_module():
    """Return dask_ml.cluster, None where it cannot be imported."""
    try:
        return importlib.import_module("dask_ml.cluster")
    except Exception:  # what a library that is too old for the others raises is anybody's guess
        return None


def why_no_rival():
    """What kept dask-ml away, None if nothing did."""
    try:
        importlib.import_module("dask_ml.cluster")
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}"
    return None


def make_block(n, d, k, number):
    """Rows that are the same whoever makes them."""
    return data.blobs(n, d, k, apart=3, seed=number)


def made_on_workers(case, client):
    """A dask array whose blocks workers make and hold, each as many."""
    import dask
    import dask.array as da
    from distributed import wait

    rows = case.n // BLOCKS
    workers = sorted(client.nthreads())
    blocks = [
        client.persist(
            da.from_delayed(
                dask.delayed(make_block)(rows, case.d, case.k, i), (rows, case.d), np.float32
            ),
            workers=[workers[i % len(workers)]],
            allow_other_workers=True,  # when this one is killed
        )
        for i in range(BLOCKS)
    ]
    wait(blocks)
    return da.concatenate(blocks)


def start_of(case):
    """Rows of the first block, to start from."""
    first = make_block(case.n // BLOCKS, case.d, case.k, 0)
    return first[data.initial_rows(first, case.k)]


# ---------------------------------------------------------------- what is measured


def iterations(client, options):
    """Seconds of an iteration and of whole fits, bytes, and whether the bits are the same."""
    import dask.array as da
    from distributed import wait

    for case in options.cases(CASES):
        X = data.blobs(case.n, case.d, case.k, apart=3)
        D = da.from_array(X, chunks=(-(-case.n // BLOCKS), case.d)).persist()
        wait(D)
        fits = models(case, X[data.initial_rows(X, case.k)], client)
        few = X[: 4 * case.k], da.from_array(X[: 4 * case.k], chunks=(2 * case.k, case.d))
        record = {"section": "iterations", "case": dataclasses.asdict(case), "found": {}}
        for name in list(fits):
            try:
                fits[name](*few, 1)  # modules and threads are there before the clock starts
            except Exception as problem:
                record["found"][name] = {"error": f"{type(problem).__name__}: {problem}"}
                del fits[name]
        samples, last = in_turn(case, fits, X, D, options.rounds(5))
        for name, own in samples.items():
            record["found"][name] = told(own, last[name, "short"], last[name, "long"])
        if ONE in samples and OURS in samples:
            record["same_bits"] = same_bits(last[ONE, "long"], last[OURS, "long"])
        yield record


def in_turn(case, fits, X, D, rounds):
    """Fit everybody in turn; seconds of short and long fits, and the last models of both."""
    samples = {name: {"short": [], "long": []} for name in fits}
    last, begin = {}, time.perf_counter()
    for turn in range(rounds):
        if turn >= 3 and time.perf_counter() - begin > CASE_SECONDS:
            break
        for name in timing.rotated(fits, turn):
            own, fit = samples[name], fits[name]
            if name == RIVAL and sum(own["short"] + own["long"]) > PATIENCE:
                continue
            for length, count in zip(("short", "long"), case.iterations, strict=True):
                seconds, model = timing.clock(lambda fit=fit, m=count: fit(X, D, m))
                own[length].append(seconds)
                last[name, length] = model
    return samples, last


def told(samples, short, long):
    """Seconds of an iteration from fits of two lengths, and what the model says of itself."""
    done = [int(short.n_iter_), int(long.n_iter_)]
    found = {"iterations": done, "inertia": float(long.inertia_), "whole": samples}
    if done[1] > done[0]:
        slopes = [
            (b - a) / (done[1] - done[0])
            for a, b in zip(samples["short"], samples["long"], strict=True)
        ]
        found |= timing.summary(slopes)
    else:
        found["error"] = f"stopped after {done[1]} iterations"
    reported = getattr(long, "stream_report_", None)
    if reported is not None:
        found["report"] = reported.to_dict()
    return found


def same_bits(one, other):
    """Whether two models agree in every bit; the labels of the second lie on workers."""
    return bool(
        np.array_equal(one.labels_, np.asarray(other.labels_))
        and one.cluster_centers_.tobytes() == other.cluster_centers_.tobytes()
        and one.inertia_ == other.inertia_
        and one.n_iter_ == other.n_iter_
    )


def empty_rounds(client, options):
    """Seconds of a pass over next to nothing: what a round of tasks costs."""
    import dask.array as da

    (case,) = options.cases([EMPTY])
    X = np.random.default_rng(0).uniform(size=(case.n, case.d)).astype(np.float32)
    D = da.from_array(X, chunks=(case.n // WORKERS, case.d)).persist()
    fit = models(case, X[: case.k], client)[OURS]
    fit(X, D, 3)
    reports, whole = [], []
    for _ in range(options.rounds(9)):
        seconds, model = timing.clock(lambda: fit(X, D, case.iterations[1]))
        whole.append(seconds)
        reports.append(model.stream_report_.to_dict())
    passes = [seconds for own in reports for seconds in own["seconds"][1:]]
    yield {
        "section": "empty rounds", "case": dataclasses.asdict(case), "whole": whole,
        "reports": reports, "found": timing.summary(passes),
    }  # fmt: skip


def bytes_held():
    """What this process holds, and the most that it held."""
    return memory.resident()


def peak_from_here():
    """Give back what is free, and count the peak anew; what this process holds."""
    memory.give_back()
    memory.CLEAR_REFS.write_text("5")
    return memory.resident()[0]


def worker_memory(client, options):
    """Peak resident memory of workers during a fit, against their share of the data."""
    if not memory.CLEAR_REFS.exists():
        yield {"section": "memory", "error": "this system does not tell peaks"}
        return
    (case,) = options.cases([MEMORY])
    warm_up(case, client)
    fit = models(case, start_of(case), client)[OURS]
    for _ in range(options.rounds(3)):
        emptied(client)
        before = client.run(peak_from_here)
        D = made_on_workers(case, client)
        held = client.run(peak_from_here)
        model = fit(None, D, case.iterations[1])
        peak = {worker: own[1] for worker, own in client.run(bytes_held).items()}
        size = D.nbytes // WORKERS
        del model, D
        yield {
            "section": "memory", "case": dataclasses.asdict(case),
            "workers": [
                {"before": before[w], "with_data": held[w], "peak": peak[w], "data": size}
                for w in before
            ],
        }  # fmt: skip


def emptied(client):
    """Wait until workers have let go of what nobody needs any more."""
    for _ in range(100):
        if not any(client.has_what().values()):
            return
        time.sleep(0.1)


def warm_up(case, client):
    """A fit of few rows: workers have their modules afterwards."""
    case = dataclasses.replace(case, n=BLOCKS * 2 * case.k)
    models(case, start_of(case), client)[OURS](None, made_on_workers(case, client), 2)


def kills(client, options):
    """Seconds of a fit, and of one in which a worker is killed halfway."""
    (case,) = options.cases([KILL])
    record = {
        "section": "kill", "case": dataclasses.asdict(case), "load": [], "without": [], "with": [],
        "same_bits": [], "restored": [], "pass": [],
    }  # fmt: skip
    fit = models(case, start_of(case), client)[OURS]
    for _ in range(options.rounds(3)):
        client.wait_for_workers(WORKERS)
        warm_up(case, client)
        seconds, D = timing.clock(lambda: made_on_workers(case, client))
        record["load"].append(seconds)
        plain, model = timing.clock(lambda D=D: fit(None, D, case.iterations[1]))
        record["without"].append(plain)
        record["pass"].append(statistics.median(model.stream_report_.seconds))
        victim = next(iter(client.run(os.getpid).values()))
        timer = threading.Timer(plain / 2, os.kill, (victim, signal.SIGKILL))
        timer.start()
        seconds, other = timing.clock(lambda D=D: fit(None, D, case.iterations[1]))
        timer.join()
        record["with"].append(seconds)
        record["restored"].append(other.stream_report_.restored)
        centers = model.cluster_centers_.tobytes() == other.cluster_centers_.tobytes()
        record["same_bits"].append(bool(centers and model.inertia_ == other.inertia_))
        del D, model, other
    yield record


SECTIONS = {
    "iterations": iterations, "rounds": empty_rounds, "memory": worker_memory, "kill": kills
}  # fmt: skip


# ---------------------------------------------------------------- tables


def milliseconds(found):
    """A median with the least and the most."""
    if "median" not in found:
        return f"failed: {found['error']}"
    return " ".join(
        [f"{1e3 * found['median']:.1f} ms", f"({1e3 * found['min']:.1f}–{1e3 * found['max']:.1f})"]
    )


def ratios(one, other):
    """Quotients of two contenders, round by round, in words."""
    if "samples" not in one or "samples" not in other:
        return "–"
    both = list(zip(one["samples"], other["samples"], strict=False))
    found = [a / b for a, b in both if a > 0 and b > 0]
    without = len(both) - len(found)
    more = f", {without} of {len(both)} rounds too short to tell" if without else ""
    if not found:
        return "too short to tell"
    return f"{statistics.median(found):.2f}× ({min(found):.2f}–{max(found):.2f}{more})"


def of_iterations(record):
    """Rows for one shape."""
    case = Case(**record["case"])
    found = record["found"]
    for name in (ONE, OURS, RIVAL):
        if name in found:
            yield f"an iteration: {name}", milliseconds(found[name]), ""
    ours = found[OURS]
    aim = f"≤ {case.against_one}×" if case.against_one else ""
    yield "tilewise.dask against one process", ratios(ours, found[ONE]), aim
    if RIVAL in found:
        aim = f"≥ {case.against_rival:g}×" if case.against_rival else ""
        yield "dask-ml against tilewise.dask", ratios(found[RIVAL], ours), aim
    for name in (ONE, OURS, RIVAL):
        if "whole" in found.get(name, {}):
            whole = timing.summary(found[name]["whole"]["long"])
            count = found[name]["iterations"][1]
            yield f"a fit of {count} iterations: {name}", milliseconds(whole), ""
            yield f"inertia: {name}", f"{found[name]['inertia']:.9g}", ""
    yield "same bits as one process", "yes" if record.get("same_bits") else "NO", "yes"
    if "report" not in ours:
        return
    own = ours["report"]
    gaps = [a - b for a, b in zip(own["seconds"][1:], own["seconds_computing"][1:], strict=True)]
    if gaps:
        yield "a pass of the last fit", milliseconds(timing.summary(own["seconds"][1:])), ""
        yield "of it, outside the slowest part's computing", milliseconds(timing.summary(gaps)), ""
    each = (own["bytes_down"] + own["bytes_up"]) / own["passes"] / own["parts"]
    aim = BYTES_PER_NUMBER * case.k * case.d
    yield "bytes of a worker and an iteration", f"{each:,.0f}", f"≤ {aim:,} (3·k·d·8)"


def of_rounds(record):
    """Rows for the empty round."""
    yield "an empty round", milliseconds(record["found"]), f"≤ {EMPTY_MS:g} ms"
    yield "a whole fit of next to nothing", milliseconds(timing.summary(record["whole"])), ""


def of_memory(record):
    """Rows for what workers hold."""
    if "error" in record:
        yield "memory of a worker", f"failed: {record['error']}", ""
        return
    for own in record["workers"]:
        size, peak = own["data"], own["peak"]
        grown, beyond = peak - own["before"], peak - own["with_data"]
        yield (
            f"peak of a worker with {size / 2**20:.1f} MiB of data, grown since before them",
            f"{grown / 2**20:.1f} MiB, data {grown / size - 1:+.1%}",
            f"≤ data +{MEMORY_SHARE:.0%}",
        )
        yield "of it, during the fit", f"{beyond / 2**20:.1f} MiB, {beyond / size:.1%}", ""


def of_kill(record):
    """Rows for the fit in which a worker is killed."""
    yield "a fit, nobody killed", milliseconds(timing.summary(record["without"])), ""
    yield "the same, a worker killed halfway", milliseconds(timing.summary(record["with"])), ""
    costs = [b - a for a, b in zip(record["without"], record["with"], strict=True)]
    allowed = [a + PASSES_PER_KILL * b for a, b in zip(record["load"], record["pass"], strict=True)]
    aim = f"≤ {1e3 * statistics.median(allowed):.0f} ms (a load and {PASSES_PER_KILL} passes)"
    yield "cost of the kill", milliseconds(timing.summary(costs)), aim
    yield "parts that found their labels again", ", ".join(map(str, record["restored"])), ""
    yield "same centres and inertia", "yes" if all(record["same_bits"]) else "NO", "yes"


LINES = {
    "iterations": of_iterations, "empty rounds": of_rounds, "memory": of_memory, "kill": of_kill
}  # fmt: skip


def table(result):
    """All figures beside what is aimed at."""
    rows = []
    for record in result["records"]:
        shape = Case(**record["case"]).shape() if "case" in record else ""
        for line in LINES[record["section"]](record):
            rows.append([shape, *line])
            shape = ""
    text = report.markdown(["n × d × k", "what", "found", "aim"], rows)
    noise = report.noise_of(result)
    notes = [f"Not quiet, so these figures are worth little: {noise}."] if noise else []
    if result["missing"]:
        notes.append(f"dask-ml is not measured: {result['missing']}.")
    notes.append(
        "Median (least–most). dask-ml reports the sum of unsquared distances as inertia. A fit of "
        "dask-ml sits out further rounds of a case after "
        f"{PATIENCE:.0f} s."
    )
    return "\n\n".join([text, *notes])


# ---------------------------------------------------------------- the command


class Options(argparse.Namespace):
    """What the command line asks for."""

    def cases(self, cases):
        """The cases, or small ones."""
        return [smaller(case) if self.quick else case for case in cases]

    def rounds(self, default):
        """How often."""
        return self.n_rounds or (2 if self.quick else default)


def parse(arguments=None):
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, two rounds")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--rounds", type=int, dest="n_rounds", help="samples of each")
    parser.add_argument("--json", type=pathlib.Path, help="where to write")
    parser.add_argument("--table", type=pathlib.Path, metavar="RESULT", help="only print a result")
    return parser.parse_args(arguments, namespace=Options())


def measure(options, path):
    """Run the sections; the result, which is written after every record."""
    from distributed import Client, LocalCluster

    started = datetime.datetime.now(datetime.UTC)
    missing = why_no_rival()
    if missing:
        print(f"left out: dask-ml ({missing})", file=sys.stderr)
    result = {
        "format": 1, "about": "tilewise on a cluster of two processes; times in seconds",
        "started": started.isoformat(timespec="seconds"), "missing": missing,
        "arguments": {"quick": options.quick, "sections": options.only, "rounds": options.n_rounds},
    } | environment.describe() | {"records": []}  # fmt: skip
    environment.warn_if_loud(result["quiet"])
    print(report.head(result), flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster, Client(cluster) as client:  # fmt: skip
        for name in options.only:
            print(f"  {name}", file=sys.stderr, flush=True)
            for record in SECTIONS[name](client, options):
                result["records"].append(record)
                path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    result["finished"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def main():
    """Measure, or print what was measured."""
    options = parse()
    if options.table:
        print(table(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    path = options.json or RESULTS / f"dask-{datetime.datetime.now():%Y%m%d-%H%M%S}.json"
    print(table(measure(options, path)))
    print(f"written to {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
