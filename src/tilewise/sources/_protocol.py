"""What a source of rows offers, and what all of ours share."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from tilewise._numbers import BFLOAT16, widened
from tilewise._typing import FloatDtype, FloatMatrix
from tilewise.sources._errors import SourceError, fault

if TYPE_CHECKING:
    from typing import Self


@runtime_checkable
class RowSource(Protocol):
    """Rows of numbers that lie somewhere else than in memory.

    Any object with these members may be passed where tilewise takes a source.

    Attributes
    ----------
    name : str
        What errors and progress call it.
    n_rows : int or None
        None where it is not known before the first pass.
    n_features : int
        Columns, at least one.
    dtype : numpy.dtype
        What `read` delivers: native float32 or float64.
    one_shot : bool
        The rows can be read once only, in order.
    random_access : bool
        ``read(first, ...)`` costs the same for any `first`. Otherwise `first` is the next unread
        row or 0; what else a source accepts is its own business.
    row_bytes : int
        Bytes per row as stored.

    Notes
    -----
    A source may have two members more: `held_bytes`, the most that it holds in memory beside
    `out`, and `feature_names`, the names of its columns (a sequence of texts, or None).
    Estimators keep the names and compare them.
    """

    if TYPE_CHECKING:
        # Nobody sets them from outside: a source may have narrower types, or properties.
        @property
        def name(self) -> str: ...
        @property
        def n_rows(self) -> int | None: ...
        @property
        def n_features(self) -> int: ...
        @property
        def dtype(self) -> FloatDtype: ...
        @property
        def one_shot(self) -> bool: ...
        @property
        def random_access(self) -> bool: ...
        @property
        def row_bytes(self) -> int: ...

    else:
        name: str
        n_rows: int | None
        n_features: int
        dtype: np.dtype
        one_shot: bool
        random_access: bool
        row_bytes: int

    def read(self, first: int, out: FloatMatrix, /) -> int:
        """Fill `out` with the rows from `first` on; return how many there were."""
        ...

    def locate(self, row: int, /) -> str:
        """Return what people call this row: its file and its number there."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Return what must be equal for rows to be the same, for JSON."""
        ...

    def close(self) -> None:
        """Let go of files."""


# The members by which an object of somebody else's is known for a source.
MEMBERS = ("read", "locate", "fingerprint", "close", "n_rows", "n_features", "dtype", "one_shot",
           "random_access", "row_bytes", "name")  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What `as_source` was asked for beside the object itself."""

    n_features: int | None = None
    dtype: FloatDtype | None = None
    streamed: bool = False
    columns: tuple[str, ...] | None = None


class Source:
    """What the sources of this room share: checks before a read, the bounds of the rows.

    A subclass sets the attributes of `RowSource` and offers ``_fill(first, out)``, which is
    called with rows that exist, and ``_begin()``, called before row 0 is read.

    Attributes
    ----------
    held_bytes : int
        The most that is held in memory beside `out` while rows are read, as far as the source
        can tell: a decoded chunk, a record batch, a staging buffer.
    feature_names : tuple of str or None
        Names of the columns, where the rows have any.
    """

    name: str
    n_rows: int | None
    n_features: int
    dtype: FloatDtype
    row_bytes: int
    one_shot: bool = False
    random_access: bool = True
    held_bytes: int = 0
    feature_names: tuple[str, ...] | None = None

    if TYPE_CHECKING:

        def fingerprint(self) -> dict[str, Any]: ...

    def read(self, first: int, out: FloatMatrix) -> int:
        """Fill `out` with rows.

        Parameters
        ----------
        first : int
            Row to begin with.
        out : numpy.ndarray of shape (rows, n_features)
            C-contiguous, of type `dtype`.

        Returns
        -------
        int
            How many rows were filled: fewer than asked only where the rows end.

        Raises
        ------
        SourceError
            If the rows cannot be read as promised.
        """
        first = self._checked(first, out)
        if first == 0:
            self._begin()
        count = max(0, min(out.shape[0], self.n_rows - first))
        if count:
            self._fill(first, out[:count])
        return count

    def locate(self, row: int) -> str:
        """Return what people call this row."""
        return f"{self.name}, row {row}"

    def _error(self, what, row=None):
        return fault(self.name, f"{what}", row=row)

    def _identified(self, kind, **more):
        """Return the fingerprint of rows of a known number."""
        shape = [self.n_rows, self.n_features]
        return {"kind": kind, "shape": shape, "dtype": self.dtype.str, **more}

    def _uncounted(self, kind: str, **more: object) -> dict[str, object]:
        """Return the fingerprint of rows whose number need not be known."""
        return {"kind": kind, "n_features": self.n_features, "dtype": self.dtype.str, **more}

    def close(self) -> None:
        """Let go of files; the next read opens them again where that is possible."""

    def _begin(self):
        pass

    def _checked(self, first, out):
        first = operator.index(first)
        if first < 0:
            raise ValueError(f"first must not be negative, got {first}")
        if (
            not isinstance(out, np.ndarray)
            or out.ndim != 2
            or out.shape[1] != self.n_features
            or out.dtype != self.dtype
            or not out.dtype.isnative
            or not out.flags.c_contiguous
            or not out.flags.writeable
        ):
            raise ValueError(
                f"out must be a writeable C-contiguous {self.dtype} array of "
                f"{self.n_features} columns"
            )
        return first

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        rows = "unknown" if self.n_rows is None else self.n_rows
        return (
            f"<{type(self).__name__} {self.name!r}: {rows} × {self.n_features}, "
            f"{np.dtype(self.dtype).name}>"
        )


def delivered(stored, wanted, name, hint="convert it to float32 or float64"):
    """Return the type in which rows of a stored type are delivered.

    float32 stays; other real numbers become float64, as they do in memory. Types that NumPy does
    not have, such as bfloat16, become float32. `wanted` overrides.
    """
    stored = np.dtype(stored)
    foreign = stored == BFLOAT16 or stored.type.__module__ == "ml_dtypes"
    if stored.kind not in "fiub" and not foreign:
        if stored == np.dtype("V2"):
            hint = (
                "if it is bfloat16, which NumPy saves without its name, pass "
                "numpy.load(path, mmap_mode='r').view(ml_dtypes.bfloat16)"
            )
        kind = "Python objects" if stored.hasobject else f"dtype {stored}"
        raise fault(name, f"expected real numbers, got {kind}; {hint}")
    if wanted is not None:
        return wanted_dtype(wanted)
    single = foreign or (stored.kind == "f" and stored.itemsize == 4)
    return np.dtype(np.float32 if single else np.float64)


def wanted_dtype(dtype):
    """Check the type that somebody asked for."""
    if dtype is None:
        return None
    dtype = np.dtype(dtype)
    if not dtype.isnative or dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype must be float32 or float64, got {dtype}")
    return dtype


def check_shape(shape, name):
    """Return (rows, columns), or say why this is no table."""
    if len(shape) != 2:
        hint = "reshape it to (rows, columns)" if len(shape) != 1 else "reshape it with (-1, 1)"
        raise fault(
            name, f"expected rows and columns, got an array of shape {tuple(shape)}; {hint}"
        )
    if shape[1] == 0:
        raise fault(
            name,
            f"the rows have no columns, its shape is {tuple(shape)}; it must have at least one",
        )
    return shape


def convert(out, values, source, first):
    """Copy `values` into `out`, converting; `first` is the row of the first, for messages."""
    values = widened(values)
    # Entering errstate costs as much as a thousand numbers; only narrowing needs it.
    if values.dtype.itemsize <= out.itemsize:
        out[...] = values
        return
    try:
        with np.errstate(over="raise"):
            out[...] = values
    except FloatingPointError:
        with np.errstate(over="ignore"):
            lost = np.isfinite(values) & np.isinf(values.astype(out.dtype))
        row, column = (int(index) for index in np.argwhere(lost)[0])
        raise SourceError(
            f"{source.locate(first + row)}, column {column}: {values[row, column]} is too large "
            f"for {out.dtype}; read it as float64",
            source=source.name,
            row=first + row,
        ) from None
