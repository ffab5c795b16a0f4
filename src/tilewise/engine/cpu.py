"""The CPU as a backend: rows that lie in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewise.kernels._rows import Rows
from tilewise.plan import plan, seeds_at_once

from .center_distances import distances
from .few_seeding import FewSeeding
from .minibatch import BatchPass, DrawnBatches
from .oversampling import OversamplingPass
from .passes import Pass
from .seeding import SeedingPass
from .single import few_rows
from .stats import Stats, column_stats, largest_finite

__all__ = ["Cpu", "NoPairs", "Sample"]

# Labels that are looked at together, since NumPy makes wider copies of them.
_COUNTED_ROWS = 2**17
# Rows centred at a time; any number that keeps the temporary small will do.
_CENTRED_ROWS = 4096


@dataclass(frozen=True)
class Sample:
    """Rows from which a fit starts.

    Attributes
    ----------
    rows : RowSet
    weights : ndarray or None
    stats : Stats or None
        Of all rows, not only of these.
    """

    rows: object
    weights: np.ndarray | None
    stats: Stats | None = None


class NoPairs:
    """What a backend declines whose rows are all that it has: see `Backend` for the methods."""

    def open_pair(self, X, Y, device="auto"):
        """Distances of two arrays are for others, or for the functions of `tilewise.metrics`."""
        return None

    def computing(self, X, device):
        """Nothing has to be in force."""
        return None

    def on_host(self, X):
        """No array is this backend's alone."""
        return None


class Cpu(NoPairs):
    """Rows in memory, computed by this process; see `Backend` for the methods."""

    name = "cpu"

    @staticmethod
    def rows_of(X) -> Rows:
        """The rows of an ndarray or CSR matrix."""
        return Rows(X)

    def open_rows(self, X, request):
        """Take whatever can be made into an array or a CSR matrix."""
        return Rows(request.check(X))

    #: Few rows of an array need no plan.
    few_rows = staticmethod(few_rows)

    def plan(self, rows, n_clusters, *, batch_size=None, spare=True, **wishes):
        """Sizes of passes over the rows, or over so many of them at a time."""
        return plan(
            rows.n_rows if batch_size is None else batch_size, rows.n_features, n_clusters,
            np.dtype(rows.compute_dtype).name, direct=rows.is_direct,
            density=rows.density if rows.is_sparse else None,
            # Bounds of batches would not be used again; those of groups are for rows in memory.
            groups=None if batch_size is None and rows.in_memory else False,
            spare=spare and rows.in_memory and not rows.is_mapped, **wishes,
        )  # fmt: skip

    def open_weights(self, rows, weights, check):
        """One number for each row, in an array."""
        return check(weights, rows.n_rows)

    def plan_memory(self, rows, plan, memory_limit, **needs):
        """Nothing has to be planned: the rows are there, and what a pass adds to them is small."""
        return None

    def column_stats(self, rows, plan, *, origin=None):
        """Exact moments and magnitudes of the columns."""
        return column_stats(rows, plan, origin=origin)

    def largest_finite(self, rows, plan, *, origin=None):
        """Magnitudes up to the largest of all."""
        return largest_finite(rows, plan, origin=origin)

    def sample_size(self, rows, init_size, n_clusters, *, shown):
        """Data in memory are always used whole."""
        return None

    def sample(self, rows, plan, size, weights, random_state):
        """Start from any of the rows."""
        return Sample(rows, weights, column_stats(rows, plan))

    def sample_twice(self, rows, size, weights, random_state, *, given, judged):
        """Start from any of the rows; judge by rows drawn with replacement, like scikit-learn."""
        valid = random_state.randint(0, rows.n_rows, size).astype(np.int64, copy=False)
        own = None if weights is None else weights[valid]
        return Sample(rows, weights), Sample(rows.picked(valid), own)

    def open_assignment(self, rows, n_clusters, plan, **how):
        """Rows against one set of centres after another."""
        return Pass(rows, n_clusters, plan, **how)

    def open_seeding(self, rows, n_seeds, weights, plan):
        """Closest seed of every row."""
        if rows.in_memory and not rows.is_sparse:
            if seeds_at_once(rows.n_rows, rows.n_features, n_seeds):
                return FewSeeding(rows, n_seeds, weights, plan)
        return SeedingPass(rows, n_seeds, weights, plan)

    def open_oversampling(self, rows, weights, plan):
        """Closest candidate of every row."""
        return OversamplingPass(rows, weights, plan)

    def open_batch(self, rows, n_clusters, plan, weights=None):
        """All rows as one batch."""
        return BatchPass(rows, n_clusters, plan, weights=weights)

    def open_batches(self, rows, n_clusters, plan, weights, batch_size, random_state):
        """Batches drawn with replacement."""
        return DrawnBatches(rows, n_clusters, plan, weights, batch_size, random_state)

    def same_partition(self, labels, others, n_clusters):
        """Whether two arrays of labels differ by the names of the clusters at most."""
        renamed = np.full(n_clusters, -1, dtype=labels.dtype)
        renamed[labels] = others
        used = renamed[renamed >= 0]
        return len(np.unique(used)) == len(used) and np.array_equal(renamed[labels], others)

    def count_clusters(self, labels, n_clusters):
        """How many of the clusters are in an array of labels."""
        met = np.zeros(n_clusters, dtype=bool)
        for first in range(0, len(labels), _COUNTED_ROWS):
            met[labels[first : first + _COUNTED_ROWS]] = True
        return int(np.count_nonzero(met))

    def kept_labels(self, rows, labels):
        """The array."""
        return labels

    def kept(self, rows, values):
        """The array."""
        return values

    def centred(self, rows, mean, scale):
        """The rows less their mean, in an array."""
        out = np.empty((rows.n_rows, rows.n_features), dtype=rows.result_dtype)
        for first in range(0, len(out), _CENTRED_ROWS):
            part = slice(first, first + _CENTRED_ROWS)
            values = rows.take(np.arange(len(out))[part])
            np.subtract(scale.values(values), mean, out=out[part], casting="same_kind")
            if scale:
                out[part] = scale.undone(out[part])
        return out

    def distances(self, rows, centers, plan):
        """Euclidean distances to all centres, (n, k)."""
        return distances(rows, centers, plan)

    def mapped(self, rows, function, **needs):
        """All rows are one part."""
        yield function(rows)
