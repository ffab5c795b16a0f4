"""Rows that a program makes: callables that return batches, and iterators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tilewise._numbers import readable
from tilewise._text import first_line
from tilewise._typing import SupportsArray
from tilewise.sources._arrow import rows_of_table
from tilewise.sources._errors import SourceError
from tilewise.sources._names import frame_names, is_a, order_of
from tilewise.sources._protocol import check_shape, convert, delivered, wanted_dtype
from tilewise.sources._sequential import SequentialSource


class BatchSource(SequentialSource):
    """Batches from a callable that starts anew at each call, or from an iterator.

    Parameters
    ----------
    batches : callable or iterator
        A callable returns an iterable of arrays, data frames or pyarrow tables of shape
        (any, n_features). Columns with names are joined by them: in the order of the first batch.
        An iterator can be read once.
    n_features : int, optional
        Columns. By default the first batch is asked, and kept for the first pass.
    dtype : dtype-like, optional
        What to deliver. By default as the first batch says.
    name : str, optional
        What errors and progress call it.
    """

    name: str
    feature_names: tuple[str, ...] | None
    one_shot: bool
    n_features: int
    row_bytes: int
    held_bytes: int

    def __init__(
        self,
        batches: Callable[[], Iterable[SupportsArray]] | Iterator[SupportsArray],
        *,
        n_features: int | None = None,
        dtype: DTypeLike | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.one_shot = not callable(batches)
        self.name = name or f"rows from {_label(batches)}"
        self._given = batches
        self._returned = False
        self._named = False
        self._first = "the first batch"
        self.n_features = n_features
        self.dtype = wanted_dtype(dtype)
        self._asked_dtype = self.dtype
        if n_features is None or self.dtype is None:
            self._look()
        self.row_bytes = getattr(self, "row_bytes", self.n_features * self.dtype.itemsize)

    def fingerprint(self) -> dict[str, Any]:
        """Return what is known: nothing that would show other rows."""
        columns = {} if self.feature_names is None else {"columns": list(self.feature_names)}
        return self._uncounted("batches", name=self.name, **columns)

    def _look(self):
        """Take the first batch, to learn the width and the type, and keep it."""
        self._restart(0)
        if not self._advance():
            raise self._error(
                "has no rows, so the number of columns is not known; pass n_features and dtype, or "
                "rows"
            )

    def _blocks(self, start):
        if self.one_shot:
            batches = self._given
        else:
            try:
                returned = self._given()
                self._check_returned(returned)
                batches = iter(returned)
            except TypeError as error:
                raise self._error(
                    "must return an iterable of batches when called without arguments: "
                    f"{first_line(error)}"
                ) from error
            except SourceError:
                raise
            except Exception as error:
                raise self._failed(error) from error
            if batches is self._returned:
                raise self._error(
                    "returned the same iterator again, which was read already; make a new one in "
                    "each call",
                    row=0,
                )
            self._returned = batches
        return map(self._check, batches)

    def _check_returned(self, returned):
        """Refuse one array of rows, a common mistake: each row would be taken for a batch."""
        shape = getattr(returned, "shape", None)
        if isinstance(shape, tuple) and len(shape) == 2:
            raise self._error(
                f"returned one {type(returned).__name__} of shape {shape}, not an "
                "iterable of batches; pass what it returns instead of the callable, or return "
                "[rows], or write a generator function that yields the rows in parts"
            )

    def _check(self, batch):
        where = f"{self.name}, {self.block} {len(self._starts)}"
        if isinstance(batch, tuple):
            raise self._bad(f"{where}: is a tuple; yield the rows alone")
        try:
            values, names = self._rows_and_names(batch, where)
            check_shape(values.shape, where)
            dtype = delivered(values.dtype, None, where)
            order = self._order(names, where)
        except SourceError as error:
            error.source, error.shard, error.row = self.name, None, self._next
            raise
        except (ValueError, TypeError) as error:
            raise self._bad(f"{where}: is no array of numbers: {first_line(error)}") from error
        if self.n_features is None:
            self.n_features = values.shape[1]
        if self.dtype is None:
            self.dtype = dtype
        if not hasattr(self, "row_bytes"):
            self.row_bytes = values.shape[1] * values.dtype.itemsize
        if values.shape[1] != self.n_features:
            raise self._bad(
                f"{where}: {values.shape[1]} columns, but {self.n_features} are expected; "
                "all batches must have the same"
            )
        if self._asked_dtype is None and dtype != self.dtype:
            raise self._bad(
                f"{where}: dtype {values.dtype}, but the first batch was read as {self.dtype}; "
                "yield one dtype, or pass dtype"
            )
        self.held_bytes = max(self.held_bytes, values.nbytes)
        return values if order is None else values[:, order]

    @staticmethod
    def _rows_and_names(batch, where):
        if is_a(batch, "pyarrow.Table", "pyarrow.RecordBatch"):
            return rows_of_table(batch, where)
        values = np.asarray(readable(batch, "the batch", rows=True))
        if values.dtype.hasobject and all_numbers(batch):
            values = batch.to_numpy(np.float64, na_value=np.nan)
        return values, frame_names(batch)

    def _order(self, names, where):
        """Return how the columns of a batch are to be put in order; the first one sets it."""
        if not self._named:
            self._named = True
            if self.feature_names is None:
                self.feature_names = names
        return order_of(self.feature_names, names, where, self._first)

    def _bad(self, message):
        return SourceError(message, source=self.name, row=self._next)

    def _rows_of(self, block):
        return block.shape[0]

    def _copy(self, block, start, out, first):
        values = block[start : start + out.shape[0]]
        if values.dtype == out.dtype:
            out[...] = values
        else:
            convert(out, values, self, first)


def all_numbers(frame):
    """Whether all columns of a pandas data frame hold numbers, in types of pandas' own too."""
    return is_a(frame, "pandas.DataFrame") and all(
        getattr(dtype, "kind", "O") in "fiub" for dtype in frame.dtypes
    )


def _label(batches):
    name = getattr(batches, "__name__", None)
    if callable(batches):
        return "a callable" if name in (None, "<lambda>") else f"{name}()"
    kind = type(batches).__name__
    return f"the generator {name}" if name else f"an iterator ({kind})"
