"""The benchmarks page and its picture, out of the results that are committed."""

import importlib.util
import json
import pathlib
import re

import matplotlib.pyplot as plt
from recording import STYLE

__all__ = ["chart", "page_of", "paths"]

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"
RESULTS = BENCHMARKS / "results"


def report():
    """Return benchmarks/report.py, which is not part of the package."""
    spec = importlib.util.spec_from_file_location("report", BENCHMARKS / "report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def paths():
    """Return the files of the committed results."""
    return sorted([*RESULTS.glob("*.json"), *RESULTS.glob("isa/*.json")])


def committed():
    """Return the committed results, newest first: (file name, result)."""
    found = [
        (path.relative_to(RESULTS).as_posix(), json.loads(path.read_text(encoding="utf-8")))
        for path in paths()
    ]
    return sorted(found, key=lambda pair: pair[1]["started"], reverse=True)


def page_of():
    """Return all suites that have results, with the runs that they come from, or None."""
    tools = report()
    # Those held to fewer instructions come last.
    results = sorted(committed(), key=lambda pair: bool(tools.held(pair[1])))
    if not results:
        return None
    parts = []
    for suite, title in tools.TITLES.items():
        tables = [
            (name, result, table)
            for name, result in results
            if (table := tools.suite_table(result, suite))
        ]
        if tables:
            parts.append(f"## {title}\n")
        for name, result, table in tables:
            body = whole_words(table.removeprefix(f"### {title}\n"))
            # What stands below a table is no chapter of its own.
            body = re.sub(r"^### (.*)$", r"**\1**", body, flags=re.MULTILINE)
            day = result["started"][:10]
            held = "".join(f", `{fact}`" for fact in tools.held(result))
            parts.append(f"From [`{name}`](#{anchor(name)}), {day}{held}:\n\n{body}")
    parts.append("## The runs\n\nWhere each table comes from: the machine and the versions.\n")
    for name, result in results:
        # The machine's name and versions are long lines: a listing that scrolls keeps them whole.
        parts.append(f"({anchor(name)})=\n### `{name}`\n\n```text\n{tools.head(result)}```\n")
    return "\n".join(parts)


def whole_words(table):
    """Keep shapes and times from being broken across lines."""
    table = table.replace(" × ", "\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}")
    return re.sub(r"(?<=\d) (?=(ms|s|µs|MiB|GB/s|GFLOP/s)\b)", "\N{NO-BREAK SPACE}", table)


def anchor(name):
    """Return the label of a run on the page."""
    return "run-" + name.removesuffix(".json").replace("/", "-")


def ratios_of(suite, tools):
    """Return for each case of a suite what it is and its newest weights in the two means.

    Results of a busy machine have none, and those held to fewer instructions are another
    question's; no other case is left out.
    """
    newest = {}
    for _, result in committed():
        if tools.noise_of(result) or tools.held(result):
            continue
        for record in result["records"]:
            if record["suite"] == suite and record["unit"] == "s":
                newest.setdefault(" ".join(tools.labels(record["case"])), record)
    return [
        (name, tools.weight(record), tools.weight(record, tools.REFERENCE))
        for name, record in newest.items()
    ]


def chart(path):
    """Draw how many times as long others take for an iteration, from the committed results."""
    tools = report()
    found = [
        (name + " (counts as 1)" * (rival[1] or sklearn[1]), rival[0], sklearn[0])
        for name, rival, sklearn in ratios_of("lloyd", tools) if rival and sklearn
    ]  # fmt: skip
    found.sort(key=lambda row: row[2])
    names = [name.replace("overlapping ", "").replace(" × ", "×") for name, _, _ in found]
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(figsize=(5.4, 0.8 + 0.25 * len(found)))
        axes.axvline(1, color="black", linewidth=1)
        for height, (_, rival, sklearn) in enumerate(found):
            axes.plot([1, sklearn], [height, height], color="#0072B2", linewidth=5, alpha=0.3)
            first = height == 0
            axes.plot(sklearn, height, "o", color="#0072B2", label="scikit-learn" * first)
            axes.plot(
                rival, height, "D", color="#D55E00", markersize=5, label="fastest rival" * first
            )
        axes.set_yticks(range(len(found)), names, fontsize=9)
        axes.set_xscale("log")
        ticks = [1, 2, 4, 8, 16]
        axes.set_xticks(ticks, [f"{tick}×" for tick in ticks])
        axes.minorticks_off()
        axes.set_title("Time of an iteration, as a multiple of tilewise's", loc="right")
        axes.legend(loc="lower right")
        fig.savefig(path)
        plt.close(fig)
