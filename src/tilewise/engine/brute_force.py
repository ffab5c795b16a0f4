"""The k nearest rows of a short Y: all canonical distances are computed and ranked."""

import numpy as np

from tilewise.kernels import _brute_force, _exact
from tilewise.kernels._rows import Rows
from tilewise.plan.neighbors import NeighborPlan

__all__ = ["argkmin_brute_force"]

# Differences and comparisons between two checks for Ctrl-C, per thread: about 0.25 seconds.
_UNINTERRUPTED = 2**29


def argkmin_brute_force(
    rows_x: Rows, rows_y: Rows, k: int, plan: NeighborPlan, *, root=False, dtype=np.float64,
    out=(None, None),
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The k rows of Y closest to every row of X: see `tilewise.engine.argkmin`.

    `plan` has the method "brute force", and Y at most ``kernels._brute_force.most_rows`` rows.
    """
    n, m, d = rows_x.n_rows, rows_y.n_rows, rows_x.n_features
    y = _exact.padded(rows_y.take(np.arange(m)))
    distances = np.empty((n, k), dtype=dtype) if out[0] is None else out[0]
    indices = np.empty((n, k), dtype=np.int64) if out[1] is None else out[1]
    step = max(1, _UNINTERRUPTED * plan.n_threads // (m * (max(8, d) + m // 2)))
    # The interpreter checks for Ctrl-C between two calls.
    for first in range(0, n, step):
        part = slice(first, first + step)
        if not _brute_force.rank_all(
            rows_x, y, first, distances[part], indices[part], root=root, isa=plan.isa,
            n_threads=plan.n_threads,
        ):  # fmt: skip
            # If all values are finite, distances overflowed, and infinity is right.
            rows_y.raise_nonfinite()
            rows_x.raise_nonfinite(first)
    return distances, indices
