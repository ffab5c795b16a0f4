"""A function of tilewise for each partition of a dask collection; the results as dask arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.base import tokenize

from tilewise.metrics._validation import check_rows, is_single, read_rows
from tilewise.sources._errors import fault

from ._blocks import blocks_of, is_dask, rows_of

__all__ = ["lazily"]


@dataclass(frozen=True)
class _Search:
    """What every task needs beside its partition: sent once."""

    function: Callable[..., Any]
    parameters: dict[str, Any]
    Y: Any
    single: bool  # both sides are float32
    starts: tuple[int, ...] | None
    empty: tuple[Any, ...]  # the results for no rows


def lazily(function, X, Y, **parameters):
    """Return what `function` does for each partition of X, as dask arrays."""
    Y, names = _small(Y)
    _check_norms(parameters["metric_kwargs"])
    blocks = blocks_of(X, Y.shape[1], names)
    single = is_single(Y) and blocks.single is not False
    # A search for one row: it checks Y and the parameters, and tells the types of the results.
    row = Y[:1] if single else Y[:1].astype(np.float64)
    found = _results(function(row, Y, **parameters))
    empty = tuple(each[:0] for each in found)
    search = _Search(function, parameters, Y, single, blocks.starts, empty)
    sent = dask.delayed(search, pure=True, traverse=False)
    token = tokenize(blocks.array.name, blocks.names, sent.key)
    answers = blocks.array.map_blocks(
        _answer, search=sent, names=blocks.names, meta=np.empty((0, 0), dtype=object),
        name=f"{function.__name__}-partition-{token}",
    )  # fmt: skip
    arrays = tuple(
        da.blockwise(
            _pick, "ij"[: each.ndim], answers, "il", index, None, meta=each,
            new_axes={"j": each.shape[1]} if each.ndim == 2 else {}, concatenate=None,
            align_arrays=False, token=function.__name__,
        )
        for index, each in enumerate(empty)
    )  # fmt: skip
    return arrays if len(arrays) > 1 else arrays[0]


def _small(Y):
    """Y as an array of its own, which later changes do not reach, and the names of its columns."""
    if Y is None or is_dask(Y):
        raise ValueError(
            "Y must be rows in memory, few enough to send to each worker: pass an array, or "
            "Y.compute()"
        )
    Y, names = read_rows(Y)
    return check_rows(Y, "Y").copy(), names


def _check_norms(metric_kwargs):
    if isinstance(metric_kwargs, Mapping) and "X_norm_squared" in metric_kwargs:
        raise ValueError(
            "metric_kwargs has X_norm_squared, one number for each row of X, but the rows lie in "
            "partitions; leave it out, it never changes the result"
        )


def _results(found):
    return found if isinstance(found, tuple) else (found,)


def _pick(answers, index):
    (answer,) = answers
    return answer[index]


# ---------------------------------------------------------------- in a task


def _answer(part, search, names, block_id):
    """The results for one partition, a tuple of arrays."""
    where = f"partition {block_id[0]} of X"
    if search.starts is not None:
        where += f", which begins at row {search.starts[block_id[0]]}"
    try:
        rows = rows_of(part, names, where)
        if rows.shape[0] == 0:
            return search.empty
        rows = _as_expected(rows, search)
        return _results(search.function(rows, search.Y, **search.parameters))
    except (TypeError, ValueError) as error:
        what = str(error).removeprefix(f"{where}: ").replace(" of X.", " of the partition.")
        raise fault(where, what) from error


def _as_expected(rows, search):
    """The rows in the type that all partitions have together."""
    if search.single and not is_single(rows):
        raise ValueError(
            f"the rows are {rows.dtype}, but float32 is expected, which Y is; convert them to "
            "float32, or pass Y as float64"
        )
    if not search.single and is_single(rows) and is_single(search.Y):
        return rows.astype(np.float64)
    return rows
