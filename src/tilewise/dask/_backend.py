"""A cluster of dask workers as a place to run."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tilewise import engine
from tilewise.plan import parse_bytes

from . import _pieces
from ._passes import ClusterPass, column_stats
from ._report import plan_cluster
from ._rows import ClusterRows, open_cluster_rows
from ._seeding import ClusterOversampling, ClusterSeeding

__all__ = ["ClusterBackend", "OnCluster"]


@dataclass(frozen=True)
class OnCluster:
    """What an estimator of `tilewise.dask` was given; nobody else's data are taken."""

    X: Any
    client: Any
    wishes: dict[str, Any]


class ClusterBackend(engine.CpuStreams):
    """Rows in the memories of dask workers. See `tilewise.engine.backend.Backend`."""

    name = "dask"

    def open_rows(self, X, request):
        """Compute the partitions, where the cluster puts them."""
        if not isinstance(X, OnCluster):
            return None
        # The limit is not used, but a slip in it is told as elsewhere.
        parse_bytes(request.memory_limit)
        rows = open_cluster_rows(X.X, X.client, request)
        rows.wishes = X.wishes
        return rows

    def open_weights(self, rows, weights, check):
        """Weights where their rows are."""
        return rows.open_weights(weights, check)

    def plan_memory(self, rows, plan, memory_limit, *, init_rows, bounds=False, **needs):
        """What a fit asks of the workers. Rows without room were refused when they were opened."""
        parts = [sum(rows.sizes[i] for i in part.pieces) for part in rows.parts()]
        return plan_cluster(
            rows, parts, plan, init_rows=init_rows, bounds=bounds,
            seeded_from_all=needs.get("seeded_from_all", False), n_runs=needs.get("n_runs", 1),
            max_iter=needs.get("max_iter", 1), oversampled=needs.get("oversampled", False),
        )  # fmt: skip

    def column_stats(self, rows, plan, *, origin=None):
        """Exact moments of the columns, from those of the parts."""
        if not isinstance(rows, ClusterRows):
            return super().column_stats(rows, plan, origin=origin)
        return column_stats(rows, plan)

    def largest_finite(self, rows, plan, *, origin=None):
        """Largest magnitudes of the columns."""
        return self.column_stats(rows, plan, origin=origin).largest

    def sample(self, rows, plan, size, weights, random_state):
        """The rows that a stream draws, in memory; or all, where they are."""
        stats = column_stats(rows, plan)
        if size is None:
            return engine.Sample(rows, weights, stats)
        ids = engine.sampled(rows, size, random_state)
        X = rows.take(ids)
        return engine.Sample(engine.Rows(X), engine.weights_of(ids, weights), stats)

    def open_assignment(self, rows, n_clusters, plan, **how):
        """Passes over the parts."""
        return ClusterPass(rows, n_clusters, plan, **how)

    def open_seeding(self, rows, n_seeds, weights, plan):
        """Seeds from all rows, or from a sample in memory."""
        if not isinstance(rows, ClusterRows):
            return super().open_seeding(rows, n_seeds, weights, plan)
        return ClusterSeeding(rows, weights, plan)

    def open_oversampling(self, rows, weights, plan):
        """Candidates from all rows, or from a sample in memory."""
        if not isinstance(rows, ClusterRows):
            return super().open_oversampling(rows, weights, plan)
        return ClusterOversampling(rows, weights, plan)

    def open_batches(self, rows, n_clusters, plan, weights, batch_size, random_state, *, ahead=0):
        """Batches of a stream, which come to this process: a step needs the one before."""
        read = rows.reading = engine.StreamRows(ClusterSource(rows), rows.n_rows)
        own = None if weights is None else weights.array()
        return engine.ReadBatches(read, n_clusters, plan, own, batch_size, random_state)

    def same_partition(self, labels, others, n_clusters):
        """Compared where the labels are."""
        return labels.same_partition(others, n_clusters)

    def count_clusters(self, labels, n_clusters):
        """Counted when the labels were found."""
        return int(np.count_nonzero(labels.found))

    def kept_labels(self, rows, labels):
        """A dask array."""
        return labels.dask_array()

    def mapped(self, rows, function, **needs):
        """The rows a partition at a time, in this process."""
        for future in rows.futures:
            piece = rows.gather([future])[0]
            if len(piece.values):
                yield function(engine.Rows(piece.values))


class ClusterSource:
    """The rows of a cluster as a source: see `tilewise.sources.RowSource`."""

    one_shot = False
    random_access = True
    name = "the rows of the cluster"

    def __init__(self, rows):
        self._rows = rows
        self.n_rows, self.n_features = rows.n_rows, rows.n_features
        self.dtype = rows.result_dtype
        self.row_bytes = rows.n_features * self.dtype.itemsize

    def read(self, first, out):
        """Fill `out` with rows; return how many there were."""
        rows, last = self._rows, min(self.n_rows, first + len(out))
        starts = rows.starts
        wanted = [
            (i, max(first, int(starts[i])), min(last, int(starts[i + 1])))
            for i in range(
                int(np.searchsorted(starts, first, side="right")) - 1,
                int(np.searchsorted(starts, last, side="left")),
            )
        ]
        found = rows.gather(
            [
                rows.submit(
                    _pieces.slice_of, rows.futures[i], a - int(starts[i]), b - int(starts[i])
                )
                for i, a, b in wanted
            ]
        )
        for (_, a, b), values in zip(wanted, found, strict=True):
            out[a - first : b - first] = values
        return max(0, last - first)

    def locate(self, row):
        """Number of the row in its partition, and of the partition."""
        partition = int(np.searchsorted(self._rows.starts, row, side="right")) - 1
        return (
            f"row {row - self._rows.starts[partition]} of partition {partition}, row {row} of all"
        )
