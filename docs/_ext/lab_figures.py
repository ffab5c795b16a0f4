"""Figures of the lab page: each experiment runs for a few seconds while the site is built."""

from tilewise.lab import plots
from tilewise.lab._machine import machine_name
from tilewise.lab.experiments import EXPERIMENTS, perform

__all__ = ["LAB", "figures_of"]

# Seconds to measure each experiment for, and what it is told: examples, not benchmarks.
LAB = {
    "chunks": (6, {"engines": "fused", "simulate": True}),
    "dtypes": (3, {}),
    "threads": (5, {"rows": 40_000}),
    "materialise": (5, {"rows": 60_000}),
    "mountain": (6, {"largest_mib": 64}),
    "roofline": (4, {}),
}


def figures_of(name, folder):
    """Run an experiment on the machine that builds this; return its figures and their words."""
    seconds, parameters = LAB[name]
    result = perform(name, parameters, seconds=seconds)
    parts = []
    for figure in EXPERIMENTS[name].figures(result):
        path = folder / f"lab-{figure.key}.svg"
        with path.open("wb") as stream:
            plots.write(figure, stream, "svg")
        parts += [f"![{figure.title}](/_generated/{path.name})", *figure.words]
    return "\n\n".join(parts) + f"\n\nMeasured on {machine_name(result)}."
