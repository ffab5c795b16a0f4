"""Figures of the lab: run for a few seconds while the site is built, and from kept results."""

import json
import pathlib

from tilewise.lab import plots
from tilewise.lab._machine import machine_name
from tilewise.lab.experiments import EXPERIMENTS, perform

__all__ = ["LAB", "figures_of", "kept_figures"]

KEPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "results" / "lab"

# Seconds to measure each experiment for, and what it is told: examples, not benchmarks.
LAB = {
    "chunks": (6, {"engines": "fused", "simulate": True}),
    "dtypes": (3, {}),
    "threads": (20, {"rows": 40_000}),
    "materialise": (5, {"rows": 60_000}),
    "mountain": (6, {"largest_mib": 64}),
    "roofline": (4, {}),
}


def figures_of(name, folder):
    """Run an experiment on the machine that builds this; return its figures and their words."""
    seconds, parameters = LAB[name]
    result = perform(name, parameters, seconds=seconds)
    return figures_text(result, folder, "lab-")


def kept_figures(folder):
    """Return the figures of all committed results of the lab, a section for each."""
    parts = []
    for path in sorted(KEPT.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        experiment = EXPERIMENTS[result["experiment"]]
        parts.append(f"### {path.stem}: {experiment.title}\n")
        parts.append(figures_text(result, folder, f"kept-{path.stem}-"))
    return "\n\n".join(parts)


def figures_text(result, folder, prefix):
    """Draw the figures of a result; return them with their words and the machine's name."""
    parts = []
    for figure in EXPERIMENTS[result["experiment"]].figures(result):
        path = folder / f"{prefix}{figure.key}.svg"
        with path.open("wb") as stream:
            plots.write(figure, stream, "svg")
        parts += [f"![{figure.title}](/_generated/{path.name})", *figure.words]
    return "\n\n".join(parts) + f"\n\nMeasured on {machine_name(result)}."
