"""Sums of the rows of each cluster on a device, and their averages."""

import math

import numpy as np
import torch

from tilewise import engine

from ._plan import COPIES as _COPIES
from ._plan import COPIES_BYTES as _COPIES_BYTES
from ._rows import cut
from ._sums import add_moved, average, join_copies
from ._triton import EXACT, triton

__all__ = ["ClusterSums"]

_HALF, _LIMB = 2**25 - 1, 2**50 - 1
# Columns whose magnitudes lie within these powers of two are averaged on the device: no product
# of a mean and a number of rows leaves the range in which it can be split.
_PLAIN_EXPONENT = 400
_MOST_LIMBS = 3


class _Table:
    """Digits of columns of numbers, summed by cluster.

    Parameters
    ----------
    exponents : ndarray of shape (columns,)
        Magnitudes are at most two to this power.
    limbs : ndarray of shape (columns,)
    """

    def __init__(self, exponents, limbs, n_clusters, device):
        exponents, limbs = exponents.astype(np.int64), limbs.astype(np.int32)
        starts = np.concatenate([[0], np.cumsum(8 * limbs[::8])])
        positions = np.repeat(starts[:-1], 8) + np.tile(np.arange(8), len(limbs) // 8)
        bigs = np.zeros(int(starts[-1]))
        self.most = int(limbs.max(initial=1))
        for i in range(self.most):
            has = limbs > i
            bigs[positions[has] + 8 * i] = np.ldexp(1.5, 52 + exponents[has] - 50 * (i + 1))
        self._positions, self._limbs, self.length = positions, limbs, len(bigs)
        self.grid = [
            torch.as_tensor(array, device=device)
            for array in (positions.astype(np.int32), limbs, bigs)
        ]
        size = n_clusters * self.length * 2
        # Rows are added to one of several copies of small sums: fewer programs meet at one number.
        self.n_copies = max(1, min(_COPIES, _COPIES_BYTES // (8 * size)))
        shape = (self.n_copies, n_clusters, self.length, 2)
        self._copies = torch.zeros(shape, dtype=torch.int64, device=device)
        self._members = torch.zeros(shape[:2], dtype=torch.int64, device=device)
        self.sums, self.members = self._copies[0], self._members[0]
        if self.n_copies > 1:
            self.sums, self.members = (
                torch.empty_like(tensor) for tensor in (self.sums, self.members)
            )

    def add(self, strided, scale, weights, moves, d, programs):
        """Move the listed rows from the sums of one cluster to those of another."""
        columns = min(128, triton.next_power_of_2(d))
        n_clusters = len(self.sums)
        add_moved[(programs, triton.cdiv(d, columns))](
            *strided, scale, weights, *moves, self._copies, self._members, *self.grid,
            self.length, len(self._limbs), d, n_clusters, self.n_copies,
            WEIGHTED=weights is not None, MOST=self.most, BM=max(1, 1024 // columns), BD=columns,
            num_warps=4, **EXACT,
        )  # fmt: skip

    def join(self):
        """Add up the copies."""
        if self.n_copies > 1:
            for copies, total in ((self._copies, self.sums), (self._members, self.members)):
                join_copies[(triton.cdiv(total.numel(), 256),)](
                    copies, total, total.numel(), N=self.n_copies, BLOCK=256, num_warps=4
                )

    def state(self):
        """Limbs from 0 to 2**50 - 1 (k, length), and what is above them (k, columns), int64."""
        sums = self.sums.cpu().numpy()
        low = sums[..., 1]
        high = sums[..., 0] + (low >> 25)
        limbs, carry = ((high & _HALF) << 25) | (low & _HALF), high >> 25
        above = np.zeros((len(sums), len(self._limbs)), dtype=np.int64)
        for i in range(self.most - 1, -1, -1):
            has = np.flatnonzero(self._limbs > i)
            at = self._positions[has] + 8 * i
            if i == 0:
                above[:, has] = carry[:, at]
                continue
            whole = limbs[:, at - 8] + carry[:, at]
            limbs[:, at - 8] = whole & _LIMB
            carry[:, at - 8] += whole >> 50
        return np.ascontiguousarray(limbs), above


class ClusterSums:
    """Sums of the rows of each cluster.

    Averages are made on the device where rows weigh one and every column has three limbs at most,
    which most data have. Else the sums, which are whole numbers, go to the CPU's.
    """

    def __init__(self, rows, labels, plan, weights, stats, shifts):
        self._labels, self._old, n_clusters = labels, None, len(shifts)
        self._rows, self._plan, self._weights = rows, plan, weights
        sizes = None if weights is None else engine.weight_sizes(weights.cpu().numpy())
        self._host = engine.open_sums(n_clusters, plan.host, stats, rows.compute_dtype, sizes=sizes)
        grid, device, d = self._host.grid, rows.device, rows.n_features
        self._table = _Table(grid.exponents, np.repeat(grid.limbs, 8), n_clusters, device)
        self._heavy = None
        if weights is not None:
            self._heavy = self._open_heavy(n_clusters, sizes, device)
        exponents = grid.exponents.astype(np.int64)
        self._on_device = (
            weights is None and self._table.most <= _MOST_LIMBS and d > 0
            and int(np.abs(exponents[:d]).max(initial=0)) < _PLAIN_EXPONENT
        )  # fmt: skip
        self._units = torch.as_tensor(np.ldexp(1.0, exponents - 50), device=device)
        self._shifts = shifts
        self._next = torch.empty((n_clusters, d), dtype=torch.float64, device=device)
        #: Empty clusters of the last pass, and squared shifts, on the host.
        self.found = 0, None

    def _open_heavy(self, n_clusters, sizes, device):
        """A table of the weights, on the grid that the CPU's sums have for them."""
        limbs = self._host.state()[3].shape[1] // 8 - 1
        exponent = max(math.frexp(sizes[0])[1], -1074 + 50 * limbs)
        return _Table(np.full(8, exponent), np.full(8, limbs), n_clusters, device)

    def add(self, rows, first, moves):
        """Move listed rows, which begin at `first`, to the clusters of their labels.

        `moves` are labels, list, old labels and COUNT; COUNT[3] is the length of the list.
        """
        programs, weights = self._plan.programs, cut(self._weights, first, rows)
        self._table.add(rows.strided, rows.scale, weights, moves, max(1, rows.n_features), programs)
        if self._heavy is not None:
            self._heavy.add((weights, 1, 1), 1.0, None, moves, 1, programs)

    def finish(self, count, centers):
        """Average, after all rows; COUNT[4] becomes the number of empty clusters."""
        self._old, d = centers, self._rows.n_features
        self._table.join()
        if self._heavy is not None:
            self._heavy.join()
        if self._on_device:
            table, k = self._table, len(self._shifts)
            average[(triton.cdiv(k, 4),)](
                table.sums, table.members, *table.grid[:2], self._units, centers,
                self._next, self._shifts, count, table.length, k, d, MOST=table.most, BJ=4,
                num_warps=1, **EXACT,
            )  # fmt: skip

    def average(self, out, relocated):
        """Write the means of the clusters; returns the sum of their squared shifts."""
        if self._on_device and not relocated:
            empty, shifts = self.found
            if not empty:
                out.tensor.copy_(self._next)
                return math.fsum(shifts)
            if relocated is None:
                return None
        self._bring()
        means, moves = np.empty(out.shape), []
        for row, cluster in relocated or ():
            weight = 1.0 if self._weights is None else float(self._weights[row])
            view = engine.as_rows(self._rows.take([row]))
            moves.append((view, int(self._labels[row]), cluster, weight))
        for view, old, new, weight in moves:
            self._host.move(view, 0, old, new, weight)
        squares = self._host.average(self._old.cpu().numpy(), means, fill=relocated is not None)
        if squares is None:
            return None
        out.tensor.copy_(torch.from_numpy(means))
        return math.fsum(squares)

    def _bring(self):
        """Copy the sums to the CPU's."""
        weights = np.empty((0, 0), dtype=np.int64)
        if self._heavy is not None:
            limbs, above = self._heavy.state()
            weights = np.concatenate([np.zeros_like(above), limbs], axis=1)
            weights[:, 0] = above[:, 0]
        self._host.clear()
        self._host.add(*self._table.state(), self._table.members.cpu().numpy(), weights)

    @property
    def weights(self):
        """Weight of each cluster, (k,) float64."""
        self._bring()
        return self._host.weights
