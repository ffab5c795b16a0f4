"""Partitions on the workers, as arrays of rows, and tasks over single ones."""

import hashlib

import numpy as np

from tilewise import engine
from tilewise._numbers import BFLOAT16, as_real, readable
from tilewise.metrics._validation import check_rows, is_single, read_rows
from tilewise.sources._names import order_of

__all__ = [
    "BadValue", "Piece", "PieceRows", "counted", "describe", "digest", "held_as", "kind_of", "load",
    "make_piece", "make_weights", "reordered", "rows_of", "same", "scaled", "slice_of", "take",
    "take_weights", "widen",
]  # fmt: skip

# Rows that are scaled at a time.
_LOOK_ROWS = 2**15


class BadValue(ValueError):
    """A value that is not finite, by the number of its row of all and its column."""

    def __init__(self, row, column, kind):
        super().__init__(row, column, kind)
        self.row, self.column, self.kind = row, column, kind


class Piece:
    """The rows of one partition, (n, d), C-contiguous; types of one and two bytes as they are.

    Attributes
    ----------
    values : ndarray
    owned : bool
        Whether nobody else on the cluster holds these bytes.
    names : tuple of str or None
        Of the columns.
    """

    def __init__(self, values, owned, names=None):
        self.values, self.owned, self.names = values, owned, names

    def __sizeof__(self):
        return 64 + (self.values.nbytes if self.owned else 0)

    def __reduce__(self):
        return Piece, (self.values, True, self.names)


def held_as(dtype):
    """The type in which rows are held: narrow ones as they are, in native byte order."""
    if dtype == BFLOAT16 or dtype.name == "bfloat16":
        return BFLOAT16
    if dtype.kind in "biuf" and dtype.itemsize <= 2:
        return dtype.newbyteorder("=")
    return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize == 4 else np.float64)


def kind_of(values):
    """The type that rows count as, as in memory: float32 for float32 and bfloat16, else float64."""
    return np.dtype(np.float32 if is_single(values) else np.float64)


def counted(values):
    """Rows in the type that they count as; a copy if that is another."""
    kind = kind_of(values)
    return values if values.dtype == kind else engine.Rows(values, kind).take(range(len(values)))


def rows_of(values, exponent):
    """Rows times a power of two, for kernels that take the type that they count as."""
    if exponent:
        return engine.Rows(scaled(counted(values), exponent))
    return engine.Rows(values, kind_of(values))


def make_piece(block, partition, names, owned):
    """Make the rows of a block: an array, or a data frame whose columns are taken by name.

    Parameters
    ----------
    block : array, sparse matrix, data frame or table
    partition : int
    names : tuple of str or None
        Columns in their order; None takes them as they are.
    owned : bool
        Whether nobody else holds the block.
    """
    where = f"partition {partition}"
    given, found = read_rows(block)
    shape = getattr(given, "shape", None) or np.shape(given)
    if len(shape) != 2:
        raise ValueError(f"{where} has {len(shape)} dimensions; rows have two")
    order = None
    if names is not None and found is not None:
        order = order_of(tuple(names), found, where, "the data")
    if shape[0]:
        values = check_rows(given, where)
        values = values.toarray() if hasattr(values, "toarray") else values
        values = values if order is None else values[:, order]
    else:
        values = np.asarray(given.toarray() if hasattr(given, "toarray") else given)
    made = np.ascontiguousarray(values, dtype=held_as(values.dtype))
    shared = isinstance(block, np.ndarray) and np.may_share_memory(made, block)
    return Piece(made, owned or not shared, found if names is None else names)


def reordered(piece, order):
    """The same rows with their columns in another order."""
    return Piece(np.ascontiguousarray(piece.values[:, order]), True, None)


def load(path, order):
    """The rows of a file that this worker can read, with their columns in an order."""
    from tilewise.sources import as_source

    source = as_source(path)
    values = np.empty((engine.count_rows(source), source.n_features), dtype=source.dtype)
    got = source.read(0, values)
    if got != len(values):
        raise ValueError(f"{source.name}: {got} of {len(values)} rows could be read")
    return Piece(values if order is None else np.ascontiguousarray(values[:, order]), True)


def digest(piece):
    """A short text that tells the rows of a piece from others."""
    found = hashlib.blake2b(digest_size=16)
    for first in range(0, len(piece.values), _LOOK_ROWS):
        found.update(memoryview(counted(piece.values[first : first + _LOOK_ROWS])).cast("B"))
    return found.hexdigest()


def scaled(values, exponent):
    """Rows times a power of two, in float64; as they are if that is one."""
    return np.ldexp(values.astype(np.float64), exponent) if exponent else values


def widen(piece):
    """The same rows in float64."""
    return Piece(counted(piece.values).astype(np.float64), True)


def make_weights(block, partition):
    """The weights of a partition's rows, (n,) float64."""
    values = block.to_numpy() if hasattr(block, "to_numpy") else block
    values = as_real(np.asarray(readable(values, "sample_weight")), "sample_weight")
    values = np.ascontiguousarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {values.ndim}D array in partition "
            f"{partition}."
        )
    return values


def describe(held):
    """Shape, type and names of a piece; length and magnitudes of weights."""
    if isinstance(held, Piece):
        return (*held.values.shape, kind_of(held.values).name, held.names)
    bad = np.flatnonzero(~np.isfinite(held))
    first = (int(bad[0]), "NaN" if np.isnan(held[bad[0]]) else "infinity") if bad.size else None
    return len(held), first, engine.weight_sizes(held)


class PieceRows:
    """Rows that lie in several arrays, which a window shows one after the other.

    Stands where `Rows` stands; row r of all pieces is row ``numbers(r)`` of all parts.
    """

    backend = "cpu"
    is_sparse = can_skip = False
    in_memory = is_direct = True
    given_density = 1.0
    report = None

    def __init__(self, pieces, firsts, exponent=0):
        self._pieces, self._firsts, self._exponent = pieces, firsts, exponent
        self._starts = np.cumsum([0, *map(len, pieces)])
        self.n_rows, self.n_features = int(self._starts[-1]), pieces[0].shape[1]
        kind = np.dtype(np.float64) if exponent else kind_of(pieces[0])
        self.compute_dtype = self.result_dtype = kind
        self.window = engine.Rows.open_window(self.n_rows, self.n_features, kind)

    def parts(self, wanted=None):
        """Yield (first, last) while the window shows these rows."""
        for piece, first in zip(self._pieces, self._starts, strict=False):
            if not len(piece):
                continue
            # Copies are small: of scaled and of narrow rows. Other pieces are shown where they lie.
            copied = self._exponent or piece.dtype != self.compute_dtype
            step = _LOOK_ROWS if copied else len(piece)
            for at in range(0, len(piece), step):
                shown = scaled(counted(piece[at : at + step]), self._exponent)
                self.window.show(int(first) + at, shown)
                yield int(first) + at, int(first) + at + len(shown)

    def numbers(self, rows):
        """Numbers among all rows of some of these."""
        rows = np.asarray(rows, dtype=np.int64)
        at = np.searchsorted(self._starts, rows, side="right") - 1
        return np.asarray(self._firsts, dtype=np.int64)[at] + rows - self._starts[at]

    def take(self, rows):
        """Rows by their numbers here, (m, d)."""
        out = np.empty((len(rows), self.n_features), dtype=kind_of(self._pieces[0]))
        for i, row in enumerate(rows):
            at = int(np.searchsorted(self._starts, row, side="right")) - 1
            own = row - self._starts[at]
            out[i] = counted(self._pieces[at][own : own + 1])[0]
        return scaled(out, self._exponent)

    @property
    def visible(self):
        """Those of the rows that the window shows."""
        return engine.Rows(np.array(self.window.source))

    def raise_nonfinite(self, first=0):
        """Raise `BadValue` for the first value that is not finite, if there is one."""
        for piece, start, number in zip(self._pieces, self._starts, self._firsts, strict=False):
            if start + len(piece) <= first:
                continue
            skip = max(0, first - int(start))
            found = engine.Rows(piece).locate_nonfinite(skip)
            if found is not None:
                row, column, kind = found
                raise BadValue(number + row, column, kind)


# ---------------------------------------------------------------- single rows


def take(piece, rows):
    """Rows of a piece by their numbers in it."""
    return counted(piece.values[rows])


def take_weights(weights, rows):
    """Weights by their numbers in the piece."""
    return weights[rows]


def slice_of(piece, first, last):
    """Consecutive rows of a piece."""
    return counted(piece.values[first:last])


def same(value):
    """The value, as the result of a task: it can be made again if its worker is lost."""
    return value
