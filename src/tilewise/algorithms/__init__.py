"""The loops, free of scikit-learn's types.

What enters: a `RowSet` of any backend, float64 centres, a `Plan`, absolute tolerances. What leaves:
plain records of arrays. Validation, parameters and attributes are `cluster`'s business;
numbers are the backend's. Nothing here imports what is below the seam.
"""

from tilewise.algorithms.lloyd import LloydResult, LloydState, lloyd
from tilewise.algorithms.minibatch import (
    MiniBatchProgress,
    MiniBatchResult,
    MiniBatchState,
    minibatch,
    minibatch_step,
)
from tilewise.algorithms.oversampling import kmeans_parallel
from tilewise.algorithms.seeding import kmeans_plusplus

__all__ = [
    "LloydResult", "LloydState", "MiniBatchProgress", "MiniBatchResult",
    "MiniBatchState", "kmeans_parallel", "kmeans_plusplus", "lloyd", "minibatch", "minibatch_step",
]  # fmt: skip
