"""Column moments, and the search for values that are not finite."""

from dataclasses import dataclass

import numpy as np

from tilewise.kernels import _csr, _exact
from tilewise.kernels._rows import Rows
from tilewise.plan import Plan, exact_shard_rows

from .stream import StreamRows

__all__ = ["Stats", "column_stats", "largest_finite", "raise_nonfinite"]

# Stored values that are looked at together.
_LOOK = 2**20


@dataclass(frozen=True)
class Stats:
    """Moments of the columns of a data set, each of shape (d,) in float64.

    Attributes
    ----------
    mean : ndarray
    variance : ndarray
        Population variance.
    largest : ndarray
        Largest absolute value.
    """

    mean: np.ndarray
    variance: np.ndarray
    largest: np.ndarray

    @property
    def shift(self) -> np.ndarray:
        """What to take from every row before summing: the mean where it dwarfs the spread.

        Elsewhere it would gain nothing, and where one outlier moves the mean away from all
        other rows it would cost them digits.
        """
        return np.where(np.abs(self.mean) > 8.0 * np.sqrt(self.variance), self.mean, 0.0)


def column_stats(rows: Rows, plan: Plan, *, origin: Rows | None = None) -> Stats:
    """Mean, variance and largest magnitude of each column, in one reading of the data.

    Where the rows were copied from others, `origin` holds those, picked: errors name its rows.

    Raises
    ------
    ValueError
        If a value is not finite; the message names the first such row and column.
    """
    if isinstance(rows, StreamRows):
        # Above this room in the file, below it in the order of what is needed.
        from .streampass import stream_stats

        return stream_stats(rows, plan)[0]
    if rows.is_sparse:
        mean, squares, largest = _csr.column_moments(rows, n_threads=plan.n_threads)
    else:
        mean, squares, largest = _exact.column_moments(
            rows,
            isa=plan.isa,
            shard_rows=exact_shard_rows(rows.n_rows, rows.n_features),
            n_threads=plan.n_threads,
        )
    if not (np.isfinite(mean).all() and np.isfinite(squares).all()):
        # Finite values near the end of the range overflow here too; only the search tells.
        raise_nonfinite(rows if origin is None else origin)
    return Stats(mean, squares / max(1, rows.n_rows), largest)


def largest_finite(rows: Rows, plan: Plan, *, origin: Rows | None = None) -> np.ndarray:
    """Largest magnitudes: of each column or, of CSR rows, of some stored values together.

    Raises what `column_stats` raises if a value is not finite.
    """
    if isinstance(rows, StreamRows) or not rows.is_sparse:
        return column_stats(rows, plan, origin=origin).largest
    largest = np.array([np.abs(values).max(initial=0.0) for values in rows.values(_LOOK)])
    if not np.isfinite(largest).all():
        raise_nonfinite(rows if origin is None else origin)
    return largest


def raise_nonfinite(rows: Rows, first: int = 0) -> None:
    """Raise the ValueError that names the first value that is not finite, if there is one."""
    found = rows.locate_nonfinite(first)
    if found is None:
        return
    row, column, kind = found
    if kind == "NaN":
        what = "NaN"
    else:
        what = f"infinity or a value too large for {rows.dtype!r}"
    raise ValueError(f"Input X contains {what}: the first is at row {row}, column {column}.")
