"""One pass over the rows: what enters is checked here, buffers are allocated here.

What enters: `Rows`, float64 centres in the coordinates of the data, a `Plan`. What leaves:
labels, sums, distances. The loops of `algorithms` call these passes; `kernels` run them.
Nothing below this line checks a shape again.
"""

from tilewise.engine.passes import Pass, assign, assign_inertia, distances, inertia, own_distances
from tilewise.engine.stats import Stats, column_stats, raise_nonfinite
from tilewise.kernels._rows import Rows

__all__ = [
    "Pass", "Rows", "Stats", "assign", "assign_inertia", "column_stats", "distances", "inertia",
    "own_distances", "raise_nonfinite",
]  # fmt: skip
