"""A search for neighbours: rows, metric and blocks, whichever function asked."""

from copy import copy

import numpy as np

from tilewise import engine

from . import _door
from ._blocks import (
    DoorBlocks,
    KernelBlocks,
    argmin_blocks,
    nearest_blocks,
    radius_blocks,
)
from ._ranges import largest_rank, mend_nearest, mend_within, only_within
from ._table import METRICS, find
from ._terms import Terms, without_missing
from ._validation import check_finite, check_pair, result_dtype

__all__ = ["METRIC_NAMES", "Search"]

_EXTRA_NAMES = {alias for row in METRICS.values() for alias in row.neighbor_aliases}
#: What `metric` may be, beside a function of two rows.
METRIC_NAMES = _door.NAMES | set(METRICS) | _EXTRA_NAMES


class Search:
    """Two sets of rows and a metric, checked, and how its ranks become distances."""

    def __init__(self, X, Y, metric, metric_kwargs, n_threads):
        if not callable(metric) and metric not in METRIC_NAMES:
            raise ValueError(
                f"Unrecognized metric {metric!r}. Known are a function of two rows and "
                f"{', '.join(sorted(METRIC_NAMES))}."
            )
        self.row = find(metric, neighbors=True)
        self.X, self.Y = check_pair(X, Y)
        self.dtype = result_dtype(self.X, self.Y)
        self.shape = self.X.shape[0], self.Y.shape[0]
        self.n_threads = n_threads
        parameters = {} if metric_kwargs is None else dict(metric_kwargs)
        if self.row is not None:
            self.terms = Terms.of(self.row, parameters, self.X, self.Y, lenient=True)
            nan = self.row.name == "nan_euclidean" and self.terms.missing is None
        else:
            self.terms, nan = None, False
        # The canonical distance has an engine of its own, which finds bad values by itself.
        self._canonical = (
            self.row is not None
            and self.row.surrogate == "sqeuclidean"
            and self.terms.weights is None
        )
        if not self._canonical:
            self._check(nan)
        self._blocks = self._make_blocks(metric, parameters)
        if self.row is not None:
            t = self.terms
            self._what = {"kernel": t.surrogate, "p": t.p, "weights": t.weights}
            self._form = {"root": t.finish == "sqrt", "dtype": self.dtype}

    def _check(self, allow_nan=False):
        check_finite(self.X, "X", allow_nan=allow_nan)
        if self.Y is not self.X:
            check_finite(self.Y, "Y", allow_nan=allow_nan)

    def _run(self, search, *args, **more):
        x, y = self._blocks.rows_x, self._blocks.rows_y
        try:
            return search(x, y, *args, n_threads=self.n_threads, **more)
        except ValueError:
            self._check()  # says which of the two holds the value
            raise

    def _make_blocks(self, metric, parameters):
        X, Y = self.X, self.Y
        if self.row is None:
            self.dtype = np.dtype(np.float64)
            return DoorBlocks(X, Y, metric, parameters)
        if self.terms.missing is not None:
            same = Y is X
            X = without_missing(X, self.terms.missing)
            Y = X if same else without_missing(Y, self.terms.missing)
        return KernelBlocks(X, Y, self.terms, self.n_threads)

    def finish(self, values):
        """What ranked the neighbours, as the distances that are returned."""
        if self.row is not None:
            if self.row.largest_first:
                np.negative(values, out=values)
            elif self.terms.finish == "sqrt":
                np.sqrt(values, out=values)
            elif self.terms.finish == "square":
                np.square(values, out=values)
        with np.errstate(over="ignore"):
            return values.astype(self.dtype, copy=False)

    def nearest(self, k, out=(None, None)):
        """Distances and indices (n, k) of the k nearest rows, in `out` where that is possible."""
        distances, indices = self._nearest_finished(k, out)
        if self._squares():
            mend_nearest(self, k, distances, indices)
        return distances, indices

    def _nearest_finished(self, k, out=(None, None)):
        ranks, indices = self._nearest(k, out)
        return (ranks if self._canonical else self.finish(ranks)), indices

    def _squares(self):
        """Whether float64 may have no room for what ranks the neighbours."""
        return self.row is not None and self.row.degree > 0 and self.dtype == np.float64

    def scaled(self, scale, rows=None):
        """The same search among the rows times a power of two, of all rows of X or some.

        Its distances are those of these rows: of the degree of the metric in the scale.
        """
        other = copy(self)
        other._blocks = self._blocks.scaled(scale, rows)
        other.shape = other._blocks.shape
        return other

    def _nearest(self, k, out):
        if self._canonical:
            # Finished by the engine, in its threads.
            out = tuple(a if a is not None and a.flags.c_contiguous else None for a in out)
            return self._run(engine.argkmin, k, out=out, **self._form)
        if self.row is None or self.row.largest_first:
            return nearest_blocks(self._blocks, k, self.n_threads)
        ranks, indices = self._run(engine.argkmin_blocks, k, **self._what)
        if self.row.name == "nan_euclidean":
            # Rows without a common coordinate come last; infinity stands for their distance.
            ranks[np.isinf(ranks)] = np.nan
        return ranks, indices

    def argmin(self):
        """Distances and indices (n,) of the nearest rows."""
        if self.row is None or self.row.undefined:
            ranks, indices = argmin_blocks(self._blocks)
            return self.finish(ranks), indices
        distances, indices = self.nearest(1)
        return distances[:, 0], indices[:, 0]

    def within(self, radius, sort):
        """Offsets, distances, indices of the rows within a radius; by index, or nearest first."""
        if self._canonical and self._squares():
            return mend_within(self, radius, sort)
        return self.within_finished(radius, sort)

    def within_finished(self, radius, sort):
        """The same as long as squares of distances are in range."""
        offsets, ranks, indices = self._within(radius, sort)
        return offsets, self.finish(ranks), indices

    def _within(self, radius, sort):
        if self.row is None:
            return radius_blocks(self._blocks, radius, sort=sort, n_threads=self.n_threads)
        finish = self.terms.finish
        if not self._canonical:
            rank = largest_rank(radius, finish)
            return self._run(engine.radius_blocks, rank, sort=sort, **self._what)
        if finish == "sqrt":
            return self._run(engine.radius, radius, sort=sort)
        # The engine compares roots. The root of the radius lets all through that are within,
        # and what rounding lets through beside them goes here.
        offsets, ranks, indices = self._run(engine.radius, float(np.sqrt(radius)), sort=sort)
        return only_within(radius, offsets, ranks, indices)
