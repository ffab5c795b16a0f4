"""``tilewise fit``: cluster the rows of a file; write labels, centres and a model."""

import random
import warnings
from pathlib import Path

import click
import numpy as np
from click.core import ParameterSource

from .. import __version__
from ._data import check_readable, data_errors, read_table, read_weights
from ._errors import BadData, WrongUsage
from ._model import Model
from ._options import (
    AUTO,
    HOW,
    Clock,
    WholeOr,
    chained,
    debug_option,
    engine_options,
    epilog,
    flag,
    force_option,
    human_line,
    input_options,
    on_terminal,
    option,
    path_option,
    planned,
    report_options,
    request_of,
    shared_option,
    show_notes,
    show_warnings,
    stem,
)
from ._output import Outputs, print_json
from ._progress import fit_progress, spinner
from ._stream import memory_option, read_stream, streams

DEFAULT = ParameterSource.DEFAULT
# Parameters that say where a fit keeps things. They do not change the result.
WHERE = ("memory_limit", "checkpoint")

fit_options = chained(
    shared_option("clusters", "-k", required=True),
    option("--init", click.Choice(["k-means++", "k-means||", "random"]), "How the first centres "
           "are chosen: k-means++, 'k-means||' (a shell needs the quotes) or random.",
           default="k-means++", metavar="METHOD"),
    option("--n-init", AUTO, "Runs with different first centres; the best is kept. auto: 10 "
           "for random, else 1.", default="auto"),
    option("--max-iter", click.IntRange(min=1), "Most iterations of one run.", default=300),
    option("--tol", click.FloatRange(min=0), "Stop once the centres move less than this, relative "
           "to the data's variance.", default=1e-4),
    option("--seed", click.IntRange(min=0, max=2**32 - 1), "Seed of the random draws.  [default: a "
           "new one, which is printed]"),
    option("--algorithm", click.Choice(["lloyd", "elkan"]), "Both give the same result; "
           "scikit-learn has this option.", default="lloyd"),
    option("--mini-batch", click.IntRange(min=1), "Update the centres from random batches of N "
           "rows instead of all rows. Then the defaults are --max-iter 100, --tol 0, and 3 runs "
           "for --init random.", "batch_size"),
    option("--max-no-improvement", click.IntRange(min=0), "With --mini-batch: stop after N batches "
           "without improvement.  [default: 10]"),
    memory_option,
    option("--init-size", WholeOr("all"), "Rows that the first centres are chosen from, with "
           "--mini-batch or where DATA is read in parts.  [default: three batches; 32 MiB of "
           "rows]"),
    path_option("--checkpoint", "PATH", "Save the state of every iteration here. Run the same "
                "command again to continue."),
    path_option("--sample-weight", "FILE.npy", "One weight for each row of DATA."),
)  # fmt: skip

output_options = chained(
    path_option(
        "--output-dir",
        "DIR",
        "Folder of the output files.  [default: the current one]",
        default=Path(),
    ),
    path_option("--labels", "PATH", "Where to write labels.  [default: STEM.labels.npy]"),
    path_option("--centers", "PATH", "Where to write centres.  [default: STEM.centers.npy]"),
    path_option("--model", "PATH", "Where to write the model.  [default: STEM.model.npz]"),
    force_option,
)


@click.command(
    epilog=epilog(
        "tilewise fit photo.npy -k 64 --seed 0",
        "tilewise fit iris.csv -k 3 --columns 0-3 --json --quiet",
        "tilewise fit big.parquet -k 100 --dtype float32 --output-dir out",
        "tilewise fit big.npy -k 256 --mini-batch 4096",
        "tilewise fit shards/ -k 256 --memory-limit 1GB --checkpoint shards.state",
    ),
)
@click.argument("data", type=click.Path(path_type=Path))
@fit_options
@engine_options
@input_options
@output_options
@report_options
@flag("--verbose", "-v", help="Print the plan before the work begins.")
@debug_option
def fit(data, sample_weight, output_dir, force, as_json, quiet, verbose, **options):
    """Cluster the rows of DATA into K groups.

    DATA is a .npy, .npz, .csv, .tsv or .parquet file, an array in a .h5 file (FILE::DATASET), a
    .zarr array, or a folder of .npy or .parquet files.

    A .npy file is read in place and never copied into memory. HDF5, Zarr and folders are read in
    parts, again in every iteration. So are .npy and .parquet files with --memory-limit, and those
    larger than half of the free memory.

    The command writes three files, all or none: the label of each row (.npy, int32), the cluster
    centres (.npy) and a model for `tilewise predict` (.npz, arrays and JSON).

    An error names the cell that is wrong. Rows of text files are counted from 1, as in an editor;
    all other positions are counted from 0. STEM below is the name of DATA without its ending.
    """
    request = request_of(options)
    paths = {
        name: options.pop(name) or output_dir / f"{stem(data)}.{name}{ending}"
        for name, ending in (("labels", ".npy"), ("centers", ".npy"), ("model", ".npz"))
    }
    inputs = [path for path in (data, sample_weight) if path is not None]
    streamed = streams(data, request, options["memory_limit"])
    for path in inputs[streamed:]:
        check_readable(path)
    outputs = Outputs(paths, inputs, force)
    params = _params(**options)
    shown = on_terminal(as_json, quiet)

    clock = Clock()
    with clock("read"), spinner(f"reading {data}", shown):
        table = (read_stream if streamed else read_table)(data, request)
        weights = None
        if sample_weight is not None:
            weights = read_weights(sample_weight, len(table.values))
    notes = show_notes(table)
    plan = _planned(table, params)
    if verbose:
        click.echo(repr(plan), err=True)
    with clock("fit"):
        estimator, messages = _fitted(table, params, weights, shown)
    model = _model(table, params, estimator, request.columns)
    with clock("write"):
        outputs.write(
            {
                "labels": lambda stream: np.save(stream, estimator.labels_),
                "centers": lambda stream: np.save(stream, estimator.cluster_centers_),
                "model": model.write,
            }
        )
    if not quiet:
        for line in _lines(table, model, estimator, clock.seconds, paths):
            human_line(line, as_json)
    if as_json:
        run = {"seconds": clock.seconds, "outputs": paths}
        summary = _summary(table, params, model, estimator, run)
        print_json(summary | {"notes": notes, "warnings": messages, "version": __version__})


def _planned(table, params):
    n_clusters = params["n_clusters"]
    if n_clusters > len(table.values):
        raise BadData(
            f"{table.path}: {len(table.values)} rows are too few for {n_clusters} clusters"
        )
    how = {name: params[name] for name in HOW}
    return planned(table.values, n_clusters, how, params.get("batch_size"))


def _model(table, params, estimator, columns):
    return Model(
        centers=estimator.cluster_centers_,
        tilewise_version=__version__,
        params={
            name: value
            for name, value in params.items()
            if name not in (*HOW, *WHERE) and (name, value) != ("init_size", None)
        },
        n_samples=len(table.values),
        feature_names=table.names,
        columns=columns,
        inertia=float(estimator.inertia_),
        n_iter=int(estimator.n_iter_),
        counts=_counts(estimator),
    )


def _counts(estimator):
    """Rows that each centre stands for: those of all mini-batches, or those of its label."""
    counts = getattr(estimator, "_counts", None)
    if counts is None:
        counts = np.bincount(estimator.labels_, minlength=len(estimator.cluster_centers_))
    return tuple(counts.tolist())


def _params(clusters, seed, threads, batch_size, max_no_improvement, **others):
    """Return the estimator's parameters; draw a seed where none was given."""
    if seed is None:
        seed = random.SystemRandom().randrange(2**32)
    common = {"n_clusters": clusters, "random_state": seed, "n_threads": threads}
    if batch_size is None:
        if max_no_improvement is not None:
            raise WrongUsage("--max-no-improvement works only with --mini-batch")
        return common | others
    given = {
        name: value
        for name, value in others.items()
        if click.get_current_context().get_parameter_source(name) is not DEFAULT
    }
    if "algorithm" in given:
        raise WrongUsage("--algorithm does not work with --mini-batch")
    from tilewise import MiniBatchKMeans

    defaults = MiniBatchKMeans().get_params()
    params = common | {name: given.get(name, defaults[name]) for name in others if name in defaults}
    if params["init_size"] == "all":
        raise WrongUsage("--init-size all does not work with --mini-batch")
    params["batch_size"] = batch_size
    if max_no_improvement is not None:
        params["max_no_improvement"] = max_no_improvement
    return params


def _fitted(table, params, weights, shown):
    from tilewise import KMeans, MiniBatchKMeans

    estimator = (MiniBatchKMeans if "batch_size" in params else KMeans)(**params)
    with (
        warnings.catch_warnings(record=True) as caught,
        data_errors(table),
        fit_progress(estimator, shown, table.values),
    ):
        warnings.simplefilter("always")
        estimator.fit(table.values, sample_weight=weights)
    return estimator, show_warnings(caught)


def _summary(table, params, model, estimator, run):
    """The result for programs; `run` has the seconds and the output files."""
    streamed = hasattr(estimator, "stream_report_")
    return {
        "data": table.path,
        "n_samples": len(table.values),
        "n_features": table.values.shape[1],
        "feature_names": table.names,
        "n_clusters": len(model.centers),
        "dtype": model.centers.dtype.name,
        "params": params,
        **({"stream": estimator.stream_report_.to_dict()} if streamed else {}),
        **({"stream_plan": estimator.stream_plan_.to_dict()} if streamed else {}),
        "inertia": model.inertia,
        "n_iter": model.n_iter,
        **({"n_steps": estimator.n_steps_} if "batch_size" in params else {}),
        "counts": np.bincount(estimator.labels_, minlength=len(model.centers)),
        **run,
        "plan": estimator.chunk_plan_.to_dict(),
    }


def _lines(table, model, estimator, seconds, paths):
    """The result for people."""
    n_rows, n_columns = table.values.shape
    limit = ", the most allowed" if model.n_iter == model.params["max_iter"] else ""
    n_steps = getattr(estimator, "n_steps_", None)
    done = f"{model.n_iter} iterations" if n_steps is None else f"{n_steps} batches"
    yield f"{table.path}: {n_rows} rows x {n_columns} columns, {table.values.dtype}"
    yield (
        f"{len(model.centers)} clusters after {done}{limit}: inertia {model.inertia:.6g}, "
        f"{seconds['fit']:.2f} s, seed {model.params['random_state']}"
    )
    yield from (f"{purpose:<8} {path}" for purpose, path in paths.items())
    if hasattr(estimator, "stream_report_"):
        yield from estimator.stream_report_.sentences()
