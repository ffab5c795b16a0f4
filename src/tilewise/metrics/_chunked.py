"""The matrix a few rows at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from numbers import Integral, Real
from typing import Any, Literal, TypeVar, overload

import numpy as np
import scipy.sparse as sp
from sklearn import get_config
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _num_samples

from tilewise._sklearn import validate_params
from tilewise._typing import (
    FloatMatrix,
    MatrixLike,
    MetricFunction,
    MetricName,
)

from . import _fallback
from ._call import MetricCall
from ._device import refuse_device
from ._pairwise import Matrix
from ._table import METRICS, find
from ._validation import THREADS, check_arrays, read_pair, readable_pair, thread_count

__all__ = ["pairwise_distances_chunked"]

_Reduced = TypeVar("_Reduced")


@overload
def pairwise_distances_chunked(
    X: MatrixLike, Y: MatrixLike | None = ..., *, reduce_func: None = ...,
    metric: MetricName | Literal["precomputed"] | MetricFunction = ..., n_jobs: int | None = ...,
    working_memory: float | None = ..., n_threads: int | None = ..., **kwds: Any,
) -> Iterator[FloatMatrix]: ...  # fmt: skip
@overload
def pairwise_distances_chunked(
    X: MatrixLike, Y: MatrixLike | None = ..., *,
    reduce_func: Callable[[FloatMatrix, int], _Reduced],
    metric: MetricName | Literal["precomputed"] | MetricFunction = ..., n_jobs: int | None = ...,
    working_memory: float | None = ..., n_threads: int | None = ..., **kwds: Any,
) -> Iterator[_Reduced]: ...  # fmt: skip
@validate_params(
    {
        "X": ["array-like", "sparse matrix"],
        "Y": ["array-like", "sparse matrix", None],
        "reduce_func": [callable, None],
        "metric": [StrOptions(set(_fallback.NAMES) | set(METRICS) | {"precomputed"}), callable],
        "n_jobs": [Integral, None],
        "working_memory": [Interval(Real, 0, None, closed="left"), None],
        **THREADS,
    },
    prefer_skip_nested_validation=False,  # the caller's reduce_func may call anything
)
def pairwise_distances_chunked(
    X: MatrixLike,
    Y: MatrixLike | None = None,
    *,
    reduce_func: Callable[[FloatMatrix, int], _Reduced] | None = None,
    metric: MetricName | Literal["precomputed"] | MetricFunction = "euclidean",
    n_jobs: int | None = None,
    working_memory: float | None = None,
    n_threads: int | None = None,
    **kwds: Any,
) -> Iterator[FloatMatrix] | Iterator[_Reduced]:
    """Generate the matrix of distances a few rows at a time.

    A chunk is computed when it is asked for, not before; parameters and shapes are checked by
    the call itself.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples_X, n_features)
        Rows; distances of shape (n_samples_X, n_samples_Y) if ``metric="precomputed"``, which
        are yielded in one piece.
    Y : {array-like, sparse matrix} of shape (n_samples_Y, n_features), default=None
        Other rows; None stands for ``X``.
    reduce_func : callable, default=None
        ``reduce_func(D_chunk, start)`` gets the distances of the rows from ``start`` on. What it
        returns is yielded in their place: None, a sequence, array or sparse matrix as long as the
        chunk, or a tuple of such. It may write to ``D_chunk``.
    metric : str or callable, default="euclidean"
        As in :func:`pairwise_distances`.
    n_jobs : int, default=None
        As in :func:`pairwise_distances`.
    working_memory : float, default=None
        MiB that a chunk may take, counted as if all distances were float64; None takes
        ``sklearn.get_config()["working_memory"]``. Chunks have at least one row.
    n_threads : int, default=None
        Number of threads; wins over ``n_jobs``. It never changes the result.
    **kwds : dict
        Parameters of the metric, as in :func:`pairwise_distances`.

    Yields
    ------
    D_chunk : ndarray of shape (n_rows, n_samples_Y), or what ``reduce_func`` made of it
        A new array each time.

    Raises
    ------
    ValueError
        If ``reduce_func`` returns something of another length.
    TypeError
        If it returns something that has no length.

    Examples
    --------
    >>> import numpy as np
    >>> from tilewise import pairwise_distances_chunked
    >>> X = np.array([[0.0], [1.0], [5.0]])
    >>> for D in pairwise_distances_chunked(X, working_memory=0.00005):
    ...     print(D)
    [[0. 1. 5.]
     [1. 0. 4.]]
    [[5. 4. 0.]]
    """
    row = find(metric)
    threads = thread_count(n_threads, n_jobs)
    refuse_device(X, Y, "pairwise_distances_chunked")
    X, Y = read_pair(X, Y)
    if row is None:
        return _fallback.chunks(
            *readable_pair(X, Y, metric), metric, reduce_func=reduce_func, n_jobs=n_jobs,
            working_memory=working_memory, **kwds,
        )  # fmt: skip
    X, Y = check_arrays(X, Y)
    if not row.sparse and (sp.issparse(X) or sp.issparse(Y)):
        raise TypeError(f"the metric {metric!r} does not take sparse rows")
    matrix = Matrix(X, Y, MetricCall.of(row, kwds, X, Y), n_threads=threads)
    step = _chunk_rows(matrix.shape, working_memory)
    return _chunks(matrix, step, reduce_func)


def _chunk_rows(shape, working_memory):
    """Rows of a chunk, as scikit-learn counts them: a reduce_func sees the same chunks."""
    n_x, n_y = shape
    if working_memory is None:
        working_memory = get_config()["working_memory"]
    rows = int(working_memory * 2**20 // (8 * n_y))
    if rows < 1:
        warnings.warn(
            f"Could not adhere to working_memory config. Currently {working_memory:.0f}MiB, "
            f"{np.ceil(8 * n_y / 2**20):.0f}MiB required.",
            stacklevel=3,
        )
    return min(max(1, rows), n_x)


def _chunks(matrix, step, reduce_func):
    n_x, n_y = matrix.shape
    for first in range(0, n_x, step):
        D = np.empty((min(step, n_x - first), n_y), dtype=matrix.dtype)
        matrix.fill(D, first, fresh=True)
        if reduce_func is not None:
            n_rows = len(D)
            D = reduce_func(D, first)
            _check_reduced(D, n_rows)
        yield D
        # The generator must not hold a chunk that the caller is done with.
        del D


def _check_reduced(reduced, n_rows):
    """Check that what reduce_func returned has one entry per row of the chunk."""
    if reduced is None:
        return
    parts = reduced if isinstance(reduced, tuple) else (reduced,)
    if any(isinstance(part, tuple) or not hasattr(part, "__iter__") for part in parts):
        raise TypeError(
            f"reduce_func returned {reduced!r}. Expected sequence(s) of length {n_rows}."
        )
    lengths = tuple(_num_samples(part) for part in parts)
    if any(length != n_rows for length in lengths):
        actual = lengths if isinstance(reduced, tuple) else lengths[0]
        raise ValueError(
            f"reduce_func returned object of length {actual}. "
            f"Expected same length as input: {n_rows}."
        )
