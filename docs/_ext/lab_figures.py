"""Figures of the lab, out of the results that are committed; nothing is measured for the site."""

import pathlib

from tilewise.lab import plots
from tilewise.lab._machine import machine_name
from tilewise.lab.experiments import EXPERIMENTS
from tilewise.lab.quiet import headline, noise
from tilewise.lab.schema import read

__all__ = ["KEPT", "LAB", "figures_of", "kept_figures"]

KEPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "results" / "lab"

#: The experiments whose figures stand on the page of the lab: those with a committed result.
LAB = tuple(name for name in EXPERIMENTS if (KEPT / f"{name}.json").is_file())


def figures_of(name, folder):
    """Draw the figures of a committed result; return them with their words and their source."""
    return figures_text(read(KEPT / f"{name}.json"), folder, "lab-")


def kept_figures(folder):
    """Return the figures of all committed results of the lab, a section for each."""
    parts = []
    for path in sorted(KEPT.glob("*.json")):
        result = read(path)
        experiment = EXPERIMENTS[result["experiment"]]
        parts.append(f"### {path.stem}: {experiment.title}\n")
        parts.append(figures_text(result, folder, f"kept-{path.stem}-"))
    return "\n\n".join(parts)


def figures_text(result, folder, prefix):
    """Draw the figures of a result; return them with their words, the machine and the day."""
    folder.mkdir(exist_ok=True)
    parts = [f"**{headline(reasons)}**"] if (reasons := noise(result)) else []
    for figure in EXPERIMENTS[result["experiment"]].figures(result):
        path = folder / f"{prefix}{figure.key}.svg"
        with path.open("wb") as stream:
            plots.write(figure, stream, "svg")
        parts += [f"![{figure.title}](/_generated/{path.name})", *figure.words]
    day = result["started"][:10]
    return "\n\n".join(parts) + f"\n\nMeasured on {machine_name(result)}, on {day}."
