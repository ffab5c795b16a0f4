"""One step of mini-batch K-Means: draw rows, assign them, move the centres."""

import math

import numpy as np

from tilewise.engine.passes import Pass
from tilewise.kernels import _minibatch
from tilewise.kernels._rows import Rows
from tilewise.plan import Plan
from tilewise.plan.thresholds import few_stored, worth_threads

__all__ = ["BatchPass", "DrawnBatches", "Draws", "squared_moves"]

Draws = _minibatch.Draws
squared_moves = _minibatch.squared_moves


class BatchPass:
    """A batch of rows that centres are moved by; buffers are made once for all steps.

    Parameters
    ----------
    rows : Rows of shape (n, d)
    n_clusters : int
    plan : Plan
        Of a pass over one batch.
    ids : ndarray of shape (b,), int64, optional
        The rows of the batch; they may be replaced between two steps. All rows by default.
    weights : ndarray of shape (b,), float64, optional

    Attributes
    ----------
    rows : Rows of shape (b, d)
        The batch, not a copy.
    """

    def __init__(self, rows: Rows, n_clusters: int, plan: Plan, *, ids=None, weights=None):
        self.rows = rows if ids is None else rows.picked(ids)
        self._pass = Pass(self.rows, n_clusters, plan)
        numbers = (self.rows.n_rows + n_clusters) * self.rows.n_features
        self._update = _minibatch.Update(
            self.rows, n_clusters, isa=plan.isa,
            n_threads=worth_threads(plan.n_threads, numbers, "centers"),
            by_entries=few_stored(self.rows, "rows one by one"),
        )  # fmt: skip
        self._weights = weights

    @property
    def labels(self) -> np.ndarray:
        """Labels of the last batch, (b,) int32, for the centres before they moved."""
        return self._pass.labels

    def step(self, centers: np.ndarray, moved: np.ndarray, counts: np.ndarray, stale=None) -> float:
        """Assign the batch to `centers`, write where they move to `moved`; returns the inertia.

        Parameters
        ----------
        centers, moved : ndarray of shape (k, d), float64, C-contiguous
            One array, if the centres may move where they stand.
        counts : ndarray of shape (k,), float64
            Weight that each centre stands for; that of the batch is added.
        stale : ndarray of shape (k,), uint8, optional
            Which centres differ from those of this object's last step, if not all may.

        Returns
        -------
        float
            Weighted sum of squared distances of the batch to `centers`.

        Raises
        ------
        ValueError
            If a row of the batch holds a value that is not finite. Nothing has moved then.
        """
        self._pass.assign(centers, stale)
        return self.move(self._pass.labels, centers, moved, counts, self._pass.center_norms)

    def move(self, labels, centers, moved, counts, norms=None) -> float:
        """The same for rows that have been assigned; `norms` (k,) are those of the centres."""
        return self._update.run(labels, centers, moved, counts, self._weights, norms)


class DrawnBatches:
    """Batches of rows drawn with replacement, as scikit-learn draws them.

    Parameters
    ----------
    rows : Rows of shape (n, d)
    n_clusters : int
    plan : Plan
        Of a pass over one batch.
    weights : ndarray of shape (n,), float64, or None
    batch_size : int
    random_state : RandomState
    """

    def __init__(
        self, rows: Rows, n_clusters: int, plan: Plan, weights, batch_size: int, random_state
    ):
        self._ids = np.zeros(batch_size, dtype=np.int64)
        self._batch = BatchPass(rows, n_clusters, plan, ids=self._ids)
        self._draws = Draws(rows, weights)
        self._weights, self._random_state = weights, random_state
        self.n_rows = rows.n_rows
        self._seen = 0
        self.at_rest = False

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        pass

    def next_batch(self) -> BatchPass:
        """The batch of the next step; it holds until the one after is asked for."""
        self._draw()
        return self._batch

    def _draw(self):
        self._draws.draw(self._random_state.random_sample(len(self._ids)), self._ids)
        # A state to go on from after as many rows as there are.
        self._seen += len(self._ids)
        self.at_rest = self._seen >= self.n_rows
        self._seen %= max(1, self.n_rows)

    def most_steps(self, epochs: int) -> int:
        """Steps in which no more rows are seen than in so many epochs."""
        return epochs * self.n_rows // len(self._ids)

    def epochs(self, steps: int) -> int:
        """Epochs that so many steps amount to, rounded up."""
        return math.ceil(steps * len(self._ids) / self.n_rows)

    def whole_weight(self) -> float:
        """What the mean inertia of a row is multiplied by for an estimate of that of all."""
        return self.n_rows if self._weights is None else self._weights.sum()
