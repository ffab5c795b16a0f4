"""Dask collections of any kind, as one dask array whose blocks are the partitions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import dask
import dask.array as da
import numpy as np

from tilewise.metrics._validation import check_order, check_rows, is_single, read_rows
from tilewise.sources import SourceError, column_names
from tilewise.sources._errors import fault
from tilewise.sources._names import is_a, order_of
from tilewise.sources._partitions import (
    DASK_FRAMES,
    DASK_SERIES,
    DELAYED,
    refuse_series,
    stored_dtype,
)
from tilewise.sources._protocol import check_shape, delivered


@dataclass(frozen=True)
class Blocks:
    """Rows of a dask collection; nothing of it has been computed.

    Attributes
    ----------
    array : dask.array.Array of shape (rows, n_columns)
        One chunk of columns. A block may also be a data frame, a sparse matrix or a table.
    names : tuple of str, Delayed or None
        Names of the columns, in the order in which they are taken. None if there are none.
    single : bool or None
        Whether the rows, put together, are float32. None if only the parts can tell.
    """

    array: da.Array
    names: Any
    single: bool | None

    @property
    def starts(self) -> tuple[int, ...] | None:
        """The first row of each partition, None where sizes are not known."""
        sizes = self.array.chunks[0]
        return None if np.isnan(sizes).any() else tuple(accumulate(sizes[:-1], initial=0))


def blocks_of(X, n_columns, names):
    """Return the `Blocks` of a collection whose columns must match those of ``Y``.

    Parameters
    ----------
    X : dask array, dask data frame, Delayed, Future, or list of Delayed or Future
        Rows.
    n_columns : int
        Columns of ``Y``.
    names : tuple of str or None
        Their names.

    Raises
    ------
    ValueError
        If it is something else, or its columns are not those of ``Y``.
    """
    if is_a(X, *DELAYED):
        return _of_delayed([X], n_columns, names)
    if isinstance(X, list | tuple) and len(X) and is_a(X[0], *DELAYED):
        return _of_delayed(X, n_columns, names)
    if is_a(X, *DASK_SERIES):
        refuse_series(X, None)
    if is_a(X, "dask.Array"):
        blocks = _of_array(X)
    elif is_a(X, *DASK_FRAMES):
        blocks = _of_frame(X)
        check_order(blocks.names, names)
    else:
        raise ValueError(
            "X must be a dask array, a dask data frame, or a list of delayed objects or futures, "
            f"got {_kind(X)}; for rows in memory call the function of the same name in tilewise"
        )
    if blocks.array.shape[1] != n_columns:
        raise ValueError(
            "Incompatible dimension for X and Y matrices: "
            f"X.shape[1] == {blocks.array.shape[1]} while Y.shape[1] == {n_columns}"
        )
    return blocks


def is_dask(X) -> bool:
    """Whether it is a dask collection, a delayed object or a future, or a list of these."""
    first = X[0] if isinstance(X, list | tuple) and len(X) else X
    return is_a(first, "dask.Array", *DASK_FRAMES, *DASK_SERIES, *DELAYED)


def rows_of(part, names, where):
    """Return the rows of a computed partition, with the columns in the order of `names`.

    Parameters
    ----------
    part : array-like, sparse matrix, data frame or table
        A computed block.
    names : tuple of str or None
        Names of the columns of all partitions.
    where : str
        What errors call the partition.

    Returns
    -------
    ndarray or sparse matrix
        Of a real dtype; empty if the partition is.
    """
    rows, found = read_rows(part)
    shape = getattr(rows, "shape", None) or np.shape(rows)
    if shape and shape[0] == 0:
        return np.empty((0, 0))
    order = order_of(names, found, where, "the first partition")
    rows = check_rows(rows, where)
    return rows if order is None else rows[:, order]


# ---------------------------------------------------------------- kinds of collections


def _of_array(array):
    name = f"dask array {array.name}"
    check_shape(array.shape, name)
    if array.numblocks[1] > 1:
        raise fault(
            name,
            f"its columns are in {array.numblocks[1]} chunks; put them into one, "
            "X.rechunk({1: -1})",
        )
    delivered(array.dtype, None, name)
    return Blocks(array, None, is_single(array))


def _of_frame(frame):
    import pandas as pd

    name = f"dask data frame of {frame.npartitions} partitions"
    columns = list(zip(frame.columns, frame.dtypes, strict=True))
    if not columns:
        raise fault(name, "there are no columns; choose at least one")
    for column, kind in columns:
        stored_dtype(column, kind, name)
    row = pd.concat([pd.Series([1], dtype=kind) for _, kind in columns], axis=1)
    # The partitions stay data frames: only the collection is an array.
    array = frame.map_partitions(
        _unchanged, meta=np.empty((0, len(columns))), enforce_metadata=False
    )
    return Blocks(array, column_names(frame), is_single(check_rows(row, "X")))


def _of_delayed(parts, n_columns, names):
    for index, part in enumerate(parts):
        if not is_a(part, *DELAYED):
            raise SourceError(
                "a list that begins with a delayed object must hold only such objects, but item "
                f"{index} is {_kind(part)}; wrap it with dask.delayed"
            )
    meta = np.empty((0, n_columns))
    blocks = [da.from_delayed(part, (np.nan, n_columns), meta=meta) for part in parts]
    array = da.concatenate(blocks, allow_unknown_chunksizes=True)
    return Blocks(array, dask.delayed(_names, pure=True)(parts[0], names), None)


def _kind(X):
    return "None" if X is None else type(X).__name__


def _unchanged(part):
    return part


def _names(part, names):
    """The names of the first part, which all others follow, if Y has them in the same order."""
    found = read_rows(part)[1]
    check_order(found, names)
    return found
