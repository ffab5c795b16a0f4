"""Groups of centres that lie close together, and how far each of them went."""

import numpy as np

from tilewise.plan.groups import GROUP_CENTRES

__all__ = ["MOST_EXPECTED", "SAMPLED", "Groups", "order_by_place"]

#: Rows of which it is counted how many groups they would meet, and the share of what rows without
#: groups meet up to which groups are worth a longer pass over all rows.
SAMPLED = 128
MOST_EXPECTED = 0.5

# Steps towards the widest direction: it need not be exact.
_STEPS = 6
# Whole vectors of every instruction set, in float32.
_LANES = 16
# More than a drift summed up in float64 errs by, as a share of itself, in any number of passes.
_DRIFT_ERROR = 2.0**-30
# Passes in a row that skip less than this share of the groups end it: such a pass takes a third
# longer than one without groups (measured with AVX-512 at 192 x 256), and one may be an exception.
_LEAST_SKIPPED = 0.3
_PATIENCE = 3


def order_by_place(centers: np.ndarray) -> np.ndarray:
    """Numbers of the centres, `GROUP_CENTRES` of which side by side lie close together.

    They are halved along the direction in which they spread most, again and again. Only time
    depends on the order.
    """
    with np.errstate(all="ignore"):
        points = centers - centers.mean(axis=0)
        size = np.abs(points).max(initial=0.0)
        points = (points / size).astype(np.float32) if 0.0 < size < np.inf else points * 0.0
    order, waiting = np.arange(len(centers)), [(0, -(-len(centers) // GROUP_CENTRES))]
    while waiting:
        first, groups = waiting.pop()
        if groups < 2:
            continue
        part = order[first : first + groups * GROUP_CENTRES]
        order[first : first + len(part)] = part[np.argsort(_places(points[part]), kind="stable")]
        left = groups // 2
        waiting += [(first, left), (first + left * GROUP_CENTRES, groups - left)]
    return order.astype(np.int32)


def _places(points):
    """Where the points lie along the direction in which they spread most."""
    gaps = points - points.mean(axis=0)
    squares = np.einsum("ij,ij->i", gaps, gaps)
    direction = gaps[np.argmax(squares)]
    for _ in range(_STEPS):
        # Not by BLAS, which would start threads of its own.
        direction = np.einsum("i,ij->j", np.einsum("ij,j->i", gaps, direction), gaps)
        size = np.abs(direction).max()
        if not 0.0 < size < np.inf:
            return squares
        direction = direction / size
    return np.einsum("ij,j->i", gaps, direction)


class Groups:
    """Lower bounds of the distance of each row to the centres of each group.

    Parameters
    ----------
    n_rows, n_groups : int
    centers : ndarray of shape (k, d)
        Those of the first pass.

    Attributes
    ----------
    order, slots : ndarray of shape (k,), int32
        Which centre lies in each slot, and in which slot each centre lies.
    bounds : ndarray of float32
        (n_rows, n_groups) of them, and room for a vector behind; see `Assignment.run`.
    drift : ndarray of shape (2, m), float32
    """

    def __init__(self, n_rows: int, n_groups: int, centers: np.ndarray):
        k = len(centers)
        self.order = order_by_place(centers)
        self.slots = np.empty(k, np.int32)
        self.slots[self.order] = np.arange(k, dtype=np.int32)
        self.bounds = np.empty(n_rows * n_groups + _LANES, np.float32)
        # What stands there is read but never counts.
        self.bounds[-_LANES:] = 0.0
        self.drift = np.full((2, -(-n_groups // _LANES) * _LANES), -np.inf, np.float32)
        self._starts = np.arange(0, k, GROUP_CENTRES)
        self._total = np.zeros(n_groups)
        self._useless = 0

    def move(self, moves: np.ndarray | None):
        """Take in how far each centre went, or that nobody knows: all bounds are made anew then."""
        if moves is None:
            self._total[...] = 0.0
        else:
            self._total += np.maximum.reduceat(moves[self.order], self._starts)
        n = len(self._total)
        with np.errstate(over="ignore"):
            below = (self._total * (1 - _DRIFT_ERROR)).astype(np.float32)
            above = (self._total * (1 + _DRIFT_ERROR)).astype(np.float32)
        self.drift[0, :n] = np.where(below > 0, np.nextafter(below, np.float32(-np.inf)), 0)
        self.drift[1, :n] = np.where(above > 0, np.nextafter(above, np.float32(np.inf)), 0)

    def expected(self, gaps: np.ndarray, moves: np.ndarray) -> float:
        """Share of the groups that some rows would meet in a pass after centres moved so far.

        Parameters
        ----------
        gaps : ndarray of shape (rows, k)
            Their distances to the centres before; overwritten.
        moves : ndarray of shape (k,)
        """
        own, at = gaps.argmin(axis=1), np.arange(len(gaps))
        reach = gaps[at, own] + moves[own]
        gaps[at, own] = np.inf
        nearest = np.minimum.reduceat(gaps[:, self.order], self._starts, axis=1)
        farthest = np.maximum.reduceat(moves[self.order], self._starts)
        return float(np.mean(nearest <= (reach[:, None] + farthest)))

    def pays(self, met: int, scored: int) -> bool:
        """Whether to go on after a pass whose `scored` rows met so many groups."""
        few = met > (1 - _LEAST_SKIPPED) * scored * len(self._total)
        self._useless = self._useless + 1 if few and scored else 0
        return self._useless < _PATIENCE
