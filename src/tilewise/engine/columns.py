"""Columns that CSR rows use: a fit of rows that store nothing in most columns leaves those out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from tilewise.kernels._workspace import aligned_empty
from tilewise.plan import Plan

__all__ = ["Columns"]

# Fewer columns take no time worth a copy of the rows.
_FEWEST = 4096
# Most of the columns that may be used: else passes gain less than a quarter.
_MOST_USED = 0.75
# Bytes of a stored entry of the copy, value and column, at most; and of a number of the centres in
# all its forms: old, new, summed and packed.
_ENTRY_BYTES, _CENTER_BYTES = 12, 36


@dataclass(frozen=True, eq=False)
class Columns:
    """Where the columns of CSR rows go that have a stored entry; without `places` they all stay.

    Centres are zero in the others, and a zero adds nothing to a distance. A canonical distance
    (``docs/exact-labels.md``) has a running sum for each remainder of the column's number by eight,
    in which the columns follow one another: they keep their remainder and that order, so every bit
    of a distance stays.

    Attributes
    ----------
    places : ndarray of shape (d,), int32, or None
    used : ndarray of shape (m,), int64, or None
        Numbers of the columns that are kept.
    width : int
        Columns there are then: m, and a few that fill up eights.
    """

    places: np.ndarray | None = None
    used: np.ndarray | None = None
    width: int = 0

    @classmethod
    def of(cls, rows, n_clusters: int, init=None) -> Columns:
        """The columns that a fit of some rows needs: all, unless it takes less memory without some.

        Parameters
        ----------
        rows : RowSet of shape (n, d)
        n_clusters : int
        init : str, callable or ndarray of shape (k, d), optional
            Where the fit starts. What a callable returns is not known: it needs all columns.
        """
        d = rows.n_features
        if not rows.is_sparse or d < _FEWEST or callable(init):
            return cls()
        # Columns that have to go before that takes less memory than the copy.
        needed = rows.stored * _ENTRY_BYTES / (n_clusters * _CENTER_BYTES)
        if needed > d:
            return cls()
        used = rows.used_columns()
        if isinstance(init, np.ndarray):
            used |= init.any(axis=0)
        numbers = np.flatnonzero(used)
        lanes = numbers % 8
        width = 8 * max(1, int(np.bincount(lanes).max(initial=0)))
        if width > min(_MOST_USED * d, d - needed):
            return cls()
        places = np.zeros(d, dtype=np.int32)
        for lane in range(8):
            own = numbers[lanes == lane]
            places[own] = np.arange(lane, lane + 8 * own.size, 8)
        return cls(places, numbers, width)

    def __bool__(self):
        return self.places is not None

    def rows(self, rows):
        """The rows without the other columns."""
        return rows.folded(self.places, self.width) if self else rows

    def values(self, values):
        """Rows of values (m, d), or what else is no array, without the other columns."""
        if not self or not isinstance(values, np.ndarray):
            return values
        out = np.zeros((*values.shape[:-1], self.width), dtype=values.dtype)
        out[..., self.places[self.used]] = values[..., self.used]
        return out

    def undone(self, values):
        """Rows of values (m, width), or one row, with zeros in the other columns."""
        if not self:
            return values
        shape = (*values.shape[:-1], self.places.size)
        # Zeros, on a cache line: centres go to users as they are.
        room = aligned_empty(math.prod(shape) * values.itemsize)
        out = room.view(values.dtype).reshape(shape)
        out[..., self.used] = values[..., self.places[self.used]]
        return out

    def planned(self, plan: Plan) -> Plan:
        """The plan, which says so."""
        if not self:
            return plan
        said = (
            f"{self.used.size} of {self.places.size}: the rows store nothing in the others, where "
            f"centres are zero. {self.width} with zeros that fill up eights; one copy of the rows."
        )
        return replace(plan, reasons={"columns": said, **plan.reasons})
