"""Libraries side by side, as an experiment: measured by a program that is given.

The program takes ``--only SUITE ...`` and ``--json FILE``, and for smoke size ``--shapes``,
``--dtypes``, ``--rounds`` and ``--quick``. It writes records: a suite, a case and the samples of
every library.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tilewise._text import counted

from ._run import Run, measurement
from .figures import Axis, Conclusion, Figure, Mark, Series, Table, shown
from .quiet import noise

__all__ = ["figures", "measure", "table"]


def measure(run: Run) -> None:
    """Run the suites in a process of their own and take over what they wrote."""
    p = run.parameters
    if p.get("program") is None:
        raise ValueError("peers: pass the program that compares libraries as `program`")
    script = Path(p["program"])
    p["program"] = None  # a path of this machine means nothing elsewhere
    with tempfile.TemporaryDirectory(prefix="tilewise-") as folder:
        path = Path(folder) / "result.json"
        command = [sys.executable, str(script), "--only", *p["suites"].split(","),
                   "--json", str(path)]  # fmt: skip
        if run.quick:
            command += ["--shapes", "1000x8x4", "--dtypes", "float32", "--rounds", "2", "--quick"]
        try:
            with run.watched():
                _watched(command, run, script.name)
        finally:
            if path.is_file():
                with contextlib.suppress(json.JSONDecodeError):  # cut short while it was written
                    _take_over(run, json.loads(path.read_text(encoding="utf-8")))


def _watched(command, run, name):
    # Its own progress goes to standard error, which is where ours goes, so it is kept for errors.
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        begin = time.perf_counter()
        try:
            while child.poll() is None:
                time.sleep(0.05)
                passed = time.perf_counter() - begin
                if passed > run.seconds and not run.quick:
                    run.facts["stopped_after_seconds"] = round(passed)
                    break
                if run.watch is not None:
                    run.watch(name, int(passed), max(1, int(run.seconds)), None)
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait(10)
        errors.seek(0)
        told = errors.read().decode(errors="replace").strip().splitlines()
    if child.returncode == 2:  # what argparse says to a wrong command line
        last = told[-1] if told else "no message"
        raise ValueError(f"{name} refuses: {last.rpartition('error: ')[2]}")
    if child.returncode > 0:
        raise RuntimeError(f"{name} failed: {told[-1] if told else 'no message'}")


def _take_over(run, told):
    run.facts |= {"missing": told.get("missing", {}), "peer_versions": told.get("versions", {})}
    for record in told["records"]:
        c = record["case"]
        case = {"suite": record["suite"], "kind": c["kind"], "dtype": c["dtype"],
                "shape": f"{c['n_samples']}x{c['n_features']}x{c['n_clusters']}"}  # fmt: skip
        for name, figures_of in record["peers"].items():
            samples = [s for s in figures_of.get("samples", []) if s is not None]
            if samples:
                unit = record.get("unit", "s")
                run.measurements.append(measurement(name, case, unit, samples))


def _measurable(entry):
    # One iteration is the difference of a long run and a short one; where both take no longer
    # than the machine's pauses, it may come out as zero or less, which says nothing.
    return entry["median"] > 0


def _cases(result):
    cases = {}
    for e in result["measurements"]:
        key = tuple(e["case"].get(name) for name in ("suite", "kind", "shape", "dtype"))
        cases.setdefault(key, {})[e["series"]] = e
    return cases


def table(result: dict[str, Any]) -> Table:
    """Seconds of every library in every case."""
    rows, notes = [], []
    for (suite, kind, shape, dtype), peers in _cases(result).items():
        own = peers.get("tilewise")
        for name, e in sorted(peers.items(), key=lambda item: item[1]["median"]):
            time = shown(e["median"], e["unit"]) if _measurable(e) else "too short to measure"
            ratio = ""
            if own and _measurable(own) and _measurable(e):
                ratio = f"{e['median'] / own['median']:.2f}×"
            rows.append([f"{suite}, {kind}", f"{shape} {dtype}", name, time, ratio])
    if any("too short" in row[3] for row in rows):
        notes.append(Conclusion("A case that was too short to measure counts as 1 in a mean."))
    columns = ["suite", "case", "library", "time", "to tilewise"]
    return Table(columns, rows, notes, concluded=(4,))


def figures(result: dict[str, Any]) -> list[Figure]:
    """How many times as long each library takes as tilewise, by case; times where it was noisy."""
    told = {key: peers for key, peers in _cases(result).items() if "tilewise" in peers}
    names = list(dict.fromkeys(name for peers in told.values() for name in peers))
    if noise(result):
        return _times_figure(result, told, names)
    series, words, lost = [], [], set()
    for number, name in enumerate(n for n in names if n != "tilewise"):
        both = {key: peers for key, peers in told.items() if name in peers}
        have = {
            _label(key): peers[name]["median"] / peers["tilewise"]["median"]
            for key, peers in both.items()
            if _measurable(peers[name]) and _measurable(peers["tilewise"])
        }
        lost |= {(key, who) for key, peers in both.items()
                 for who in ("tilewise", name) if not _measurable(peers[who])}  # fmt: skip
        if have:
            words.append(Conclusion(_mean(name, list(have.values()), len(both) - len(have))))
            series.append(Series(name, list(have), list(have.values()), color=number))
    if not series:
        return []
    if lost:
        words.append(
            f"{len(lost)} time{'s were' if len(lost) > 1 else ' was'} too short to measure. Such "
            "a case has no bar and counts as 1 in the mean. Measure larger shapes or more rounds "
            "to get a number."
        )
    return [
        Figure(
            "peers", "Times relative to tilewise", Axis("case"),
            Axis("time relative to tilewise (above 1: slower)"), series,
            [Mark("y", 1.0, "tilewise", True)], words + _missing(result), "bars",
        )
    ]  # fmt: skip


def _mean(name, ratios, short):
    """The mean over all cases: what could not be measured is neither won nor lost."""
    mean = statistics.geometric_mean([*ratios, *[1.0] * short])
    count = len(ratios) + short
    of = counted(count, "case")
    if short:
        of += f", {short} of them too short to measure"
    return (
        f"{name} took {mean:.2f} times as long as tilewise (geometric mean of {of}; from "
        f"{min(ratios):.2f} to {max(ratios):.2f})."
    )


def _times_figure(result, cases, names):
    """Medians instead of ratios: those would be the conclusion that a busy machine forbids."""
    series = []
    for number, name in enumerate(names):
        have = {_label(key): peers[name]["median"] for key, peers in cases.items()
                if name in peers and _measurable(peers[name])}  # fmt: skip
        if have:
            series.append(Series(name, list(have), list(have.values()), color=number))
    if not series:
        return []
    return [
        Figure("peers-times", "Times of all libraries", Axis("case"), Axis("time", unit="s"),
               series, words=_missing(result), kind="bars")
    ]  # fmt: skip


def _missing(result):
    missing = result["facts"].get("missing") or {}
    return [f"Not installed, so not measured: {', '.join(sorted(missing))}."] if missing else []


def _label(key):
    suite, kind, shape, dtype = key
    return f"{shape} {'f4' if dtype == 'float32' else 'f8'} {kind}" + (
        "" if suite == "lloyd" else f" ({suite})"
    )
