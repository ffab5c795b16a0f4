"""The same answers from more than one machine: tilewise over the collections of dask.

What enters: dask arrays, dask data frames, lists of delayed objects or futures; for estimators also
files that all workers can read. What leaves: models, and dask arrays that stay on the workers.
Every result has the bits of the plain class or function of the same name in memory, whatever the
partitions, the workers and their deaths.

A map of the room, from the top; each module may use those below it:

    _estimators   KMeans, MiniBatchKMeans: scikit-learn's contract, results that stay on the workers
    _backend      the cluster as a place to run: a row of `tilewise.engine.BACKENDS`
    _passes       passes over all parts, as the loops of `algorithms` call them
    _seeding      k-means++ over all parts
    _rows         which worker has which rows, and tasks over all of them
    _collect      from arrays, data frames, delayed objects and files to partitions
    _part         passes over the rows of one worker: what runs there
    _pieces       partitions as arrays of rows, and tasks over single ones
    _report       what a fit will take, and what it took
    _wire         sums of clusters on their way
    _neighbors    the nearest rows of a small Y, and those within a radius
    _lazy         a plain function for each block, its results as dask arrays
    _blocks       dask collections of any kind as one array of blocks of rows

This folder needs dask and distributed, so nothing else in tilewise imports it.
"""

try:
    import dask.array  # noqa: F401
    import distributed  # noqa: F401
except ModuleNotFoundError as _error:
    if str(_error.name).partition(".")[0] not in ("dask", "distributed"):
        raise  # both are there, and something that they need is not
    raise ImportError(
        'tilewise.dask needs dask and distributed; run: pip install "tilewise[dask]"'
    ) from _error

from tilewise import engine
from tilewise.dask._backend import ClusterBackend
from tilewise.dask._estimators import KMeans, MiniBatchKMeans
from tilewise.dask._neighbors import (
    argkmin,
    pairwise_distances_argmin,
    pairwise_distances_argmin_min,
    radius_neighbors,
)
from tilewise.dask._report import ClusterPlan, ClusterReport

__all__ = [
    "ClusterPlan", "ClusterReport", "KMeans", "MiniBatchKMeans", "argkmin",
    "pairwise_distances_argmin", "pairwise_distances_argmin_min", "radius_neighbors",
]  # fmt: skip

engine.register(ClusterBackend())
