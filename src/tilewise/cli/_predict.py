"""``tilewise predict``: label the rows of a file with a model that ``tilewise fit`` wrote."""

import warnings
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from .. import __version__
from ..plan import parse_bytes
from ._data import blocks, check_readable, data_errors, read_table
from ._errors import BadData, WrongUsage
from ._model import read_model
from ._options import (
    FILE,
    Clock,
    chained,
    debug_option,
    engine_options,
    epilog,
    flag,
    force_option,
    human_line,
    input_options,
    on_terminal,
    path_option,
    planned,
    report_options,
    request_of,
    show_notes,
    show_warnings,
    stem,
)
from ._output import Outputs, print_json
from ._progress import spinner
from ._stream import memory_option, read_stream, streams

# With more clusters than this the summary for people gives the range of sizes, not each size.
_LISTED = 20

output_options = chained(
    path_option(
        "--labels",
        "PATH",
        "Where to write labels.  [default: STEM.predicted.npy, or .csv with --csv]",
    ),
    flag("--csv", "as_csv", help="Write the labels as text, one per line."),
    flag(
        "--distances",
        help="Also write the distance of each row to its centre: as a second column with --csv, "
        "else as a file beside the labels that ends in .distances.npy.",
    ),
    force_option,
)


@click.command(
    epilog=epilog(
        "tilewise predict photo.model.npz other.npy",
        "tilewise predict iris.model.npz new.csv --csv --distances",
        "tilewise predict iris.model.npz new.csv --json --quiet | jq .counts",
    ),
)
@click.argument("model", type=FILE)
@click.argument("data", type=FILE)
@input_options
@flag("--ignore-names", help="Accept columns that have other names than in the fit.")
@engine_options
@memory_option
@output_options
@report_options
@debug_option
def predict(model, data, ignore_names, labels, as_csv, distances, force, as_json, quiet, **options):
    """Give each row of DATA the label of its nearest centre in MODEL.

    If both MODEL and DATA have column names, columns are matched by name: their order does not
    matter, and other columns are ignored. It is safe to read a MODEL from a stranger: it holds
    no code. STEM below is the name of DATA without its ending.
    """
    request = request_of(options)
    check_readable(model)
    streamed = streams(data, request, options["memory_limit"])
    if not streamed:
        check_readable(data)
    paths = _paths(data, labels, as_csv, distances)
    outputs = Outputs(paths, [model, data], force)
    shown = on_terminal(as_json, quiet)

    clock = Clock()
    with clock("read"), spinner(f"reading {data}", shown):
        stored = read_model(model)
        if not ignore_names:
            request = replace(request, wanted=stored.feature_names)
        table = (read_stream if streamed else read_table)(data, request)
        _check_columns(table, stored, model, ignore_names)
        _check_limit(table, options["memory_limit"], distances)
    notes = show_notes(table)
    with clock("predict"), spinner("predicting", shown):
        found, messages = _predicted(table, stored, options, ignore_names)
        to_centers = own_distances(table.values, stored.centers, found) if distances else None
    with clock("write"):
        outputs.write(_writers(found, to_centers, as_csv))

    counts = np.bincount(found, minlength=len(stored.centers))
    if not quiet:
        for line in _lines(table, counts, clock.seconds, paths):
            human_line(line, as_json)
    if as_json:
        print_json(
            {
                "model": model,
                "data": data,
                "n_samples": len(found),
                "n_features": table.values.shape[1],
                "n_clusters": len(counts),
                "counts": counts,
                "seconds": clock.seconds,
                "outputs": paths,
                "notes": notes,
                "warnings": messages,
                "version": __version__,
            }
        )


def _paths(data, labels, as_csv, distances):
    ending = ".csv" if as_csv else ".npy"
    main = labels or Path(f"{stem(data)}.predicted{ending}")
    paths = {"labels": main}
    if distances and not as_csv:
        base = f"{main.stem}" if labels else stem(data)
        paths["distances"] = main.with_name(f"{base}.distances.npy")
    return paths


def _check_columns(table, stored, model, ignore_names):
    expected, given = stored.centers.shape[1], table.values.shape[1]
    if given != expected:
        hint = f"; it was fitted with --columns {stored.columns}" if stored.columns else ""
        raise BadData(f"{table.path}: {given} columns, but {model} was fitted on {expected}{hint}")
    known = stored.feature_names
    if ignore_names or known is None or table.names is None or known == table.names:
        return
    at = next(i for i in range(expected) if known[i] != table.names[i])
    raise BadData(
        f"{table.path}: column {table.names[at]!r} is where {model} was fitted on {known[at]!r}; "
        "pass --ignore-names to accept it"
    )


def _check_limit(table, limit, distances):
    # int32 labels and float64 distances are kept until they are written.
    n_rows = len(table.values)
    needed = n_rows * (12 if distances else 4)
    if limit is not None and needed > parse_bytes(limit):
        what = "labels and distances" if distances else "labels"
        raise WrongUsage(
            f"{table.path}: --memory-limit {limit} is too small: the {what} of {n_rows} rows alone "
            f"take {needed} bytes; allow more, or predict parts of DATA one by one"
        )


def _predicted(table, stored, options, ignore_names):
    from tilewise.cluster._validation import check_columns

    limit = options.pop("memory_limit")
    how = {"n_threads": options.pop("threads"), **options}
    planned(table.values, len(stored.centers), how)  # so that a wrong option is wrong usage
    estimator = stored.estimator(**how)
    estimator.memory_limit = limit
    with warnings.catch_warnings(record=True) as caught, data_errors(table):
        warnings.simplefilter("always")
        if not ignore_names:  # warns as scikit-learn does where only one side has names
            check_columns(table.values.shape[1], table.names, estimator, reset=False)
        vars(estimator).pop("feature_names_in_", None)
        found = estimator.predict(_unnamed(table.values))
    return found, show_warnings(caught)


def _unnamed(values):
    """The rows without the names of their columns, which have been compared."""
    if hasattr(values, "feature_names"):
        values.feature_names = None
    return values


def own_distances(values, centers, labels):
    """Return the Euclidean distance of each row to the centre of its label, float64.

    Examples
    --------
    >>> import numpy as np
    >>> from tilewise.cli._predict import own_distances
    >>> own_distances(np.array([[3.0, 4.0]]), np.zeros((2, 2)), np.array([1]))
    array([5.])
    """
    centers = centers.astype(np.float64)
    result = np.empty(len(labels))
    for start, block in blocks(values):
        part = slice(start, start + len(block))
        result[part] = np.linalg.norm(block - centers[labels[part]], axis=1)
    return result


def _writers(labels, distances, as_csv):
    if as_csv:
        return {"labels": lambda stream: _write_csv(stream, labels, distances)}
    writers = {"labels": lambda stream: np.save(stream, labels)}
    if distances is not None:
        writers["distances"] = lambda stream: np.save(stream, distances)
    return writers


def _write_csv(stream, labels, distances):
    stream.write(b"label\n" if distances is None else b"label,distance\n")
    step = 1 << 14
    for start in range(0, len(labels), step):
        cells = labels[start : start + step].tolist()
        if distances is not None:
            pairs = zip(cells, distances[start : start + step].tolist(), strict=True)
            cells = [f"{label},{distance!r}" for label, distance in pairs]
        stream.write("".join(f"{cell}\n" for cell in cells).encode())


def _lines(table, counts, seconds, paths):
    n_rows, n_columns = table.values.shape
    took = f"({seconds['predict']:.2f} s)"
    yield f"{table.path}: {n_rows} rows x {n_columns} columns, {table.values.dtype}"
    if len(counts) <= _LISTED:
        yield f"rows per cluster: {', '.join(map(str, counts))} {took}"
    else:
        yield f"{len(counts)} clusters of {counts.min()} to {counts.max()} rows {took}"
    yield from (f"{purpose:<9} {path}" for purpose, path in paths.items())
