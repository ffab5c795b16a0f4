"""The experiments of ``tilewise bench``: one row each, and how one is run."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from . import chunks, dtypes, materialise, mountain, peers, roofline, threads
from ._data import check_room
from ._load import Meter
from ._machine import describe, machine_name
from ._run import Run
from .figures import Figure, Table
from .quiet import careful
from .schema import SCHEMA_VERSION

__all__ = ["EXPERIMENTS", "Experiment", "Parameter", "perform"]


@dataclass(frozen=True)
class Parameter:
    """Something that an experiment may be told.

    Attributes
    ----------
    name : str
        As in the result; the option is ``--name`` with dashes.
    default, quick : object
        At full and at smoke size.
    kind : {"count", "flag", "choice", "shapes", "text", "program"}
    help : str
    choices : tuple of str
    """

    name: str
    default: Any
    quick: Any
    kind: str
    help: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """One row of the table.

    Attributes
    ----------
    name : str
    title : str
        What it answers.
    about : str
        A paragraph for ``--help``.
    parameters : tuple of Parameter
    measure : callable
        Takes a `Run`; adds to its measurements, predictions and facts.
    table, figures : callable
        Take a result, whole or cut short, from here or elsewhere.
    seconds : float
        Budget by default.
    """

    name: str
    title: str
    about: str
    parameters: tuple[Parameter, ...]
    measure: Callable[[Run], None]
    table: Callable[[dict[str, Any]], Table]
    figures: Callable[[dict[str, Any]], list[Figure]]
    seconds: float = 30.0


def _shape(rows, features, clusters, quick_rows, dtype=True, threads=None):
    """The parameters that most experiments share."""
    told = [
        Parameter("rows", rows, quick_rows, "count", "Rows of the data."),
        Parameter("features", features, min(features, 16), "count", "Features of a row."),
        Parameter("clusters", clusters, min(clusters, 32), "count", "Centres."),
    ]
    if dtype:
        told.append(
            Parameter("dtype", "float32", "float32", "choice", "Type of the data.",
                      ("float32", "float64"))
        )  # fmt: skip
    if threads is not None:
        told.append(Parameter("threads", threads, threads, "count", "Threads."))
    return tuple(told)


def _signed(figures):
    """Figures that say which machine they come from, wherever they are taken."""
    made = careful(figures)
    return lambda result: [replace(f, source=machine_name(result)) for f in made(result)]


#: Name to row: what ``tilewise bench`` can measure.
EXPERIMENTS = {
    row.name: row
    for row in (
        Experiment(
            "chunks",
            "How many rows at a time?",
            "Assign all rows to their nearest centres with chunks of different sizes, from one "
            "register tile to the whole array, in both engines. With too short a chunk the centres "
            "are read too often. With too long a chunk the rows do not fit the caches. Labels stay "
            "the same.",
            (
                *_shape(60_000, 64, 256, 6_000, threads=1),
                Parameter("engines", "both", "both", "choice", "Engines to sweep.",
                          ("both", "fused", "blas")),
                Parameter("simulate", False, False, "flag",
                          "Also simulate this machine's caches and count the bytes moved."),
                Parameter("cachegrind", False, False, "flag",
                          "Also run the kernels in valgrind and count; takes minutes."),
            ),
            chunks.measure, careful(chunks.table), _signed(chunks.figures),
        ),
        Experiment(
            "dtypes",
            "What does a shorter number buy, and what does it cost?",
            "Compare int8, float16, float32 and float64: seconds, bytes read, and labels that "
            "differ. Data lie near the origin and far from it; tilewise is compared with plain "
            "float32 arithmetic.",
            _shape(60_000, 64, 256, 4_000, dtype=False, threads=1),
            dtypes.measure, careful(dtypes.table), _signed(dtypes.figures),
        ),
        Experiment(
            "threads",
            "How many threads, and what happens with too many?",
            "Use one thread, then more, up to twice as many as CPUs. Then run several jobs at "
            "once, each with all threads (joblib x OpenMP x BLAS), without a limit and with "
            "threadpoolctl's limits.",
            _shape(100_000, 64, 256, 8_000),
            threads.measure, careful(threads.table), _signed(threads.figures), 60.0,
        ),
        Experiment(
            "materialise",
            "What does the matrix of distances cost?",
            "Find the nearest centres in three ways: from the whole rows x centres matrix, from "
            "one chunk of it at a time, and without a matrix. Compare seconds and peak memory. "
            "Each way runs in its own process.",
            _shape(200_000, 32, 256, 10_000, threads=1),
            materialise.measure, careful(materialise.table), _signed(materialise.figures), 60.0,
        ),
        Experiment(
            "mountain",
            "How far away is memory?",
            "Measure bandwidth for different working sets and strides, and the latency of one "
            "read after another. The steps show the cache sizes; they are compared with what the "
            "system reports.",
            (
                Parameter("largest_mib", 256, 16, "count", "Largest working set, in MiB."),
            ),
            mountain.measure, careful(mountain.table), _signed(mountain.figures), 45.0,
        ),
        Experiment(
            "roofline",
            "Which roof is the limit: arithmetic or a bandwidth?",
            "Measure the multiply-add peak and the bandwidth of each level, and show one dot for "
            "each chunk size and shape.",
            (
                Parameter("shapes", "200000x16x16,60000x64x256,20000x256x1024,60000x784x10",
                          "6000x16x16,3000x64x64", "shapes",
                          "Rows x features x clusters of each dot, with commas between."),
                Parameter("dtype", "float32", "float32", "choice", "Type of the data.",
                          ("float32", "float64")),
                Parameter("threads", 1, 1, "count", "Threads."),
            ),
            roofline.measure, careful(roofline.table), _signed(roofline.figures), 40.0,
        ),
        Experiment(
            "peers",
            "How do others do?",
            "Run what `make bench` runs: one iteration of Lloyd's from equal centres, by every "
            "library that is installed. It needs a checkout of tilewise.",
            (
                Parameter("suites", "lloyd", "lloyd", "text", "Suites of the comparison."),
                Parameter("program", None, None, "program",
                          "Folder of the checkout.  [default: the current one or above]"),
            ),
            peers.measure, careful(peers.table), _signed(peers.figures), 600.0,
        ),
    )
}  # fmt: skip


def perform(
    name: str,
    parameters: dict[str, Any] | None = None,
    *,
    seconds: float | None = None,
    quick: bool = False,
    watch: Callable[[str, int, int, float | None], None] | None = None,
    meter: Meter | None = None,
) -> dict[str, Any]:
    """Run an experiment.

    Parameters
    ----------
    name : str
        One of `EXPERIMENTS`.
    parameters : dict, optional
        What differs from the defaults.
    seconds : float, optional
        Budget of the measurements; each case gets one sample whatever it is.
    quick : bool, default=False
        Smoke size, for tests: the figures mean little.
    watch : callable, optional
        Called with the phase, samples done, samples planned and the seconds left or None.
    meter : Meter, optional
        Watches what else the machine does; one that reads this system by default.

    Returns
    -------
    dict
        Safe for JSON; follows `result_schema`. ``quiet`` is false where others were at work or
        the machine changed, ``noise`` says how, and tables and figures then compare nothing.
        ``interrupted`` is true where Ctrl-C ended it,
        and what had been measured until then is in it.

    Raises
    ------
    ValueError
        If the experiment or a parameter is not known, or a value is out of range.

    Examples
    --------
    >>> from tilewise.lab.experiments import perform
    >>> small = {"rows": 500, "features": 4, "clusters": 3, "engines": "fused"}
    >>> result = perform("chunks", small, seconds=0.1, quick=True)
    >>> result["experiment"], result["interrupted"]
    ('chunks', False)
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"{name!r} is not one of {', '.join(EXPERIMENTS)}")
    experiment = EXPERIMENTS[name]
    known = {p.name: p.quick if quick else p.default for p in experiment.parameters}
    for given in parameters or {}:
        if given not in known:
            raise ValueError(f"{name} has no parameter {given!r}, only {', '.join(known)}")
    known |= {key: value for key, value in (parameters or {}).items() if value is not None}
    check_room(known)
    budget = seconds if seconds is not None else (1.0 if quick else experiment.seconds)
    # What matters most to a reader comes first.
    result = {
        "format": "tilewise-lab", "schema_version": SCHEMA_VERSION, "experiment": name,
        "quiet": None, "noise": [], "started": _now(),
    } | describe()  # fmt: skip
    meter = Meter() if meter is None else meter
    run = Run(known, budget, quick, watch, meter=meter)
    try:
        meter.before(quick)
        experiment.measure(run)
    except KeyboardInterrupt:
        run.interrupted = True
    return result | meter.verdict() | {
        "finished": _now(), "interrupted": run.interrupted, "quick": quick, "seconds": budget,
        "parameters": run.parameters, "measurements": run.measurements,
        "predicted": run.predicted, "simulated": run.simulated, "facts": run.facts,
    }  # fmt: skip


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
