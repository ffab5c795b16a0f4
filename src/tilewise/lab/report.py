"""One page from any number of results: interactive, self-contained, for every width."""

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from typing import Any

from tilewise._sizes import fact_text
from tilewise._text import counted, printable, printable_all
from tilewise._version import __version__

from ._machine import machine_key, machine_name
from .charts import chart
from .experiments import EXPERIMENTS, Experiment
from .figures import Figure
from .quiet import TOO_NOISY, headline, noise

__all__ = ["asked", "compare", "html"]

_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|[nmµ]?s|[KMG]iB|G?B/s|GFLOP/s)(?!\w))")
_FACTS = (
    ("cpu_model", "Processor"), ("n_cpus", "CPUs that may be used"), ("isa", "Instruction set"),
    ("l1d_bytes", "L1 data cache"), ("l2_bytes", "L2 cache of a core"), ("l3_bytes", "L3 cache"),
    ("memory_bytes", "Memory"), ("hypervisor", "Virtual machine"),
)  # fmt: skip

# What a run was asked for, in words; {} is the value.
_ASKED = {
    "rows": "{:,} rows", "features": "{:,} features", "clusters": "{:,} centres", "dtype": "{}",
    "largest_mib": "working sets up to {:,} MiB", "suites": "suites {}",
}  # fmt: skip


def asked(parameters: dict[str, Any]) -> str:
    """What a run was asked for, in words.

    Parameters
    ----------
    parameters : dict

    Returns
    -------
    str

    Examples
    --------
    >>> from tilewise.lab.report import asked
    >>> asked({"rows": 60000, "features": 64, "threads": 1, "engines": "both", "simulate": True})
    '60,000 rows, 64 features, 1 thread, both engines, caches simulated'
    """
    told = []
    for name, value in parameters.items():
        if value is None or value is False:
            continue
        if name == "threads":
            told.append(counted(value, "thread"))
        elif name == "engines":
            told.append("both engines" if value == "both" else f"{value} engine")
        elif name == "simulate":
            told.append("caches simulated")
        elif name == "cachegrind":
            told.append("counted by valgrind")
        elif name == "shapes":
            told.append(counted(str(value).count(",") + 1, "shape"))
        elif name in _ASKED:
            told.append(_ASKED[name].format(value))
        else:
            told.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(told)


def html(results: Sequence[dict[str, Any]], title: str = "What memory and caches cost") -> str:
    """Make the page.

    Parameters
    ----------
    results : sequence of dict
        As `perform` returns them or `schema.read` reads them; one or more.
    title : str

    Returns
    -------
    str
        HTML that needs no network: scripts and styles are in it.

    Raises
    ------
    ModuleNotFoundError
        Without jinja2 or plotly (extra ``lab``).
    ValueError
        If there is no result, or one of an experiment that this version does not know.
    """
    import jinja2
    from plotly.offline import get_plotlyjs

    if not results:
        raise ValueError("no result to report on")
    # Results may come from strangers: what turns or hides text does so on a page too.
    results, title = [printable_all(result) for result in results], printable(title)
    for result in results:
        if result["experiment"] not in EXPERIMENTS:
            raise ValueError(
                f"{result['experiment']!r} is not an experiment of tilewise {__version__}"
            )
    machines = list(dict.fromkeys(map(machine_key, results)))
    letters = {key: chr(ord("A") + i % 26) for i, key in enumerate(machines)}
    charts: list[dict[str, Any]] = []
    page = {
        "title": title,
        "version": __version__,
        "machines": [_machine(results, key, letters[key]) for key in machines],
        "sections": [
            _section(experiment, own, letters, charts)
            for name, experiment in EXPERIMENTS.items()
            if (own := [r for r in results if r["experiment"] == name])
        ],
        "many_machines": len(machines) > 1,
        "results": len(results),
        "noisy": [
            {"name": _named(result, letters, len(machines) > 1), "reasons": "; ".join(reasons)}
            for result in results
            if (reasons := noise(result))
        ],
    }
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    here = resources.files(__package__)
    parts = {
        name: (here / f"report.{ending}").read_text(encoding="utf-8")
        for name, ending in (("template", "html.j2"), ("css", "css"), ("script", "js"))
    }
    # What is inside a script must not end it: results may come from strangers.
    data = json.dumps(charts).replace("<", "\\u003c")
    return environment.from_string(parts["template"]).render(
        page, css=parts["css"], script=parts["script"], charts_json=data, plotly=get_plotlyjs()
    )


def _named(result, letters, several):
    machine = f" on machine {letters[machine_key(result)]}" if several else ""
    return f"{result['experiment']}{machine}, {_date(result)}"


def _date(result):
    return result["started"].replace("T", " ").replace("+00:00", " UTC")


def _machine(results, key, letter):
    own = [r for r in results if machine_key(r) == key]
    facts = own[0]["machine"]["facts"]
    rows = [
        (label, fact_text(name, facts[name]["value"]), facts[name]["source"])
        for name, label in _FACTS
        if name in facts
    ]
    return {
        "letter": letter, "name": machine_name(own[0]), "facts": rows,
        "versions": ", ".join(f"{k} {v}" for k, v in own[0]["versions"].items() if v),
        "system": own[0]["machine"]["system"],
    }  # fmt: skip


def _section(experiment, results, letters, charts):
    runs = []
    for result in results:
        letter = letters[machine_key(result)]
        try:
            told, figures = experiment.table(result), experiment.figures(result)
        except (LookupError, TypeError, ArithmeticError, AttributeError) as error:
            raise ValueError(
                f"the result of {experiment.name} from {result['started']} lacks data that its "
                f"figures need ({type(error).__name__}: {error})"
            ) from error
        runs.append(
            {
                "letter": letter,
                "started": _date(result), "noise": headline(noise(result)),
                "parameters": asked(result["parameters"]),
                "interrupted": result["interrupted"], "quick": result["quick"],
                "samples": sum(len(e["samples"]) for e in result["measurements"]),
                # The reasons stand above the run; here the fact is enough.
                "figures": [
                    _placed(replace(f, warning=f"{TOO_NOISY.capitalize()}.") if f.warning else f,
                            charts)
                    for f in figures
                ],
                "table": told,
            }
        )  # fmt: skip
    compared = [_placed(f, charts) for f in compare(experiment, results, letters)]
    return {"name": experiment.name, "title": experiment.title, "about": experiment.about,
            "runs": runs, "compared": compared}  # fmt: skip


def _placed(figure, charts):
    identity = f"chart-{len(charts) + 1}"
    charts.append({"id": identity} | chart(figure))
    return {"id": identity, "title": figure.title, "warning": figure.warning,
            "words": [_whole(w) for w in figure.words]}  # fmt: skip


def _whole(words):
    # No number is parted from its unit at the end of a line.
    return _BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", words)


def compare(
    experiment: Experiment, results: Sequence[dict[str, Any]], letters: Mapping[str, str]
) -> list[Figure]:
    """Figures that show the runs of several machines together.

    Parameters
    ----------
    experiment : Experiment
    results : sequence of dict
        Of this experiment. Of each machine the last one counts.
    letters : dict
        What to call each `machine_key`.

    Returns
    -------
    list of Figure
        Empty where there is only one machine, or nothing to lay side by side.
    """
    last = {machine_key(result): result for result in results}
    if len(last) < 2:
        return []
    by_letter = {letters[key]: result for key, result in last.items()}
    figures = {
        letter: {f.key: f for f in experiment.figures(result)}
        for letter, result in by_letter.items()
    }
    shared = [k for k in next(iter(figures.values())) if all(k in f for f in figures.values())]
    return [_compared(key, {letter: f[key] for letter, f in figures.items()}, by_letter)
            for key in shared]  # fmt: skip


def _compared(key, figures, results):
    first_letter = next(iter(figures))
    first = figures[first_letter]
    # A colour per series and a dash per machine; what was not measured only crowds the figure.
    series = [
        replace(s, name=f"{letter}: {s.name}", low=None, high=None, machine=machine,
                color=number if s.color is None else s.color)
        for machine, (letter, figure) in enumerate(figures.items())
        for number, s in enumerate(figure.series)
        if not s.expected and (s.labelled or s.style in ("line", "dots"))
    ]  # fmt: skip
    words = [" ".join(f"{letter} is {machine_name(r)}." for letter, r in results.items())]
    parameters = [result["parameters"] for result in results.values()]
    if any(p != parameters[0] for p in parameters):
        words.append(
            "The runs have different parameters. Compare the shapes of the curves, not their "
            "heights."
        )
    loud = [letter for letter, result in results.items() if first.timed and noise(result)]
    warning = ""
    if loud:
        warning = f"{TOO_NOISY.capitalize()}: {' and '.join(loud)} measured on a busy machine."
    for letter, figure in figures.items():
        if letter != first_letter and not loud:
            words += _ratios(first_letter, first, letter, figure)
    title = f"{first.title}: machines {' and '.join(figures)}"
    return replace(first, key=f"{key}-compared", title=title, series=series, marks=[],
                   words=words, warning=warning)  # fmt: skip


def _ratios(first_letter, first, letter, other):
    told = []
    for mine in first.series:
        theirs = next((s for s in other.series if s.name == mine.name), None)
        if theirs is None or mine.expected or mine.style not in ("line", "dots"):
            continue
        found = dict(zip(theirs.x, theirs.y, strict=True))
        ratios = [found[x] / y for x, y in zip(mine.x, mine.y, strict=True)
                  if x in found and y > 0 and found[x] > 0]  # fmt: skip
        if ratios:
            mean = statistics.geometric_mean(ratios)
            told.append(
                f"{mine.name}: {letter} has {mean:.2f} times {_of(first.y)} of {first_letter}"
                + (f" ({min(ratios):.2f} to {max(ratios):.2f} over {len(ratios)} shared points)."
                   if len(ratios) > 1 else ".")
            )  # fmt: skip
    return told


def _of(axis):
    return {"s": "the time", "bytes": "the bytes"}.get(axis.unit, f"the {axis.label}")
