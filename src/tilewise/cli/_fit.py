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
    FILE,
    HOW,
    Clock,
    WholeOrAuto,
    chained,
    debug_option,
    engine_options,
    examples,
    exit_codes,
    human_line,
    input_options,
    on_terminal,
    planned,
    report_options,
    request_of,
    shared_option,
    show_notes,
    show_warnings,
    stem,
)
from ._output import Outputs, to_json
from ._progress import fit_progress, spinner
from ._stream import InitSize, memory_option, read_stream, streams

DEFAULT = ParameterSource.DEFAULT
# Parameters that say where a fit keeps things, and never what it finds.
WHERE = ("memory_limit", "checkpoint")

fit_options = chained(
    shared_option("clusters", "-k", required=True),
    click.option(
        "--init",
        type=click.Choice(["k-means++", "random"]),
        default="k-means++",
        show_default=True,
        help="How the first centres are chosen.",
    ),
    click.option(
        "--n-init",
        type=WholeOrAuto(),
        default="auto",
        show_default=True,
        help="Runs with different first centres; auto: 1 for k-means++, 10 for random.",
    ),
    click.option(
        "--max-iter",
        type=click.IntRange(min=1),
        metavar="N",
        default=300,
        show_default=True,
        help="Most iterations of one run.",
    ),
    click.option(
        "--tol",
        type=click.FloatRange(min=0),
        metavar="X",
        default=1e-4,
        show_default=True,
        help="Stop once the centres move less than this, relative to the data's variance.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0, max=2**32 - 1),
        metavar="N",
        help="Seed of the random draws.  [default: a new one, which is reported]",
    ),
    click.option(
        "--algorithm",
        type=click.Choice(["lloyd", "elkan"]),
        default="lloyd",
        show_default=True,
        help="Accepted for scikit-learn's sake; both give the same result.",
    ),
    click.option(
        "--mini-batch",
        "batch_size",
        type=click.IntRange(min=1),
        metavar="N",
        help="Move the centres by random batches of N rows, not by all rows at a time. "
        "--max-iter is 100 then, --tol 0, and auto of --n-init 3 for random.",
    ),
    click.option(
        "--max-no-improvement",
        type=click.IntRange(min=0),
        metavar="N",
        help="With --mini-batch: stop after N batches without improvement.  [default: 10]",
    ),
    memory_option,
    click.option(
        "--init-size",
        type=InitSize(),
        help="Where DATA is read in parts, or with --mini-batch: rows that the first centres are "
        "chosen from.  [default: 32 MiB of rows; three batches]",
    ),
    click.option(
        "--checkpoint",
        type=FILE,
        metavar="PATH",
        help="Keep the state of every iteration there; the same command goes on from it.",
    ),
    click.option(
        "--sample-weight", type=FILE, metavar="FILE.npy", help="One weight for each row of DATA."
    ),
)

output_options = chained(
    click.option(
        "--output-dir",
        type=FILE,
        metavar="DIR",
        default=Path(),
        help="Folder of the outputs.  [default: the current one]",
    ),
    click.option(
        "--labels",
        type=FILE,
        metavar="PATH",
        help="Where the labels go.  [default: STEM.labels.npy]",
    ),
    click.option(
        "--centers",
        type=FILE,
        metavar="PATH",
        help="Where the centres go.  [default: STEM.centers.npy]",
    ),
    click.option(
        "--model",
        type=FILE,
        metavar="PATH",
        help="Where the model goes.  [default: STEM.model.npz]",
    ),
    click.option("--force", is_flag=True, help="Replace outputs that exist."),
)


@click.command(
    epilog="\n\n".join(
        (
            examples(
                "tilewise fit photo.npy -k 64 --seed 0",
                "tilewise fit iris.csv -k 3 --columns 0-3 --json --quiet",
                "tilewise fit big.parquet -k 100 --dtype float32 --output-dir out",
                "tilewise fit big.npy -k 256 --mini-batch 4096",
                "tilewise fit shards/ -k 256 --memory-limit 1GB --checkpoint shards.state",
            ),
            exit_codes(),
        )
    ),
)
@click.argument("data", type=FILE)
@fit_options
@engine_options
@input_options
@output_options
@report_options
@click.option("--verbose", "-v", is_flag=True, help="Show the plan before the work begins.")
@debug_option
def fit(data, clusters, sample_weight, output_dir, force, as_json, quiet, verbose, **options):
    """Cluster the rows of DATA into K groups.

    DATA is a .npy file (read in place, never copied into memory), a .npz archive, a .csv or
    .tsv text, or a .parquet table; or .h5 (FILE::DATASET), .zarr or a directory of .npy or
    .parquet files. Those last, and .npy and .parquet with --memory-limit or where they are larger
    than half of the free memory, are read in parts, in every iteration.

    Three files are written, all or none: the label of each row (.npy, int32), the cluster centres
    (.npy) and a model for `tilewise predict` (.npz, arrays and JSON).

    Errors name the cell at fault. In text files, rows are numbered like lines, from 1; indexes
    count from 0. STEM below is the name of DATA without its ending.
    """
    reading = ("columns", "dtype", "key", "delimiter", "header")
    request = request_of(**{name: options.pop(name) for name in reading})
    paths = {
        name: options.pop(name) or output_dir / f"{stem(data)}.{name}{ending}"
        for name, ending in (("labels", ".npy"), ("centers", ".npy"), ("model", ".npz"))
    }
    inputs = [path for path in (data, sample_weight) if path is not None]
    streamed = streams(data, request, options["memory_limit"])
    for path in inputs[streamed:]:
        check_readable(path)
    outputs = Outputs(paths, inputs, force)
    params = _params(clusters, **options)
    shown = on_terminal(as_json, quiet)

    clock = Clock()
    with clock("read"), spinner(f"reading {data}", shown):
        table = (read_stream if streamed else read_table)(data, request)
        weights = None
        if sample_weight is not None:
            weights = read_weights(sample_weight, len(table.values))
    notes = show_notes(table)
    if clusters > len(table.values):
        raise BadData(f"{data}: {len(table.values)} rows cannot make {clusters} clusters")
    plan = planned(
        table.values,
        clusters,
        {name: params[name] for name in HOW},
        params.get("batch_size"),
    )
    if verbose:
        click.echo(repr(plan), err=True)
    with clock("fit"):
        estimator, messages = _fitted(table, params, weights, shown)
    model = Model(
        centers=estimator.cluster_centers_,
        tilewise_version=__version__,
        params={
            name: value
            for name, value in params.items()
            if name not in (*HOW, *WHERE) and (name, value) != ("init_size", None)
        },
        n_samples=len(table.values),
        feature_names=table.names,
        columns=request.columns,
        inertia=float(estimator.inertia_),
        n_iter=int(estimator.n_iter_),
    )
    with clock("write"):
        outputs.write(
            {
                "labels": lambda stream: np.save(stream, estimator.labels_),
                "centers": lambda stream: np.save(stream, estimator.cluster_centers_),
                "model": model.write,
            }
        )

    if not quiet:
        _tell(
            table,
            model,
            clock.seconds,
            paths,
            as_json,
            getattr(estimator, "n_steps_", None),
            _sentences(estimator),
        )
    if as_json:
        click.echo(
            to_json(
                {
                    "data": data,
                    "n_samples": len(table.values),
                    "n_features": table.values.shape[1],
                    "feature_names": table.names,
                    "n_clusters": clusters,
                    "dtype": model.centers.dtype.name,
                    "params": params,
                    **_streamed(estimator),
                    "inertia": model.inertia,
                    "n_iter": model.n_iter,
                    **({"n_steps": estimator.n_steps_} if "batch_size" in params else {}),
                    "counts": np.bincount(estimator.labels_, minlength=clusters),
                    "seconds": clock.seconds,
                    "outputs": paths,
                    "plan": estimator.chunk_plan_.to_dict(),
                    "notes": notes,
                    "warnings": messages,
                    "version": __version__,
                }
            )
        )


def _params(clusters, seed, threads, batch_size, max_no_improvement, **others):
    """Return the estimator's parameters; draw a seed where none was given."""
    if seed is None:
        seed = random.SystemRandom().randrange(2**32)
    common = {"n_clusters": clusters, "random_state": seed, "n_threads": threads}
    if batch_size is None:
        if max_no_improvement is not None:
            raise WrongUsage("--max-no-improvement goes with --mini-batch only")
        return common | others
    given = {
        name: value
        for name, value in others.items()
        if click.get_current_context().get_parameter_source(name) is not DEFAULT
    }
    if "algorithm" in given:
        raise WrongUsage("--algorithm does not go with --mini-batch")
    from tilewise import MiniBatchKMeans

    defaults = MiniBatchKMeans().get_params()
    params = common | {name: given.get(name, defaults[name]) for name in others if name in defaults}
    if params["init_size"] == "all":
        raise WrongUsage("--init-size all does not go with --mini-batch")
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


def _streamed(estimator):
    """What a fit of data that are read in parts has to tell beside the rest."""
    if not hasattr(estimator, "stream_report_"):
        return {}
    return {
        "stream": estimator.stream_report_.to_dict(),
        "stream_plan": estimator.stream_plan_.to_dict(),
    }


def _sentences(estimator):
    report = getattr(estimator, "stream_report_", None)
    return [] if report is None else report.sentences()


def _tell(table, model, seconds, paths, as_json, n_steps, reported):
    n_rows, n_columns = table.values.shape
    limit = ", the most allowed" if model.n_iter == model.params["max_iter"] else ""
    done = f"{model.n_iter} iterations" if n_steps is None else f"{n_steps} batches"
    lines = [
        f"{table.path}: {n_rows} rows x {n_columns} columns, {table.values.dtype}",
        f"{len(model.centers)} clusters after {done}{limit}: "
        f"inertia {model.inertia:.6g}, {seconds['fit']:.2f} s, seed {model.params['random_state']}",
        *(f"{purpose:<8} {path}" for purpose, path in paths.items()),
    ]
    for line in (*lines, *reported):
        human_line(line, as_json)
