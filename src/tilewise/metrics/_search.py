"""A search for neighbours: rows, metric and blocks, whichever function asked."""

from copy import copy

import numpy as np

from tilewise import engine

from . import _fallback
from ._call import MetricCall
from ._ranges import largest_rank, mend_nearest, mend_within, only_within
from ._table import METRICS, find
from ._validation import check_both_finite, check_pair, result_dtype

__all__ = ["METRIC_NAMES", "Search"]

_EXTRA_NAMES = {alias for row in METRICS.values() for alias in row.neighbor_aliases}
#: What `metric` may be, beside a function of two rows.
METRIC_NAMES = _fallback.NAMES | set(METRICS) | _EXTRA_NAMES


class Search:
    """Two sets of rows and a metric, checked, and how its ranks become distances."""

    def __init__(self, X, Y, metric, metric_kwargs, n_threads):
        if not callable(metric) and metric not in METRIC_NAMES:
            raise ValueError(
                f"Unrecognized metric {metric!r}. Pass a function of two rows, or one of "
                f"{', '.join(sorted(METRIC_NAMES))}."
            )
        self.row = find(metric, neighbors=True)
        self.X, self.Y = X, Y = check_pair(X, Y)
        self.shape = X.shape[0], Y.shape[0]
        self.n_threads = n_threads
        parameters = {} if metric_kwargs is None else dict(metric_kwargs)
        if self.row is None:
            self.call, self.dtype = None, np.dtype(np.float64)
        else:
            self.call = MetricCall.of(self.row, parameters, X, Y, lenient=True)
            self.dtype = result_dtype(X, Y)
        # The canonical distance has an engine of its own, which finds bad values by itself.
        self._canonical = (
            self.row is not None
            and self.row.surrogate == "sqeuclidean"
            and self.call.weights is None
        )
        if not self._canonical:
            check_both_finite(X, Y, allow_nan=self.row is not None and self.call.takes_nan)
        if self.row is None:
            self.blocks = _fallback.FallbackBlocks(X, Y, metric, parameters)
        else:
            self.blocks = engine.DistanceBlocks(
                *self.call.rows(X, Y), kernel=self.call.surrogate, p=self.call.p,
                weights=self.call.weights, negate=self.row.largest_first, n_threads=n_threads,
            )  # fmt: skip

    def _run(self, search, *args, **options):
        """A search by canonical distances; errors say which of X and Y holds the value."""
        try:
            return search(
                self.blocks.rows_x, self.blocks.rows_y, *args, n_threads=self.n_threads, **options
            )
        except ValueError:
            check_both_finite(self.X, self.Y)
            raise

    def finish(self, values):
        """What ranked the neighbours, as the distances that are returned."""
        if self.row is not None:
            if self.row.largest_first:
                np.negative(values, out=values)
            elif self.call.finish == "sqrt":
                np.sqrt(values, out=values)
            elif self.call.finish == "square":
                np.square(values, out=values)
        with np.errstate(over="ignore"):
            return values.astype(self.dtype, copy=False)

    def nearest(self, k, out=(None, None)):
        """Distances and indices (n, k) of the k nearest rows, in `out` where that is possible."""
        distances, indices = self.nearest_in_range(k, out)
        if self._squares():
            mend_nearest(self, k, distances, indices)
        return distances, indices

    def nearest_in_range(self, k, out=(None, None)):
        """The same as long as squares of distances are in range."""
        if self._canonical:
            # The threads of the engine turn ranks into distances.
            out = tuple(a if a is not None and a.flags.c_contiguous else None for a in out)
            root = self.call.finish == "sqrt"
            return self._run(engine.argkmin, k, out=out, root=root, dtype=self.dtype)
        ranks, indices = engine.argkmin_blocks(self.blocks, k, n_threads=self.n_threads)
        if self.row is None:
            _fallback.put_nan_last(self.blocks, ranks, indices)
        elif self.row.name == "nan_euclidean":
            # Rows without a common coordinate come last; infinity stands for their distance.
            ranks[np.isinf(ranks)] = np.nan
        return self.finish(ranks), indices

    def _squares(self):
        """Whether float64 may have no room for what ranks the neighbours."""
        return self.row is not None and self.row.degree > 0 and self.dtype == np.float64

    def scaled(self, scale, rows=None):
        """The same search among the rows times a power of two, of all rows of X or some.

        Its distances are those of these rows: of the degree of the metric in the scale.
        """
        other = copy(self)
        other.blocks = self.blocks.scaled(scale, rows)
        other.shape = other.blocks.shape
        return other

    def argmin(self):
        """Distances and indices (n,) of the nearest rows."""
        if self.row is None or self.row.undefined:
            ranks, indices = engine.argmin_blocks(self.blocks)
            return self.finish(ranks), indices
        distances, indices = self.nearest(1)
        return distances[:, 0], indices[:, 0]

    def within(self, radius, sort):
        """Offsets, distances, indices of the rows within a radius; by index, or nearest first."""
        if self._canonical and self._squares():
            return mend_within(self, radius, sort)
        return self.within_in_range(radius, sort)

    def within_in_range(self, radius, sort):
        """The same as long as squares of distances are in range."""
        offsets, ranks, indices = self._within(radius, sort)
        return offsets, self.finish(ranks), indices

    def _within(self, radius, sort):
        finish = None if self.row is None else self.call.finish
        if not self._canonical:
            rank = largest_rank(radius, finish)
            return engine.radius_blocks(self.blocks, rank, sort=sort, n_threads=self.n_threads)
        if finish == "sqrt":
            return self._run(engine.radius, radius, sort=sort)
        # The engine compares roots. The root of the radius includes all pairs that are within it,
        # and the few others that rounding includes are removed here.
        offsets, ranks, indices = self._run(engine.radius, float(np.sqrt(radius)), sort=sort)
        return only_within(radius, offsets, ranks, indices)
