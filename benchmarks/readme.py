"""Write the figures of README.md from the committed results; no number in them is typed by hand.

python benchmarks/readme.py            rewrite the part between the markers
python benchmarks/readme.py --check    say whether it is what the results give
"""

import argparse
import json
import pathlib
import re
import sys
import textwrap

import report

README = pathlib.Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"(<!-- figures:start -->\n).*?(<!-- figures:end -->)", re.DOTALL)
WIDTH = 100
FITS = {
    "fit": "default fit",
    "seeding": "k-means++",
    "predict": "labels",
    "small": "default fit",
    "minibatch": "mini-batches",
}
# Labels for given centres: where most scores are left out, one where few are, and short rows.
PREDICTED = ("100k × 256 × 1024", "60k × 768 × 4096", "200k × 64 × 256", "1M × 16 × 16")
SUITES = {"pairwise": "matrix", "manhattan": "manhattan", "knn": "", "csr": ""}

# The rows of distances that the README shows: suite, task, n × m × d, dtype, density. It shows no
# mean of them, since they are a choice; the page of benchmarks has all rows and their means.
PAIRS = (
    ("pairwise", "euclidean", "20k × 2k × 64", "f4", None),
    ("pairwise", "euclidean", "5k × 5k × 768", "f4", None),
    ("pairwise", "euclidean", "5k × 5k × 768", "f8", None),
    ("manhattan", "manhattan", "20k × 2k × 64", "f4", None),
    ("knn", "argmin", "50k × 5k × 128", "f4", None),
    ("knn", "argmin", "1M × 10 × 16", "f4", None),
    ("knn", "10 nearest", "5k × 5k × 16", "f4", None),
    ("knn", "10 nearest", "5k × 5k × 768", "f4", None),
    ("knn", "100 nearest", "50k × 5k × 128", "f4", None),
    ("knn", "10 nearest", "1M × 10 × 16", "f4", None),
    ("knn", "100 nearest", "20k × 2k × 64", "f4", None),
    ("knn", "10 nearest", "1 × 1M × 64", "f4", None),
    ("csr", "10 nearest", "20k × 2k × 10000", "f4", 0.001),
)


def read(name):
    """Return a committed result."""
    return json.loads((report.RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def paragraph(*sentences):
    """Return sentences as a paragraph of lines that are not too long."""
    text = " ".join(sentences).replace("\N{NO-BREAK SPACE}", " ")
    return "\n".join(textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False))


def listed(names):
    """Return names with commas and an "and"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def table(header, rows, left):
    """Return a table in Markdown, so many columns left and the others right."""
    rule = "|".join("---" if i < left else "--:" for i in range(len(header)))
    lines = [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in (header, *rows)]
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def fastest(record):
    """Return the time of the fastest rival of equal quality with its name."""
    medians = report.figures(record)
    rivals = {name: seconds for name, seconds in medians.items()
              if name != report.US and report.equal_quality(record, name)}  # fmt: skip
    if not rivals:
        return "–"
    name = min(rivals, key=rivals.get)
    return f"{report.duration(rivals[name])} ({short(name)})"


def short(name):
    """Return a peer's name as a narrow column has it."""
    return name.removesuffix(" cdist").removesuffix(" kmeans2")


def lloyd(result):
    """Return the table of iterations with its introduction and its means."""
    cpus, versions = result["machine"]["cpus"], result["versions"]
    rounds = {len(told["samples"]) for record in result["records"]
              for told in record["peers"].values() if "samples" in told}  # fmt: skip
    named = [f"{name} {versions[name]}" for name in
             ("scikit-learn", "scikit-learn-intelex", "faiss-cpu", "fastkmeans", "scipy")
             if versions.get(name)]  # fmt: skip
    records = sorted(result["records"], key=lambda r: r["case"]["dtype"])
    rows, means = [], []
    for record in records:
        rows.append(
            [*report.labels(record["case"]), report.cell(record, report.US),
             report.cell(record, report.REFERENCE), fastest(record), report.ratio_cell(record)]
        )  # fmt: skip
    for dtype, name in report.SHORT_DTYPES.items():
        mine = [record for record in records if record["case"]["dtype"] == dtype]
        if told := report.mean_of(mine):
            means.append(f"{told.mean:.2f}× in {name} ({report.rows_told(told)})")
    lost = [r for r in records if (ratio := report.ratios(r)[0]) is not None and ratio < 1]
    return [
        paragraph(
            "One iteration of Lloyd's from equal centres by everybody in turn, medians of",
            f"{listed(sorted(map(str, rounds)))} rounds, on {cpus} CPUs of a virtual machine",
            f"({result['machine']['cpu']}, {isa(result)}), {result['started'][:10]}:",
            f"{listed(named)}.",
            "f4 is float32, f8 float64.",
        ),
        table(["data", "n × d × k", "", "tilewise", "scikit-learn", "fastest rival",
               "rival / tilewise"], rows, 3),
        paragraph(
            f"Geometric mean of all rows: {listed(means)}.", *map(told_of_loss, lost),
            "Few rounds on a shared machine: expect a fifth either way.",
        ),
    ]  # fmt: skip


def isa(result):
    """Return the instructions that scores were made with."""
    facts = result["machine"]["tilewise"]
    names = {"avx512": "AVX-512", "avx2": "AVX2", "sse2": "SSE2", "neon": "NEON", "amx": "AMX"}
    return names.get(facts["isa"]["value"], facts["isa"]["value"])


def told_of_loss(record):
    """Return a sentence on a row that a rival won."""
    _, shape, dtype = report.labels(record["case"])
    return (
        f"{shape} in {dtype} was lost ({report.ratio_cell(record)}); the samples of that row are "
        f"up to {report.spread(record)} of a median apart."
    )


def by_instructions(results):
    """Return how iterations compare where both have fewer instructions."""
    told = []
    for result in results:
        for dtype, name in report.SHORT_DTYPES.items():
            mine = [record for record in result["records"] if record["case"]["dtype"] == dtype]
            ratios = [report.weight(record, report.REFERENCE)[0] for record in mine]
            mean = report.mean_of(mine, report.REFERENCE)
            told.append(
                f"{isa(result)} in {name} {mean.mean:.2f}× ({min(ratios):.2f} to {max(ratios):.2f}"
                f" in {report.rows_told(mean)})"
            )
    return [
        paragraph(
            "Against scikit-learn alone, with its OpenBLAS held to the same instructions:",
            f"{listed(told)}.",
        )
    ]


def fits(result):
    """Return the table of whole fits, of their starts, and of labels for given centres."""
    rows = []
    for record in result["records"]:
        what = FITS[record["suite"]]
        data, shape, dtype = report.labels(record["case"])
        if record["suite"] == "predict" and shape not in PREDICTED:
            continue
        if "batch_size" in record:
            what += f" of {record['batch_size']}"
            what += ", centres given" * bool(record["given_centers"])
        medians = report.figures(record)
        rows.append(
            [what, data, shape, dtype,
             *(report.duration(medians[name]) for name in (report.US, report.REFERENCE)),
             fastest(record), report.ratio_cell(record)]
        )  # fmt: skip
    default = [record for record in result["records"] if record["suite"] == "fit"]
    mean = report.mean_of(default, report.REFERENCE)
    return [
        paragraph(
            "Whole fits, their starts, and labels for given centres",
            f"({result['started'][:10]}). A rival counts where its inertia is within",
            f"{report.EQUAL_QUALITY - 1:.1%} of tilewise's; where none is, the row counts as 1 in",
            f"a mean. Default fits are {mean.mean:.1f} times as fast as scikit-learn's, the",
            f"geometric mean of {len(default)}. The samples of one library and row lie up to",
            f"{report.widest(*default):.0%} of their median apart: expect other means elsewhere.",
        ),
        table(["what", "data", "n × d × k", "", "tilewise", "scikit-learn", "fastest rival",
               "rival / tilewise"], rows, 4),
    ]  # fmt: skip


def pairs(result):
    """Return the table of distances, a choice of rows, and how many are wrong far from zero."""
    rows = []
    for suite, task, shape, dtype, density in PAIRS:
        (record,) = [
            r for r in result["records"]
            if (r["suite"], report.task_of(r["case"])) == (suite, task)
            and report.labels(r["case"])[1:] == [shape, dtype]
            and r["case"]["density"] == density and r["case"]["kind"] != "blobs at 1000"
        ]  # fmt: skip
        name = SUITES[suite] or task
        name += f", CSR {density:.1%}" if density else ""
        medians = report.figures(record)
        rows.append(
            [name, shape, dtype, report.duration(medians[report.US]),
             report.duration(medians[report.REFERENCE]), fastest(record),
             report.ratio_cell(record)]
        )  # fmt: skip
    wrong = {}
    for record in result["records"]:
        if record["suite"] == "knn" and record["case"]["kind"] == "blobs at 1000":
            for name, told in record["peers"].items():
                wrong.setdefault(name, []).append(told["wrong_neighbors"] / told["checked"])
    exact = [name for name, shares in wrong.items() if max(shares) == 0]
    inexact = [f"{name} {min(shares):.0%} to {max(shares):.0%}"
               for name, shares in wrong.items() if max(shares) > 0]  # fmt: skip
    return [
        "Distances and neighbours, a choice of rows (all of them, with their means, are on the\n"
        "benchmarks page of the documentation):",
        table(["task", "n × m × d", "", "tilewise", "scikit-learn", "fastest rival",
               "rival / tilewise"], rows, 3),
        paragraph(
            "Inexact rivals count as well. Wrong neighbours of data at offset 1000:",
            f"{listed(inexact)}; {listed(exact)} none.",
        ),
    ]  # fmt: skip


def median_of(rounds):
    """How many rounds a time is the median of, where there were several."""
    return f", medians of {rounds} rounds" if rounds > 1 else ""


def streams():
    """Return what reading a file larger than memory takes."""
    parts = []
    for name in ("large-file", "cached-file-minibatch"):
        result = json.loads((report.RESULTS / "stream" / f"{name}.json").read_text("utf-8"))
        told = [
            f"{who} {report.duration(one['seconds'])}, {one['passes']} "
            f"pass{'es' * (one['passes'] != 1)}, peak {one['peak_rss'] / 1e6:,.0f} MB"
            + (f", inertia {one['inertia']:.4g}" if "inertia" in one else "")
            for who, one in result["found"].items()
        ]
        parts.append(
            f"A file of {result['bytes'] / 1e9:.0f} GB"
            f"{' in the page cache' if result.get('warm') else ''} ({result['rows'] / 1e6:.4g}M × "
            f"{result['columns']}, f4) in {result['clusters']} clusters with "
            f'`memory_limit="{result["memory_limit"]}"`, {result["started"][:10]}'
            f"{median_of(result.get('rounds', 1))}: {'; '.join(told)}."
        )
    parts.append(
        "Peaks count mapped pages of the file; most of the loop's are. One epoch ends at another "
        "local optimum with every order of rows."
    )
    return [paragraph(*parts)]


def block():
    """Return what stands between the markers."""
    parts = [
        *lloyd(read("lloyd")),
        *by_instructions(map(read, ("isa/lloyd-avx2", "isa/lloyd-sse2"))),
        *fits(read("fits")),
        *pairs(read("pairs")),
        *streams(),
        "Raw samples: [benchmarks/results](benchmarks/results). `python benchmarks/readme.py` "
        "writes this part.",
    ]
    return "\n\n".join(parts) + "\n"


def main(arguments=None):
    """Rewrite the figures of the README, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if it would")
    options = parser.parse_args(arguments)
    text = README.read_text(encoding="utf-8")
    if not BLOCK.search(text):
        raise SystemExit(f"{README}: no part between the markers")
    new = BLOCK.sub(lambda found: found[1] + block() + found[2], text)
    if new == text:
        return 0
    if options.check:
        print(f"{README}: not what the committed results give; run python benchmarks/readme.py")
        return 1
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
