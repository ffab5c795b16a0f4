"""The loops, free of scikit-learn's types.

What enters: `engine.Rows`, float64 centres, a `Plan`, absolute tolerances. What leaves:
plain records of arrays. Validation, parameters and attributes are `cluster`'s business;
numbers are the `engine`'s.
"""

from tilewise.algorithms.lloyd import LloydResult, LloydState, lloyd
from tilewise.algorithms.minibatch import (
    ENDLESS,
    DrawnBatches,
    MiniBatchProgress,
    MiniBatchResult,
    MiniBatchState,
    minibatch,
    minibatch_step,
)
from tilewise.algorithms.seeding import kmeans_plusplus

__all__ = [
    "ENDLESS", "DrawnBatches", "LloydResult", "LloydState", "MiniBatchProgress", "MiniBatchResult",
    "MiniBatchState", "kmeans_plusplus", "lloyd", "minibatch", "minibatch_step",
]  # fmt: skip
