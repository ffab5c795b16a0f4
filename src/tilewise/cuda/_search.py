"""A search for the nearest rows on a device, as its plan says: the results have the CPU's bits.

One neighbour of each of many rows is what a pass of K-Means finds: the label of the closest centre,
the lowest one if several are. Otherwise `_nearest` searches.
"""

import math
from functools import cached_property

import numpy as np
import torch

from tilewise import engine

from ._moves import Mover
from ._nearest import Cosines, Look, Squares, among_all, take_roots
from ._neighbor_plan import look_pays
from ._passes import DeviceCenters, DevicePass
from ._rows import DeviceRows

__all__ = ["Others", "mend", "nearest_rows", "out_of_range"]

# Distances below this come from squares that have lost digits: see metrics/_ranges.py.
_LOWEST = 2.0**-480


class Others:
    """The rows of Y, which parts of X are compared with.

    Rows that do not fit on the device come in parts, in order. What is found in a part is merged
    with what was found before: all that is before has lower indices, so a stable sort keeps equal
    distances in order.

    Parameters
    ----------
    Y : torch.Tensor of shape (m, d)
        Of finite numbers, on the device or in memory.
    plan : DeviceNeighborPlan
    kernel : {"sqeuclidean", "cosine"}
        What ranks them.
    device : torch.device
    same : bool, default=False
        Whether X is Y, whose parts are numbered then.

    Attributes
    ----------
    whole : torch.Tensor or None
        All rows, on the device.
    """

    def __init__(self, Y, plan, kernel, device, same=False):
        self.plan, self.kernel, self._same = plan, kernel, same
        self._Y = self.whole = self._mover = self._looked = None
        if plan.y_rows >= plan.n_y:
            self._Y = self.whole = Y.to(device)
        else:
            self._Y, self._mover = Y, Mover(device, Y.dtype, plan.y_rows, plan.n_features)

    @cached_property
    def largest(self):
        """The largest magnitude of all rows."""
        return _largest(self._Y)

    def _parts(self):
        """Yield (first, rows on the device), in order."""
        if self.whole is not None:
            yield 0, self.whole
            return
        step = self.plan.y_rows
        starts = range(0, self.plan.n_y, step)
        yield from self._mover.moved((at, self._Y[at : at + step]) for at in starts)

    def nearest(self, X, first=0):
        """What ranks them, (n, k) float64, and indices of the k nearest rows, in that order.

        X has the rows from `first` on.
        """
        if self.plan.method == "assignment":
            found = _assigned(X, self.whole, self.plan.assignment)
            if found is not None:
                return found
        return self._merged(lambda start, Y: self._among(X, Y, first - start))

    def _merged(self, search):
        """The nearest of all rows, by what ``search(start, Y)`` finds among those of a part."""
        k, found = self.plan.k, None
        for start, Y in self._parts():
            ranks, indices = search(start, Y)
            if found is None:
                found = ranks, indices + start
                continue
            ranks, order = torch.cat([found[0], ranks], 1).sort(dim=1, stable=True)
            indices = torch.cat([found[1], indices + start], 1).gather(1, order[:, :k])
            found = ranks[:, :k].contiguous(), indices
        return found

    def _among(self, X, Y, ahead):
        k = min(self.plan.k, len(Y))
        if self.kernel == "cosine":
            return among_all(Cosines(X, Y, ahead if self._same else None), k)
        looked = self._looked or _looked_at(Y, k)
        if self.whole is not None:
            self._looked = looked
        return _nearest_squares(X, Y, k, looked)

    def nearest_scaled(self, X, factor):
        """Squares and indices of the nearest rows, all of them times a power of two."""
        X = X.to(torch.float64) * factor

        def search(_, Y):
            k, Y = min(self.plan.k, len(Y)), Y.to(torch.float64) * factor
            return _nearest_squares(X, Y, k, _looked_at(Y, k))

        return self._merged(search)


def _looked_at(Y, k):
    """Rows of Y packed for a look, or None where none pays."""
    return Look(Y, k) if look_pays(len(Y), k) else None


def _nearest_squares(X, Y, k, looked):
    """Canonical squares (n, k), and their rows of Y, by (square, index)."""
    n = len(X)
    if looked is None:
        return among_all(Squares(X, Y), k)
    squares = torch.empty((n, k), dtype=torch.float64, device=X.device)
    indices = torch.empty((n, k), dtype=torch.int64, device=X.device)
    step = looked.block_rows
    for first in range(0, n, step):
        here = slice(first, first + step)
        looked.nearest(X[here], squares[here], indices[here])
    return squares, indices


def _assigned(X, Y, plan):
    """The same of one neighbour, by a pass of K-Means; None if squares of distances overflow."""
    run = DevicePass(DeviceRows(X), len(Y), plan)
    try:
        squares, _ = run.assign_and_gaps(DeviceCenters(Y.to(torch.float64).contiguous()))
    except engine.OutOfRange:
        return None
    return squares[:, None], run.labels.to(torch.int64)[:, None]


def nearest_rows(X, others, *, root, single, first=0, mended=True):
    """Distances and indices (n, k) of the rows of Y that are nearest to every row of X.

    Parameters
    ----------
    X : torch.Tensor of shape (n, d)
        Of finite numbers.
    others : Others
    root : bool
        Whether roots are returned.
    single : bool
        Whether distances are returned in float32.
    first : int, default=0
        The number of the first row of X.
    mended : bool, default=True
        Whether `mend` follows, where it has to.
    """
    distances, indices = others.nearest(X, first)
    if others.kernel != "cosine":
        if root:
            take_roots(distances)
        if mended and not single:
            mend(X, others, distances, indices, root)
    return distances.to(torch.float32 if single else torch.float64), indices


def out_of_range(farthest, root):
    """Which distances are infinite, and which so small that their squares have lost digits."""
    return farthest == math.inf, farthest < _LOWEST ** (1 if root else 2)


def mend(X, others, distances, indices, root, largest=None):
    """Find the neighbours again, in place, whose distances float64 has no room for.

    As `tilewise.metrics._ranges.mend_nearest` does it: among the rows times a power of two.
    ``largest()`` is the largest magnitude of all rows of X, of which these may be some.
    """
    degree = 1 if root else 2
    infinite, small = out_of_range(distances[:, -1], root)
    if not bool((infinite | small).any()):
        return
    for rows, is_small in ((infinite, False), (small, True)):
        ids = rows.nonzero().flatten()
        if not len(ids):
            continue
        if is_small and not max(largest() if largest else _largest(X), others.largest) < _LOWEST:
            continue
        some = X.index_select(0, ids)
        scale = engine.Scale.of(max(_largest(some), others.largest))
        if not scale:
            continue
        found, places = others.nearest_scaled(some, math.ldexp(1.0, scale.exponent))
        if root:
            take_roots(found)
        undone = scale.undone(found.cpu().numpy(), degree)
        found = torch.from_numpy(np.ascontiguousarray(undone)).to(X.device)
        if not is_small:
            # What has an ordinary distance stays as it is, and comes first in both searches.
            kept = ~torch.isinf(distances[ids])
            found = torch.where(kept, distances[ids], found)
            places = torch.where(kept, indices[ids], places)
        distances[ids], indices[ids] = found, places


def _largest(tensor):
    low, high = torch.aminmax(tensor)
    return max(abs(float(low)), abs(float(high)))
