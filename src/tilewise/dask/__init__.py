"""The functions of tilewise over the collections of dask.

What enters: dask arrays, dask data frames, lists of delayed objects or futures. What leaves: dask
arrays. Shapes, types and parameters are checked at the call, as far as dask knows them; values are
checked by the tasks that read them. Every result has the bits that the plain function of the same
name returns in memory, whatever the partitions and the workers.

    _blocks      dask collections of any kind as one array of blocks of rows
    _lazy        a plain function for each block, its results as dask arrays
    _neighbors   the nearest rows of a small Y, and those within a radius

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

from tilewise.dask._neighbors import (
    argkmin,
    pairwise_distances_argmin,
    pairwise_distances_argmin_min,
    radius_neighbors,
)

__all__ = [
    "argkmin", "pairwise_distances_argmin", "pairwise_distances_argmin_min", "radius_neighbors",
]  # fmt: skip
