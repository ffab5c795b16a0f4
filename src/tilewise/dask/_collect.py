"""From what a user passes to partitions on the cluster, each an array of rows."""

import os

import numpy as np

from tilewise.metrics._validation import is_single
from tilewise.sources import as_source, column_names, names_of
from tilewise.sources._names import is_a, order_of
from tilewise.sources._partitions import DASK_FRAMES, DASK_SERIES, DELAYED

from . import _pieces

__all__ = ["Collected", "NotTaken", "collect", "collect_weights", "is_collection", "joined"]


class NotTaken(ValueError):
    """Data that are not a collection of partitions."""


class Collected:
    """Partitions of rows, not yet computed.

    Attributes
    ----------
    tasks : list of Delayed
        Each becomes a `Piece`.
    columns : int or None
    names : sequence of str or None
    rows : list of int, or None
        Rows of each partition, where that is known before it is computed.
    dtype : dtype
        float32, if all rows are known to be; else float64.
    bytes : int or None
        Of all rows, where that is known.
    """

    def __init__(self, tasks, columns=None, names=None, rows=None, dtype=np.float64, item=None):
        self.tasks, self.columns, self.names, self.rows = tasks, columns, names, rows
        self.dtype = np.dtype(dtype)
        known = rows is not None and columns is not None
        item = self.dtype.itemsize if item is None else item
        self.bytes = sum(rows) * columns * item if known else None


def is_collection(X) -> bool:
    """Whether this is for a cluster: something of dask, paths, or a list of these."""
    first = X[0] if isinstance(X, (list, tuple)) and len(X) else X
    return isinstance(first, (str, os.PathLike)) or is_a(
        first, "dask.Array", *DASK_FRAMES, *DASK_SERIES, *DELAYED
    )


def collect(X, names=None) -> Collected:
    """The partitions of a dask array or data frame, of delayed objects, or of files.

    Delayed data frames have their columns taken in the order of `names`, if there are any.
    """
    if is_a(X, "dask.Array"):
        return _of_array(X)
    if is_a(X, *DASK_SERIES):
        raise NotTaken(
            "a dask Series is one column, not rows of features; pass a data frame, "
            "series.to_frame()"
        )
    if is_a(X, *DASK_FRAMES):
        source = as_source(X)  # which checks the columns' types
        made = _made(X.to_delayed(), X, column_names(X))
        return Collected(made, source.n_features, names_of(source), None, source.dtype)
    if is_a(X, *DELAYED):
        X = [X]
    if isinstance(X, (str, os.PathLike)):
        X = _files_in(os.fsdecode(X))
    if isinstance(X, (list, tuple)) and len(X):
        if all(is_a(part, *DELAYED) for part in X):
            return Collected(_made(_delayed(X), X, names))
        if all(isinstance(part, (str, os.PathLike)) for part in X):
            return _of_files([os.fsdecode(part) for part in X])
    raise NotTaken(
        f"tilewise.dask takes dask arrays, dask data frames, lists of delayed objects, and paths "
        f"of .npy and Parquet files that all workers can read; {type(X).__name__} is none of "
        "them. Use tilewise itself for data in memory, or dask.array.from_array(X)."
    )


def collect_weights(weights, rows):
    """Delayed weights, (n,) of each partition, or the weights as an array.

    Parameters
    ----------
    weights : dask array, Series, list of Delayed, array-like or float
    rows : ClusterRows

    Returns
    -------
    list of Delayed, or None where the weights are in memory
    """
    from dask import delayed

    if is_a(weights, "dask.Array"):
        if weights.ndim != 1:
            raise ValueError(
                f"Sample weights must be 1D array or scalar, got {weights.ndim}D array."
            )
        parts = list(weights.to_delayed().ravel())
    elif is_a(weights, *DASK_SERIES):
        parts = weights.to_delayed()
    elif isinstance(weights, (list, tuple)) and weights and is_a(weights[0], *DELAYED):
        parts = _delayed(weights)
    else:
        return None
    if len(parts) != len(rows.sizes):
        raise ValueError(
            f"sample_weight has {len(parts)} partitions, X has {len(rows.sizes)}: give weights "
            "with the partitions of X, or an array of all of them"
        )
    make = delayed(_pieces.make_weights, pure=False)
    return [make(part, number) for number, part in enumerate(parts)]


def joined(blocks, sizes, shape, dtype):
    """Delayed blocks of rows as one dask array; blocks without rows stay chunks of it.

    Parameters
    ----------
    blocks : list of Delayed
    sizes : list of int or nan
        Rows of each.
    shape : tuple of int
        Of a row.
    dtype : dtype
    """
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    name = f"tilewise-rows-{tokenize([block.key for block in blocks])}"
    behind = (0,) * len(shape)
    tasks = {(name, i, *behind): (_pieces.same, block.key) for i, block in enumerate(blocks)}
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=blocks)
    chunks = (tuple(sizes), *((width,) for width in shape))
    return da.Array(graph, name, chunks, dtype=np.dtype(dtype))


def _of_array(X):
    if X.ndim != 2:
        raise NotTaken(f"Expected 2D array, got {X.ndim}D array instead: rows have two dimensions.")
    if X.numblocks[1] != 1:
        raise NotTaken(
            f"the columns of this dask array are in {X.numblocks[1]} chunks, and a row must lie in "
            "one: call X.rechunk({1: -1}) first"
        )
    if X.dtype.kind not in "fiubO" and X.dtype.name != "bfloat16":
        raise NotTaken(f"Input X holds {X.dtype}, not numbers.")
    rows = None if np.isnan(X.shape[0]) else [int(size) for size in X.chunks[0]]
    columns = None if np.isnan(X.shape[1]) else int(X.shape[1])
    dtype = np.float32 if is_single(X) else np.float64
    item = _pieces.held_as(X.dtype).itemsize
    return Collected(_made(X.to_delayed().ravel(), X, None), columns, None, rows, dtype, item)


def _made(parts, collection, names):
    """Delayed pieces; `parts` that a future holds already are not theirs alone."""
    from dask import delayed
    from distributed import futures_of

    held = {future.key for future in futures_of(collection)}
    make = delayed(_pieces.make_piece, pure=False)
    return [make(part, i, names, part.key not in held) for i, part in enumerate(parts)]


def _delayed(parts):
    from dask import delayed

    return [delayed(part) if is_a(part, "distributed.Future") else part for part in parts]


def _files_in(path):
    if not os.path.isdir(path):
        return [path]
    found = [
        os.path.join(path, name)
        for name in sorted(os.listdir(path))
        if name.endswith((".npy", ".parquet"))
    ]
    if not found:
        raise NotTaken(f"{path} holds no .npy or .parquet file")
    return found


def _of_files(paths):
    from dask import delayed

    sources = [as_source(path) for path in paths]
    for path, source in zip(paths, sources, strict=True):
        if source.n_features != sources[0].n_features:
            raise NotTaken(
                f"{path} has {source.n_features} columns, {paths[0]} has {sources[0].n_features}"
            )
    rows = [source.n_rows for source in sources]
    names = names_of(sources[0])
    orders = [
        order_of(names, names_of(source), path, paths[0])
        for path, source in zip(paths, sources, strict=True)
    ]
    make = delayed(_pieces.load, pure=False)
    tasks = [make(os.path.abspath(path), order) for path, order in zip(paths, orders, strict=True)]
    dtype = np.result_type(*(source.dtype for source in sources))
    return Collected(tasks, sources[0].n_features, names, None if None in rows else rows, dtype)
