"""The same answers from more than one machine: K-Means on a cluster of dask workers.

A map of the room, from the top; each module may use those below it:

    _estimators   KMeans, MiniBatchKMeans: scikit-learn's contract, results that stay on the workers
    _backend      the cluster as a place to run: a row of `tilewise.engine.BACKENDS`
    _passes       passes over all parts, as the loops of `algorithms` call them
    _seeding      k-means++ over all parts
    _rows         which worker has which rows, and tasks over all of them
    _collect      from arrays, data frames, delayed objects and files to partitions
    _part         what runs on the workers
    _report       what a fit will take, and what it took
    _wire         sums of clusters on their way

Import this only where dask and distributed are installed: ``pip install "tilewise[dask]"``.
"""

try:
    import dask.array  # noqa: F401
    import distributed  # noqa: F401
except ImportError as error:
    raise ImportError(
        f'tilewise.dask needs dask and distributed: pip install "tilewise[dask]" ({error})'
    ) from error

from tilewise import engine
from tilewise.dask._backend import ClusterBackend
from tilewise.dask._estimators import KMeans, MiniBatchKMeans

__all__ = ["KMeans", "MiniBatchKMeans"]

engine.register(ClusterBackend())
