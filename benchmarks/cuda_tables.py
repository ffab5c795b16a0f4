"""What `cuda_clusters.py` found, as lines while it runs and as tables in Markdown for the docs."""

import report

US = "tilewise"

TITLES = {
    "iterations": "One iteration of Lloyd's, everybody from the same centres",
    "labels": "Labels of all rows for given centres, against the exact ones",
    "assign": "Labels of all rows for given centres, time",
    "launches": "Kernels of one iteration",
    "fit": "Default fits with what they start from",
    "seeding": "k-means++ alone",
    "argkmin": "Nearest rows",
}


def head(result):
    """What was measured on, in a few lines."""
    device = result["device"]
    facts = {name: fact["value"] for name, fact in device["facts"].items()}
    lines = [
        f"{facts['name']}, {facts['multiprocessors']} multiprocessors; {result['started']}",
        ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        + f"; commit {result['commit']}",
        f"host: {result['machine']['cpu']}, {result['machine']['cpus']} CPUs",
    ]
    measured = device["measured"]
    if measured:
        lines.append(
            f"measured: copy {measured['copy_tbs']:.2f} TB/s (read and written), float16 products "
            f"{measured['float16_tflops']:.0f} TFLOP/s"
        )
    return lines


def _timed(record):
    """Cells of each contender of a record of times: median, spread, ratio, what else there is."""
    peers = record["peers"]
    own = max(peers.get(US, {}).get("median", 0.0), 0.0)
    for name, told in peers.items():
        if "error" in told:
            yield name, "failed", "", "", told["error"].split("\n")[0][:90]
            continue
        ratio = "" if not own or told["median"] <= 0 else f"{told['median'] / own:.3g}"
        spread = f"{1e3 * told['min']:.4g} to {1e3 * told['max']:.4g}"
        yield name, f"{1e3 * told['median']:.4g}", spread, ratio, _more(record, told)


def _more(record, told):
    if record["part"] == "fit":
        ours = record["peers"].get(US, {}).get("inertia")
        done = "?" if told.get("n_iter") is None else told["n_iter"]
        worse = f", inertia {told['inertia'] / ours:.5f} of ours" if ours else ""
        return f"{done} iterations{worse}"
    if record["part"] == "argkmin":
        return f"{told['wrong']} of {told['checked']} wrong"
    if "bytes" not in record or told["median"] <= 0:
        return ""
    done = told.get("n_iter", [2, 12])
    counts = "" if done == [2, 12] else f", {done[0]} and {done[1]} iterations"
    return f"{record['bytes'] / told['median'] / 1e12:.3g} TB/s of rows{counts}"


def _labels(record):
    for name, told in record["peers"].items():
        if "error" in told:
            yield name, "failed", told["error"].split("\n")[0][:90]
            continue
        others = f"{told['unlike_ours']:,} of {told['rows']:,}" if "unlike_ours" in told else ""
        if "same_labels_as_cpu" in told:
            same = [
                what for what in ("labels", "centers", "inertia") if told[f"same_{what}_as_cpu"]
            ]
            others = f"same bits as the CPU: {', '.join(same) or 'none'}"
        yield name, f"{told['wrong']:,} of {told['checked']:,}", others


def lines(record):
    """A record in words, while a run goes on."""
    out = [f"{record['shape']} {record['part']}"]
    if "error" in record:
        return [f"{out[0]}: {record['error']}"]
    if record["part"] == "labels":
        return out + [f"    {name}: {wrong} wrong {more}" for name, wrong, more in _labels(record)]
    if record["part"] == "launches":
        return out + [f"    {line}" for line in _kernels(record)]
    for name, median, spread, ratio, more in _timed(record):
        out.append(f"    {name}: {median} ms ({spread}) {ratio and 'x ' + ratio} {more}".rstrip())
    if record["part"] == "seeding":
        out.append(f"    {_seeding(record)}")
    return out


def _kernels(record):
    kernels = record["kernels"]
    total = sum(own["per_iteration"] for own in kernels.values())
    spent = sum(own["seconds"] for own in kernels.values())
    yield f"{total:g} kernels and copies, {1e3 * spent:.4g} ms on the device"
    for name, own in sorted(kernels.items(), key=lambda item: -item[1]["seconds"])[:12]:
        yield f"{name[:60]}: {own['per_iteration']:g} times, {1e3 * own['seconds']:.4g} ms"


def _seeding(record):
    n = report.rows_of(record["cpu_rows"])
    seeds = "the same seeds" if record["same_seeds"] else "OTHER SEEDS"
    cpu, ours = record["peers"].get("CPU"), record["peers"].get(US)
    text = f"CPU: {n} rows, {record['cpu_threads']} threads; {seeds} from these rows"
    if cpu and ours and "median" in cpu and "median" in ours:
        times = record["rows"] / record["cpu_rows"]
        text += f"; times {times:g} that is {times * cpu['median'] / ours['median']:.1f} times ours"
    return text


def table(result):
    """All tables of a result, in Markdown."""
    out = head(result)
    for part, title in TITLES.items():
        records = [own for own in result["records"] if own["part"] == part]
        if not records:
            continue
        out += ["", f"## {title}", ""]
        for record in records:
            out += _section(record)
    out += [f"{name}: {note}." for name, note in result["notes"].items()]
    if result["left_out"]:
        out += ["", f"Left out for want of time: {'; '.join(result['left_out'])}."]
    return "\n".join(out)


def _section(record):
    shape = record["shape"].replace("x", " × ")
    if "error" in record:
        return [f"{shape}: failed, {record['error']}", ""]
    if record["part"] == "launches":
        return [f"{shape}: " + "; ".join(_kernels(record)), ""]
    if record["part"] == "labels":
        rows, header = list(_labels(record)), (shape, "wrong", "other than ours, of all rows")
    else:
        rows = list(_timed(record))
        header = (shape, "ms", "least to most", "times ours", "")
    out = [report.markdown(header, rows), ""]
    return [*out, _seeding(record), ""] if record["part"] == "seeding" else out
