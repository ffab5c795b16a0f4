"""Turn a result of `run.py` into tables in Markdown, which read well in a terminal too.

python benchmarks/report.py                      the newest committed result
python benchmarks/report.py RESULT.json lloyd    one suite of one result
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
import statistics

US = "tilewise"
REFERENCE = "scikit-learn"
RESULTS = pathlib.Path(__file__).parent / "results"

# Work of others above this share of the machine shows in the medians of short calls; where it was
# measured, tilewise/lab/quiet.py says.
LOUD = 0.05
TOO_NOISY = "too noisy to tell"

# Inertias that differ by less than this count as equal quality: as much as another start
# changes them, far less than giving up early does.
EQUAL_QUALITY = 1.005

TITLES = {
    "lloyd": "One iteration of Lloyd's, everybody from the same centres",
    "fit": "What `KMeans(k, random_state=0).fit(X)` takes, seeding included",
    "seeding": "Greedy k-means++ alone",
    "predict": "Labels of all rows for given centres",
    "small": "Default fits of small tables",
    "minibatch": "`MiniBatchKMeans(k, batch_size=b, random_state=0).fit(X)`, seeding included",
    "memory": "Memory of a default fit beyond its data",
    "pairwise": "Matrices of euclidean distances",
    "knn": "Nearest rows",
    "manhattan": "Matrices of manhattan distances",
    "store": "Matrices of few dimensions, written into memory that is there",
    "csr": "Distances between CSR matrices",
    "pair-memory": "Memory of nearest rows beyond data and answer",
}
SHORT_DTYPES = {"float32": "f4", "float64": "f8"}


def duration(seconds):
    """Return a time with three digits, in the unit in which it reads best."""
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1 or unit == "µs":
            return f"{seconds * factor:#.3g}".rstrip(".") + f" {unit}"
    raise AssertionError


def rows_of(count):
    """Return a number of rows as people write it."""
    for unit, factor in (("M", 10**6), ("k", 10**3)):
        if count >= factor and count % (factor // 10) == 0:
            return f"{count / factor:g}{unit}"
    return f"{count:,}"


def markdown(header, rows):
    """Return an aligned table in Markdown: the first three columns left, the others right."""
    cells = [header, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]

    def line(row):
        padded = (
            text.ljust(width) if i < 3 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        return "| " + " | ".join(padded) + " |"

    rule = "|".join("-" * (w + 2) if i < 3 else "-" * (w + 1) + ":" for i, w in enumerate(widths))
    return "\n".join([line(header), f"|{rule}|", *map(line, rows)])


def head(result):
    """Return what was measured on, in a few lines."""
    machine, versions = result["machine"], result["versions"]
    named = ", ".join(f"{name} {v}" for name, v in versions.items() if v is not None)
    lines = [
        f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['system']}; {result['started']}",
        f"{named}; commit {result['commit']}",
    ]
    for threads, peak in (machine["peaks"] or {}).items():
        rates = peak["fma_gflops"]
        lines.append(
            f"measured peak of {threads} thread{'s' * (threads != '1')}: "
            f"{rates['float32']:.0f} GFLOP/s float32, {rates['float64']:.0f} GFLOP/s float64, "
            f"{peak['read_gbs']:.1f} GB/s read"
            + "".join(
                f", {rate:.1f} GB/s written by {kind} stores"
                for kind, rate in peak.get("store_gbs", {}).items()
                if rate is not None
            )
        )
    if result["settings"]:
        lines.append(", ".join(f"{k}={v}" for k, v in result["settings"].items()))
    if noise := noise_of(result):
        lines.insert(0, f"{TOO_NOISY.upper()}: {noise}; nothing is compared below")
    quiet = result["quiet"]
    if quiet["busy"] is not None:
        lines.append(
            f"before the run, other processes used {quiet['busy']:.0%} of the machine and the "
            f"hypervisor took {quiet['steal']:.0%}"
        )
    if result["arguments"]["quick"]:
        lines.append("a quick run on a tenth of the rows: not for quoting")
    return "\n".join(lines) + "\n"


def held(result):
    """Return the settings that held libraries to fewer instructions than the machine has."""
    names = ("TILEWISE_ISA", "OPENBLAS_CORETYPE")
    return [f"{name}={result['settings'][name]}" for name in names if name in result["settings"]]


def noise_of(result):
    """Return who else was at work before or during a run, in words; empty where it was quiet."""
    quiet = result.get("quiet") or {}
    during = quiet.get("during") or {}
    return ", ".join(
        f"{who} took {max(shares):.0%} of the machine"
        for who, names in (
            ("other processes", (quiet.get("busy"), during.get("others"))),
            ("the hypervisor", (quiet.get("steal"), during.get("stolen"))),
        )
        if (shares := [share for share in names if share is not None and share > LOUD])
    )


def figures(record):
    """Return the medians of all peers that have a usable one.

    One iteration is the difference of two runs; where both are too short, noise makes it zero
    or less, and no ratio can be made of that.
    """
    return {
        name: told["median"] for name, told in record["peers"].items() if told.get("median", 0) > 0
    }


def equal_quality(record, name):
    """Whether a peer's inertia is no worse than ours, where there is one."""
    ours, theirs = (record["peers"][who].get("inertia") for who in (US, name))
    return ours is None or theirs <= ours * EQUAL_QUALITY


def ratios(record):
    """Return the fastest rival's time over ours and scikit-learn's over ours, or None."""
    medians = figures(record)
    if US not in medians:
        return None, None
    rivals = [t for name, t in medians.items() if name != US and equal_quality(record, name)]
    return min(rivals) / medians[US] if rivals else None, against(record, REFERENCE)


def against(record, name):
    """Return a peer's time over ours, or None."""
    medians = figures(record)
    return medians[name] / medians[US] if {US, name} <= medians.keys() else None


def times(ratio):
    """Return a ratio as it is said."""
    return "–" if ratio is None else f"{ratio:.2f}×"


@dataclasses.dataclass(frozen=True)
class Mean:
    """How many times as long a rival takes, over all rows of a table.

    Attributes
    ----------
    mean, least : float
        The geometric mean of all rows, and the least ratio among those that have one.
    rows, as_one : int
        How many there are, and how many of them have no ratio and count as 1.
    """

    mean: float
    least: float
    rows: int
    as_one: int


def weight(record, name=None):
    """Return a row's ratio, whether it counts as 1 for want of one; None where nobody is compared.

    This is the one rule of every table: no row is left out of a mean. Where both took part and no
    ratio can be told (a time too short to measure, a run that failed, no rival of equal quality)
    the row is neither won nor lost. `name` is a peer; without it the fastest rival counts.
    """
    others = record["peers"].keys() - {US} if name is None else record["peers"].keys() & {name}
    if US not in record["peers"] or not others:
        return None
    ratio = ratios(record)[0] if name is None else against(record, name)
    return (1.0, True) if ratio is None else (ratio, False)


def mean_of(records, name=None):
    """Return the `Mean` of all rows in which a peer takes part, or None if none has a ratio."""
    found = [told for record in records if (told := weight(record, name)) is not None]
    real = [ratio for ratio, as_one in found if not as_one]
    if not real:
        return None
    mean = statistics.geometric_mean(ratio for ratio, _ in found)
    return Mean(mean, min(real), len(found), len(found) - len(real))


def ratio_cell(record, name=None):
    """Return a row's ratio as a table says it, marked where it counts as 1."""
    told = weight(record, name)
    if told is None:
        return times(None)
    return "counts as 1" if told[1] else times(told[0])


def cell(record, name):
    """Return a peer's figure with what must be said about it."""
    told = record["peers"].get(name)
    if told is None:
        return "–"
    if "error" in told:
        return "failed"
    if "extra_bytes" in told:
        if "bytes_per_row" not in told:
            return " / ".join(f"{extra / 2**20:.1f}" for extra in told["extra_bytes"]) + " MiB"
        return f"{told['bytes_per_row']:.0f} B/row + {told['mib_per_thread']:.1f} MiB/thread"
    text = duration(told["median"]) if told["median"] > 0 else "too short to measure"
    if told.get("wrong"):
        text += f" ({told['wrong']} wrong)"
    if told.get("wrong_neighbors"):
        text += f" ({told['wrong_neighbors'] / told['checked']:.2%} wrong)"
    if "relative_error" in told:
        text += f" ({told['relative_error']:.0e})"
    if told.get("all_iterations") is False:
        text += f" ({told['n_iter'][1]} iterations)"
    if told.get("same_rows") is False:
        text += " (other rows)"
    if "n_steps" in told:
        # Mini-batches: equal seeds, so the inertias should be all but equal.
        return text + f" ({told['n_steps']} steps, inertia {told['inertia']:.7g})"
    if "inertia" in told:
        best = min(other["inertia"] for other in record["peers"].values() if "inertia" in other)
        worse = told["inertia"] / best - 1 if best else 0.0
        if worse > EQUAL_QUALITY - 1:
            text += f" (+{worse:.1%})"
    return text


def task_of(case):
    """Return what is done with pairs of rows, as a table says it."""
    names = {"argmin_min": "argmin", "argkmin": f"{case['n_neighbors']} nearest"}
    return names.get(case["task"], case["task"])


def labels(case):
    """Return how a case is called in a table: the data, the shape, the dtype."""
    data, dtype = case["kind"], SHORT_DTYPES[case["dtype"]]
    if "n_clusters" in case:
        shape = f"{rows_of(case['n_samples'])} × {case['n_features']} × {case['n_clusters']}"
        return [data, shape, dtype]
    if case["density"] is not None:
        data += f" {case['density']:.1%}"
    shape = f"{rows_of(case['n_x'])} × {rows_of(case['n_y'])} × {case['n_features']}"
    return [f"{data}, {task_of(case)}", shape, dtype]


def widest(*records):
    """Return the widest spread of a peer's samples, as a share of its median; None without any."""
    widths = [
        (told["max"] - told["min"]) / told["median"]
        for record in records
        for told in record["peers"].values()
        if told.get("median", 0) > 0
    ]
    return max(widths, default=None)


def spread(record):
    """Return the widest spread of a row in a cell of a table."""
    width = widest(record)
    return "–" if width is None else f"{width:.0%}"


def suite_table(result, suite):
    """Return the table of one suite with geometric means and notes, empty without records."""
    records = [record for record in result["records"] if record["suite"] == suite]
    if not records:
        return ""
    names = [name for name in result["peers"] if any(name in record["peers"] for record in records)]
    timed = records[0]["unit"] == "s"
    of_pairs = "n_y" in records[0]["case"]
    header = ["data", "n × m × d" if of_pairs else "n × d × k", "dtype", *names]
    header += ["fastest rival / tilewise", "scikit-learn / tilewise", "spread"] if timed else []
    rows = []
    for record in records:
        row = labels(record["case"])
        if "batch_size" in record:
            row[1] += f", batch {record['batch_size']}"
            row[1] += ", centres given" if record["given_centers"] else ""
        row += [cell(record, name) for name in names]
        if timed and noise_of(result):
            row += [TOO_NOISY, TOO_NOISY, spread(record)]
        elif timed:
            row += [ratio_cell(record), ratio_cell(record, REFERENCE), spread(record)]
        rows.append(row)
    parts = [f"### {TITLES[suite]}\n", markdown(header, rows)]
    parts += list(notes(result, suite, records, names))
    if suite == "lloyd" and result["machine"]["peaks"]:
        parts.append("\n" + of_peak(result, records))
    if suite == "store" and result["machine"]["peaks"]:
        parts.append("\n" + of_stores(result, records, names))
    return "\n".join(parts) + "\n"


def means(records):
    """Yield how many times as long the fastest rival of each row and scikit-learn take."""
    for dtype in SHORT_DTYPES:
        mine = [record for record in records if record["case"]["dtype"] == dtype]
        for what, name in (("the fastest rival", None), (REFERENCE, REFERENCE)):
            if told := mean_of(mine, name):
                yield (
                    f"\nGeometric mean against {what}, {dtype}: {told.mean:.2f}× "
                    f"(least {told.least:.2f}×; {rows_told(told)})."
                )


def rows_told(mean):
    """Return how many rows a mean is made of, and how many of them count as 1."""
    text = f"{mean.rows} rows" if mean.rows != 1 else "1 row"
    return text + (f", {mean.as_one} of which count as 1" if mean.as_one else "")


def means_of_pairs(records, names):
    """Return the table of how many times as long each rival takes, by task and dtype."""
    rivals = [name for name in names if name != US]
    groups = {}
    for record in records:
        group = task_of(record["case"]), "", SHORT_DTYPES[record["case"]["dtype"]]
        groups.setdefault(group, []).append(record)
    rows = []
    for group, mine in groups.items():
        told = [mean_of(mine, name) for name in rivals]
        if any(told):
            rows.append([*group, *map(of_pairs_told, told)])
    if not rows:
        return ""
    title = "\nTimes as long as tilewise: geometric mean of the rows above (least of them)\n\n"
    return title + markdown(["task", "", "dtype", *rivals], rows)


def of_pairs_told(mean):
    """Return a mean with the least ratio, marked where rows in it count as 1."""
    if mean is None:
        return "–"
    text = f"{mean.mean:.2f}× ({mean.least:.2f}×)"
    return text + (f" [{mean.as_one} of {mean.rows} count as 1]" if mean.as_one else "")


def notes(result, suite, records, names):
    """Yield the lines below a table: means, then what must be known to read it."""
    of_pairs = "n_y" in records[0]["case"]
    if noise := noise_of(result):
        yield f"\n{TOO_NOISY.capitalize()}, and no mean: {noise}."
    elif not of_pairs:
        yield from means(records)
    elif table := means_of_pairs(records, names):
        yield table
    if suite in ("fit", "small"):
        yield (
            "\nIn brackets: inertia above the best of the row. Only rivals within "
            f"{EQUAL_QUALITY - 1:.1%} of tilewise's inertia count as rivals here."
        )
    if suite == "minibatch":
        yield "\nIn brackets: batches seen, and the inertia of all rows as the library reports it."
    if suite == "predict":
        yield (
            "\nIn brackets: wrong labels among 2,048 rows checked by direct differences in float64."
        )
    if any("relative_error" in told for record in records for told in record["peers"].values()):
        yield (
            "\nIn brackets: the largest relative error of a sample of distances, by direct "
            "differences in float64; before it, the share of a sample of neighbours that are not "
            "those. Rivals count however inexact they are."
        )
    if suite == "pair-memory":
        steps = " / ".join(f"{n:,} × {n:,}" for n in records[0]["n_rows"])
        yield f"\nFor n × m of {steps}; the last is that of the table's shape."
    failed = {
        f"{name}: {told['error']}"
        for record, name in itertools.product(records, names)
        if "error" in (told := record["peers"].get(name, {}))
    }
    for line in sorted(failed):
        yield f"\nFailed: {line}"
    # Which peculiarities of the libraries these figures show.
    which = "pairs_note" if of_pairs else "note"
    told = [f"{name}: {note}" for name in names if (note := result["peers"][name].get(which))]
    if told and (suite in ("lloyd", "fit") or of_pairs):
        yield "\nNotes. " + ". ".join(told) + "."


def of_peak(result, records):
    """Return the table of what share of the machine's measured peaks tilewise reaches."""
    peaks = result["machine"]["peaks"]
    peak = peaks[max(peaks, key=int)]
    rows = []
    for record in records:
        seconds = figures(record).get(US)
        if seconds is None:
            continue
        case = record["case"]
        n, d, k = case["n_samples"], case["n_features"], case["n_clusters"]
        width = 4 if case["dtype"] == "float32" else 8
        # A distance costs a multiply and an add for each dimension; each row is read once.
        gflops, gbs = 2 * n * d * k / seconds / 1e9, n * d * width / seconds / 1e9
        rows.append(
            labels(case)
            + [
                f"{gflops:.0f} GFLOP/s",
                f"{gflops / peak['fma_gflops'][case['dtype']]:.0%}",
                f"{gbs:.1f} GB/s",
                f"{gbs / peak['read_gbs']:.0%}",
            ]
        )
    header = ["data", "n × d × k", "dtype", "tilewise", "of FMA peak", "reads", "of bandwidth"]
    return "### Against this machine's measured peaks\n\n" + markdown(header, rows)


def of_stores(result, records, names):
    """Return the table of what share of the machine's store bandwidth everybody reaches."""
    peaks = result["machine"]["peaks"]
    rates = peaks[max(peaks, key=int)].get("store_gbs", {})
    best = max((rate for rate in rates.values() if rate is not None), default=None)
    if best is None:
        return ""
    rows = []
    for record in records:
        medians = figures(record)
        shares = [
            f"{record['bytes'] / medians[name] / 1e9 / best:.0%}" if name in medians else "–"
            for name in names
        ]
        rows.append(labels(record["case"]) + shares)
    title = f"### Share of {best:.1f} GB/s, the faster of this machine's two kinds of stores\n\n"
    return title + markdown(["data", "n × m × d", "dtype", *names], rows)


def newest():
    """Return the path of the newest committed result."""
    found = sorted(RESULTS.glob("*.json"), key=lambda path: json.loads(path.read_text())["started"])
    if not found:
        raise SystemExit("no result in benchmarks/results; run `make bench` first")
    return found[-1]


def main():
    """Print the tables of a result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=pathlib.Path, nargs="?")
    parser.add_argument("suite", nargs="*", help=f"any of: {' '.join(TITLES)}; default: all")
    options = parser.parse_args()
    result = json.loads((options.result or newest()).read_text(encoding="utf-8"))
    print(head(result))
    for suite in options.suite or TITLES:
        if table := suite_table(result, suite):
            print(table)


if __name__ == "__main__":
    main()
