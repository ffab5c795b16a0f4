"""What ``make bench`` runs, as an experiment: it lives beside the package, in a checkout."""

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

from ._run import Run, summary
from .figures import Axis, Figure, Mark, Series, Table, shown

__all__ = ["NotHere", "figures", "find_checkout", "measure", "table"]


class NotHere(ValueError):
    """There is no checkout to run the comparison from."""


def find_checkout(given: str | Path | None = None) -> Path:
    """The folder that has benchmarks/run.py.

    Parameters
    ----------
    given : path, optional
        Where to look; by default the current folder, those above it, and those above this file.

    Returns
    -------
    Path

    Raises
    ------
    NotHere
        If it is nowhere; the message says what to do.
    """
    if given is not None:
        places = [Path(given)]
    else:
        places = [Path.cwd(), *Path.cwd().parents, *Path(__file__).parents]
    for place in places:
        if (place / "benchmarks" / "run.py").is_file() and (place / "src" / "tilewise").is_dir():
            return place
    where = f"in {given}" if given is not None else "here or above"
    raise NotHere(
        f"the comparison with other libraries is part of the source: there is no benchmarks/run.py "
        f"{where}; run this in a checkout of tilewise, or name one with --checkout"
    )


def measure(run: Run) -> None:
    """Run the suites in a process of their own and take over what they wrote."""
    p = run.parameters
    script = find_checkout(p.get("checkout")) / "benchmarks" / "run.py"
    p["checkout"] = None  # a path of this machine means nothing elsewhere
    with tempfile.TemporaryDirectory(prefix="tilewise-") as folder:
        path = Path(folder) / "result.json"
        command = [sys.executable, str(script), "--only", *p["suites"].split(","),
                   "--json", str(path)]  # fmt: skip
        if run.quick:
            command += ["--shapes", "1000x8x4", "--dtypes", "float32", "--rounds", "2", "--quick"]
        try:
            _watched(command, run)
        finally:
            if path.is_file():
                with contextlib.suppress(json.JSONDecodeError):  # cut short while it was written
                    _take_over(run, json.loads(path.read_text(encoding="utf-8")))


def _watched(command, run):
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
                    run.watch("benchmarks/run.py", int(passed), max(1, int(run.seconds)), None)
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait(10)
        errors.seek(0)
        told = errors.read().decode(errors="replace").strip().splitlines()
    if child.returncode == 2:  # what argparse says to a wrong command line
        last = told[-1] if told else "no message"
        raise ValueError(f"benchmarks/run.py refuses: {last.rpartition('error: ')[2]}")
    if child.returncode > 0:
        raise RuntimeError(f"benchmarks/run.py failed: {told[-1] if told else 'no message'}")


def _take_over(run, told):
    run.facts |= {"missing": told.get("missing", {}), "peer_versions": told.get("versions", {})}
    for record in told["records"]:
        c = record["case"]
        case = {"suite": record["suite"], "kind": c["kind"], "dtype": c["dtype"],
                "shape": f"{c['n_samples']}x{c['n_features']}x{c['n_clusters']}"}  # fmt: skip
        for name, figures_of in record["peers"].items():
            samples = [s for s in figures_of.get("samples", []) if s is not None]
            if samples:
                run.measurements.append(
                    {"series": name, "case": case, "unit": record.get("unit", "s"),
                     "repeats": 1, "samples": samples} | summary(samples)
                )  # fmt: skip


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
    """Seconds of everybody in every case."""
    rows = []
    for (suite, kind, shape, dtype), peers in _cases(result).items():
        own = peers.get("tilewise")
        for name, e in sorted(peers.items(), key=lambda item: item[1]["median"]):
            time, ratio = "too short to measure", ""
            if _measurable(e):
                time = shown(e["median"], e["unit"])
                if own and _measurable(own):
                    ratio = f"{e['median'] / own['median']:.2f}×"
            rows.append([f"{suite}, {kind}", f"{shape} {dtype}", name, time, ratio])
    return Table(["suite", "case", "library", "time", "to tilewise"], rows)


def figures(result: dict[str, Any]) -> list[Figure]:
    """How many times as long each library takes as tilewise, by case."""
    told = {key: peers for key, peers in _cases(result).items() if "tilewise" in peers}
    names = list(dict.fromkeys(name for peers in told.values() for name in peers))
    cases, lost = {}, 0
    for key, peers in told.items():
        usable = {name: e for name, e in peers.items() if _measurable(e)}
        lost += len(peers) - len(usable)
        if "tilewise" in usable:
            cases[key] = usable
    series = []
    for number, name in enumerate(n for n in names if n != "tilewise"):
        have = [(key, peers) for key, peers in cases.items() if name in peers]
        if not have:
            continue
        series.append(
            Series(name, [_label(key) for key, _ in have],
                   [peers[name]["median"] / peers["tilewise"]["median"] for _, peers in have],
                   color=number)
        )  # fmt: skip
    if not series:
        return []
    words = []
    for s in series:
        mean = statistics.geometric_mean(s.y)
        words.append(
            f"{s.name} took {mean:.2f} times as long as tilewise (geometric mean of {len(s.y)} "
            f"case{'s' if len(s.y) > 1 else ''}; from {min(s.y):.2f} to {max(s.y):.2f})."
        )
    if lost:
        words.append(
            f"{lost} time{'s were' if lost > 1 else ' was'} too short to measure and "
            f"{'are' if lost > 1 else 'is'} left out; larger shapes or more rounds would tell."
        )
    missing = result["facts"].get("missing") or {}
    if missing:
        words.append(f"Not installed, so not measured: {', '.join(sorted(missing))}.")
    return [
        Figure(
            "peers", "Time of others over tilewise's", Axis("case"),
            Axis("time / tilewise's (above 1: slower)"), series,
            [Mark("y", 1.0, "tilewise", True)], words, "bars",
        )
    ]  # fmt: skip


def _label(key):
    suite, kind, shape, dtype = key
    return f"{shape} {'f4' if dtype == 'float32' else 'f8'} {kind}" + (
        "" if suite == "lloyd" else f" ({suite})"
    )
