"""Measure tilewise against its peers, everybody in turn, and write down all of it.

Prints tables on standard output, progress on standard error, and writes one JSON that holds
every sample together with the machine, the versions and the settings. It measures and never
judges: there is no assertion in here.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import sys

import environment
import peers
import report
import running
import suites

RESULTS = pathlib.Path(__file__).parent / "results"

# Figures are those of the plan itself, whatever `tilewise tune` may have found on this machine.
os.environ.setdefault("TILEWISE_TUNING", "off")


def parse(arguments=None):
    """Return what was asked for."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.py", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=suites.SUITES,
        default=list(suites.SUITES),
        metavar="SUITE",
        help=f"any of: {' '.join(suites.SUITES)}; default: all",
    )
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=[peer.name for peer in peers.PEERS],
        metavar="PEER",
        help="any of: " + ", ".join(repr(peer.name) for peer in peers.PEERS) + "; default: all",
    )
    parser.add_argument(
        "--shapes",
        nargs="+",
        type=_shape,
        default=[],
        metavar="NxDxK",
        help="rows x dimensions x clusters, such as 200000x64x256; for suites of pairs rows of X "
        "x rows of Y x dimensions; default: the tables'",
    )
    parser.add_argument(
        "--dtypes", nargs="+", choices=("float32", "float64"), default=[], metavar="DTYPE"
    )
    parser.add_argument("--rounds", type=int, help="samples of each; default: by suite")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, two rounds")
    parser.add_argument(
        "--full", action="store_true", help="also the nearest rows of 200000x200000x32: minutes"
    )
    parser.add_argument(
        "--json",
        type=pathlib.Path,
        metavar="PATH",
        help="where to write; default: a new file in benchmarks/results/local",
    )
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds: at least 1")
    return options


def _shape(text):
    sizes = text.split("x")
    if len(sizes) != 3 or not all(size.isdigit() and int(size) > 0 for size in sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 200000x64x256")
    return "x".join(str(int(size)) for size in sizes)


def watched(records, meter, quiet):
    """Yield records, and note in `quiet` what others did while they were measured."""
    while True:
        with contextlib.nullcontext() if meter is None else meter.during():
            record = next(records, None)
        if meter is not None:
            quiet["during"] = meter.facts()["during"]
        if record is None:
            return
        yield record


def main():
    """Run the suites that were asked for."""
    options = parse()
    started = datetime.datetime.now(datetime.UTC)
    path = options.json or RESULTS / "local" / f"{started:%Y%m%d-%H%M%S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)

    taking_part, missing = peers.available(options.peers)
    for name, problem in missing.items():
        print(f"left out: {name} ({problem})", file=sys.stderr)
    print("measuring the machine", file=sys.stderr)
    result = {
        "format": 1,
        "about": "tilewise benchmark; times in seconds, one sample a round, peers in turn",
        "started": started.isoformat(timespec="seconds"),
        "arguments": {
            "suites": options.only,
            "quick": options.quick,
            "full": options.full,
            "rounds": options.rounds,
            "shapes": options.shapes,
            "dtypes": options.dtypes,
        },
        "peers": {
            peer.name: {
                "package": peer.package,
                "note": peer.note,
                "pairs_note": peer.pairs_note,
            }
            for peer in taking_part
        },
        "missing": missing,
    } | environment.describe()
    environment.warn_if_loud(result["quiet"])
    result["records"] = []
    print(report.head(result))

    run = running.Run(
        taking_part,
        rounds=options.rounds,
        quick=options.quick,
        full=options.full,
        shapes=tuple(options.shapes),
        dtypes=tuple(options.dtypes),
    )
    meter = environment.meter()
    for name, suite in suites.SUITES.items():
        if name not in options.only:
            continue
        for record in watched(suite(run), meter, result["quiet"]):
            result["records"].append(record)
            # After every case: an hour of measuring should survive a Ctrl-C.
            path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(report.suite_table(result, name), flush=True)
    result["finished"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"written to {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
