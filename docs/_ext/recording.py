"""Results of the blocks of a page, recorded once and committed, so that every build shows the same.

A page that measures gives other numbers on every machine, and useless ones on a busy one. So its
blocks run here, on a machine that is watched meanwhile, and what they print and draw goes into
docs/_recorded. The site shows that; the tests run the blocks again and throw the results away.

    python docs/_ext/recording.py                      every page, if the machine is quiet
    python docs/_ext/recording.py course/2-chunk-size  one of them
    python docs/_ext/recording.py --noisy              whatever else runs; the page will say so
"""

import argparse
import contextlib
import datetime
import hashlib
import io
import json
import pathlib
import sys
import tempfile
import time
import traceback

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from notebooks import FENCE

import tilewise
from tilewise.lab._load import Meter
from tilewise.lab.figures import COLORS

__all__ = ["PAGES", "RECORDED", "STYLE", "fingerprint", "names", "read", "record", "stale"]

DOCS = pathlib.Path(__file__).parents[1]
RECORDED = DOCS / "_recorded"
#: Pages of which every Python block runs, as patterns of names.
PAGES = ("ladder", "course/[0-9]-*")

# Pictures are as wide as a phone shows them at the size of text; colours are those of the lab.
STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": plt.cycler(color=list(COLORS)),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 12,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.figsize": (6.2, 3.9),
    "font.size": 11,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 2,
    "savefig.dpi": 160,
    "savefig.facecolor": "white",
}
# Text stays text, and equal figures give equal files.
_SVG = {"svg.fonttype": "none", "svg.hashsalt": "tilewise"}


class BlockFailed(Exception):
    """A block of a page could not be run, or drew something that cannot be told in words."""


def names():
    """Return the names of all pages that are recorded."""
    return [path.relative_to(DOCS).with_suffix("").as_posix()
            for pattern in PAGES for path in sorted(DOCS.glob(f"{pattern}.md"))]  # fmt: skip


def fingerprint(code):
    """Return what tells whether a block is still the one that was recorded."""
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def slug(name):
    """Return the name of a page as a file name has it."""
    return name.replace("/", "-")


def read(name, folder=RECORDED):
    """Return the record of a page, or None if there is none."""
    path = folder / f"{slug(name)}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def stale(text, record):
    """Return the lines of the blocks of a page that a record, or None, says nothing of."""
    blocks = record["blocks"] if record else []
    known = [block["code"] for block in blocks]
    found = [(fingerprint(f[1]), text.count("\n", 0, f.start(1)) + 1) for f in FENCE.finditer(text)]
    if len(known) > len(found):
        return [text.count("\n") + 1]
    return [line for at, (code, line) in enumerate(found) if known[at : at + 1] != [code]]


def machine_told():
    """Return the machine in one sentence."""
    here = tilewise.machine()
    caches = ", ".join(
        f"{name} {getattr(here, fact).value // 1024:,} KiB"
        for name, fact in (("L1", "l1d_bytes"), ("L2", "l2_bytes"))
    )
    cpus = here.n_cpus.value
    return f"{here.cpu_model.value}, {cpus} CPU{'s' * (cpus != 1)}, {caches}, {here.isa.value}"


def run_block(code, line, page, namespace):
    """Run one block; return what it printed."""
    printed = io.StringIO()
    # The blank lines before make tracebacks name the line of the page.
    program = compile("\n" * (line - 1) + code, str(page), "exec")
    with contextlib.redirect_stdout(printed):
        exec(program, namespace)
    return printed.getvalue()


def take_pictures(name, folder, numbers):
    """Save the open figures; return their files and what to say instead."""
    taken = []
    for number in plt.get_fignums():
        figure = plt.figure(number)
        path = folder / f"{name}-{next(numbers)}.svg"
        titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
        words = figure.get_suptitle() or "; ".join(titles)
        if not words:
            raise BlockFailed(f"{path.name}: a figure without a title has no text for ears")
        figure.savefig(path, metadata={"Date": None})
        text = path.read_text(encoding="utf-8")
        lines = [line.rstrip() for line in text.splitlines()]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        taken.append({"file": path.name, "words": words.replace("\n", " ").replace("]", "")})
    return taken


def run_page(text, name, page, folder):
    """Run the blocks of a page in order, in one namespace; return what each gave."""
    namespace, numbers = {"__name__": slug(name)}, iter(range(1, 1000))
    blocks = []
    # What stood open before is no block's picture.
    plt.close("all")
    with tempfile.TemporaryDirectory() as empty, contextlib.chdir(empty):
        for found in FENCE.finditer(text):
            line = text.count("\n", 0, found.start(1)) + 1
            try:
                with plt.rc_context(STYLE | _SVG):
                    printed = run_block(found[1], line, page, namespace)
                    pictures = take_pictures(slug(name), folder, numbers)
            except Exception as problem:
                where = "".join(traceback.format_exception(problem, limit=-2))
                raise BlockFailed(f"{page}: the block of line {line} failed\n{where}") from None
            finally:
                plt.close("all")
            blocks.append({"code": fingerprint(found[1]), "printed": printed, "pictures": pictures})
    return blocks


def record(name, page, folder, meter=None):
    """Run a page and return its record; pictures go into a folder."""
    meter = Meter() if meter is None else meter
    meter.before()
    with meter.during():
        blocks = run_page(page.read_text(encoding="utf-8"), name, page, folder)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"page": name, "recorded": today, "machine": machine_told(),
            "version": tilewise.__version__, **meter.verdict(), "blocks": blocks}  # fmt: skip


def keep(name, made, pictures, folder=RECORDED):
    """Put a record and its pictures where they are committed; what was there before goes."""
    folder.mkdir(exist_ok=True)
    for old in (read(name, folder) or {"blocks": []})["blocks"]:
        for picture in old["pictures"]:
            (folder / picture["file"]).unlink(missing_ok=True)
    for block in made["blocks"]:
        for picture in block["pictures"]:
            (folder / picture["file"]).write_bytes((pictures / picture["file"]).read_bytes())
    path = folder / f"{slug(name)}.json"
    path.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def wait_for_quiet(end):
    """Return why the machine is busy; nothing as soon as others are at rest, or in the end."""
    while True:
        meter = Meter()
        meter.before()
        noise = meter.verdict()["noise"]
        if not noise or time.monotonic() >= end:
            return noise
        time.sleep(5)


def recorded_in_time(name, end, noisy):
    """Record a page on a quiet machine, on any in the end if that is allowed; return the noise."""
    while True:
        noise = wait_for_quiet(end)
        if noise and not noisy:
            return noise
        with tempfile.TemporaryDirectory() as folder:
            pictures = pathlib.Path(folder)
            made = record(name, DOCS / f"{name}.md", pictures)
            late = time.monotonic() >= end
            if not made["noise"] or (noisy and late):
                keep(name, made, pictures)
                return made["noise"]
            if late:
                return made["noise"]


def main(arguments=None):
    """Record pages."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pages", nargs="*", help="such as course/2-chunk-size; default: all")
    parser.add_argument("--noisy", action="store_true", help="keep it on a busy machine as well")
    parser.add_argument("--wait", type=float, default=0.0, metavar="MINUTES",
                        help="try again for so long where the machine is busy")  # fmt: skip
    told = parser.parse_args(arguments)
    if wrong := set(told.pages) - set(names()):
        parser.error(f"{', '.join(sorted(wrong))}: not one of {', '.join(names())}")
    end = time.monotonic() + 60 * told.wait
    refused = 0
    for name in told.pages or names():
        noise = recorded_in_time(name, end, told.noisy)
        print(f"{name}: {'; '.join(noise) or 'quiet'}", flush=True)
        refused += bool(noise) and not told.noisy
    if refused:
        print(f"{refused} not kept: the machine was not quiet", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
