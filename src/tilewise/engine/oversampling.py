"""What k-means|| asks of rows: the closest of many candidates, and draws that have no order.

Whether a row is drawn depends on its number, its weight and its distance alone. So parts of the
rows can be drawn from in any order and place. Sums are exact, and parts of them are put together
before they are rounded: `OversamplingPass.add` and `OversamplingPass.digits` give such parts.
"""

import numpy as np

from tilewise.kernels._sums import Bins
from tilewise.plan import Plan, plan

from .passes import Pass
from .seeding import first_row, scaled_weights

__all__ = ["OversamplingPass", "draws", "hashed", "weight_digits", "weights_of"]

# Rows that are drawn from, and added up, at a time: the temporary arrays stay below 4 MiB.
_BLOCK = 2**16
# Weights of up to 1 are cut into so many digits of so many bits: what is below 2**-150 is dropped.
# Sums of a block of digits are whole numbers that float64 holds.
_DIGITS, _DIGIT_BITS = 6, 25


def hashed(key: int, first: int, count: int) -> np.ndarray:
    """64 random bits for each of the numbers from `first` on, (count,) uint64.

    Number i of the sequence that SplitMix64 makes from the state `key`, whatever was asked before
    (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).

    Examples
    --------
    >>> from tilewise.engine.oversampling import hashed
    >>> [hex(value) for value in hashed(0, 0, 2)]
    ['0xe220a8397b1dcdaf', '0x6e789e6aa1b965f4']
    """
    z = np.arange(first + 1, first + count + 1, dtype=np.uint64)
    z *= np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(key)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(31)
    return z


def draws(key: int, first: int, count: int) -> np.ndarray:
    """A number from [0, 1) for each of the rows from `first` on, (count,) float64.

    The upper 53 bits of what `hashed` gives for the number of the row among all rows.
    """
    return (hashed(key, first, count) >> np.uint64(11)) * 2.0**-53


def weight_digits(owner: np.ndarray, weights: np.ndarray | None, count: int) -> np.ndarray:
    """Sums of the weights of each owner, digit by digit: they can be added to those of other rows.

    Parameters
    ----------
    owner : ndarray of shape (n,), int32
    weights : ndarray of shape (n,), float64, or None
        From 0 to 1; all weigh 1 by default.
    count : int
        Owners that there are.

    Returns
    -------
    ndarray of shape (digits, count), int64
    """
    sums = np.zeros((_DIGITS, count), dtype=np.int64)
    for at in range(0, len(owner), _BLOCK):
        own = owner[at : at + _BLOCK]
        if weights is None:
            sums[0] += np.bincount(own, minlength=count) << _DIGIT_BITS
            continue
        rest = weights[at : at + _BLOCK]
        for digit in range(_DIGITS):
            rest = rest * 2.0**_DIGIT_BITS
            whole = np.floor(rest)
            rest -= whole
            sums[digit] += np.bincount(own, whole, count).astype(np.int64)
    return sums


def weights_of(digits: np.ndarray) -> np.ndarray:
    """The sums that digits stand for, each rounded once, (count,) float64."""
    whole = [0] * digits.shape[1]
    for row in digits.tolist():
        whole = [(number << _DIGIT_BITS) + digit for number, digit in zip(whole, row, strict=True)]
    # Python rounds a quotient of whole numbers once.
    return np.array([number / (1 << _DIGITS * _DIGIT_BITS) for number in whole])


class OversamplingPass:
    """Closest candidate of every row while more and more of them are taken in.

    12 bytes are kept for each row, and 4 more for labels.

    Parameters
    ----------
    rows : Rows or StreamRows of shape (n, d)
    weights : ndarray of shape (n,), float64, optional
    plan : Plan
        Its threads and engine are those of the passes over the rows.
    first : int, default=0
        Number of the first of these rows among all rows.
    exponent : int, optional
        Power of two that weights are multiplied by; see `scaled_weights`.
    """

    def __init__(self, rows, weights, plan: Plan, *, first: int = 0, exponent: int | None = None):
        self._rows, self._given, self._plan, self._first = rows, weights, plan, first
        self._weights = scaled_weights(weights, exponent)
        self._closest = np.full(rows.n_rows, np.inf)
        self._owner = np.zeros(rows.n_rows, dtype=np.int32)
        self._labels = np.empty(rows.n_rows, dtype=np.int32)
        self._n_points = 0

    def first(self, random_state) -> int:
        """Draw a row as `SeedingPass.first` does."""
        return first_row(self._rows, self._given, random_state)

    def spread(self, points: np.ndarray) -> float:
        """Take in more candidates; returns the sum of weight x squared distance to the closest.

        Parameters
        ----------
        points : ndarray of shape (m, d)
        """
        return self.add(points).value

    def add(self, points: np.ndarray) -> Bins:
        """The same; returns the sum before it is rounded."""
        rows, offset, total = self._rows, self._n_points, Bins(self._plan.isa)
        centers = np.ascontiguousarray(points, dtype=np.float64)
        run = Pass(rows, len(centers), self._plan_for(len(centers)), labels=self._labels)

        def keep(at, gaps):
            """Keep what is less than before."""
            part = slice(at, at + len(gaps))
            closest = self._closest[part]
            # Of candidates at the same distance the earlier one stays.
            closer = gaps < closest
            np.copyto(closest, gaps, where=closer)
            np.copyto(self._owner[part], self._labels[part] + np.int32(offset), where=closer)
            total.add(closest, None if self._weights is None else self._weights[part])

        run.assign_and_visit(centers, keep, _BLOCK)
        self._n_points += len(centers)
        return total

    def _plan_for(self, count):
        rows = self._rows
        return plan(
            rows.n_rows, rows.n_features, count, rows.compute_dtype, engine=self._plan.engine,
            n_threads=self._plan.n_threads, direct=rows.is_direct,
            density=rows.density if rows.is_sparse else None,
        )  # fmt: skip

    def draw(self, key: int, share: float) -> np.ndarray:
        """Numbers of the rows with ``draws(key, row) < share * (weight * distance)``, ascending.

        Parameters
        ----------
        key : int
            64 bits.
        share : float

        Returns
        -------
        ndarray of int64
        """
        found = [np.empty(0, dtype=np.int64)]
        for at in range(0, self._rows.n_rows, _BLOCK):
            part = slice(at, at + _BLOCK)
            worth = self._closest[part]
            if self._weights is not None:
                worth = self._weights[part] * worth
            with np.errstate(over="ignore"):
                drawn = draws(key, self._first + at, len(worth)) < share * worth
            found.append(np.flatnonzero(drawn) + (self._first + at))
        return np.concatenate(found)

    def counts(self, n_candidates: int) -> np.ndarray:
        """Weight of the rows closest to each candidate, (n_candidates,) float64.

        Times the power of two that the weights were multiplied by.
        """
        return weights_of(self.digits(n_candidates))

    def digits(self, n_candidates: int) -> np.ndarray:
        """The same before it is rounded, as `weight_digits`."""
        return weight_digits(self._owner, self._weights, n_candidates)
