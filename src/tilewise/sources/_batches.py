"""Rows that a program makes: callables that return batches, and iterators."""

import numpy as np

from tilewise._numbers import readable
from tilewise.sources._errors import SourceError, first_line
from tilewise.sources._protocol import check_shape, convert, delivered, wanted_dtype
from tilewise.sources._sequential import SequentialSource


class BatchSource(SequentialSource):
    """Batches from a callable that starts anew at each call, or from an iterator.

    Parameters
    ----------
    batches : callable or iterator
        A callable returns an iterable of arrays of shape (any, n_features). An iterator can be
        read once.
    n_features : int, optional
        Columns. By default the first batch is asked, and kept for the first pass.
    dtype : dtype-like, optional
        What to deliver. By default as the first batch says.
    """

    def __init__(self, batches, *, n_features=None, dtype=None):
        super().__init__()
        self.one_shot = not callable(batches)
        label = _label(batches)
        self.name = f"rows from {label}"
        self._given = batches
        self._returned = False
        self.n_features = n_features
        self.dtype = wanted_dtype(dtype)
        self._asked_dtype = self.dtype
        if n_features is None or self.dtype is None:
            self._look()
        self.row_bytes = getattr(self, "row_bytes", self.n_features * self.dtype.itemsize)

    def fingerprint(self):
        """Return what is known: nothing that would show other rows."""
        return {
            "kind": "batches",
            "name": self.name,
            "n_features": self.n_features,
            "dtype": self.dtype.str,
        }

    def _look(self):
        """Take the first batch, to learn the width and the type, and keep it."""
        self._restart(0)
        if not self._advance():
            raise SourceError(
                f"{self.name}: came without a row, so the number of columns is not known; "
                "pass n_features and dtype, or rows",
                source=self.name,
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
                raise SourceError(
                    f"{self.name}: called without arguments it must return an iterable of "
                    f"batches: {first_line(error)}",
                    source=self.name,
                ) from error
            except SourceError:
                raise
            except Exception as error:
                raise self._failed(error) from error
            if batches is self._returned:
                raise SourceError(
                    f"{self.name}: returned the same iterator again, which has been read; "
                    "make a new one in each call",
                    source=self.name,
                    row=0,
                )
            self._returned = batches
        return map(self._check, batches)

    def _check_returned(self, returned):
        """Rows alone, of which each would be taken for a batch, are what people return first."""
        shape = getattr(returned, "shape", None)
        if isinstance(shape, tuple) and len(shape) == 2:
            raise SourceError(
                f"{self.name}: returned one {type(returned).__name__} of shape {shape}, not an "
                "iterable of batches; pass what it returns instead of the callable, or return "
                "[rows], or write a generator function that yields the rows in parts",
                source=self.name,
            )

    def _check(self, batch):
        where = f"{self.name}, batch {len(self._starts)}"
        if isinstance(batch, tuple):
            raise self._bad(f"{where}: is a tuple; yield the rows alone")
        try:
            values = np.asarray(readable(batch, "the batch"))
        except (ValueError, TypeError) as error:
            raise self._bad(f"{where}: is no array of numbers: {first_line(error)}") from error
        try:
            check_shape(values.shape, where)
            dtype = delivered(values.dtype, None, where)
        except SourceError as error:
            error.source, error.shard, error.row = self.name, None, self._next
            raise
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
                "yield one dtype, or ask for one"
            )
        self.held_bytes = max(self.held_bytes, values.nbytes)
        return values

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


def _label(batches):
    name = getattr(batches, "__name__", None)
    if callable(batches):
        return "a callable" if name in (None, "<lambda>") else f"{name}()"
    kind = type(batches).__name__
    return f"the generator {name}" if name else f"an iterator ({kind})"
