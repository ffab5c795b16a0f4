"""Starts from rows on a device: k-means++ and k-means||."""

import math

import numpy as np
import torch

from tilewise import engine

from ._gaps import block_digits, candidate_gains, locate_rows, take_seed
from ._passes import DevicePass, bins_state, top_of, total_of
from ._plan import SEED_BLOCK as _BLOCK
from ._rows import cut
from ._triton import EXACT, triton

__all__ = ["DeviceOversampling", "DeviceSeeding"]

_TRIALS = 8
_HALF = 2**25 - 1


def on_device(weights, exponent=None):
    """Weights as `engine.scaled_weights` makes them."""
    if weights is None:
        return None
    own = engine.scaled_weights(weights.cpu().numpy(), exponent)
    return torch.from_numpy(np.ascontiguousarray(own)).to(weights.device)


class DeviceSeeding:
    """Closest seed of every row while seeds are added; see `SeedingPass`."""

    def __init__(self, rows, weights, plan):
        self._rows, self._plan = rows, plan
        self._given = None if weights is None else weights.cpu().numpy()
        self._weights = on_device(weights)
        device = rows.device
        self._closest = torch.full((rows.n_rows,), math.inf, dtype=torch.float64, device=device)
        self._top, self._most = 0, 0.0
        self._sums = None

    def first(self, random_state):
        """Draw a row in proportion to the weights."""
        return engine.first_row(self._rows, self._given, random_state)

    def at_once(self, n_trials):
        """Each step is asked for by itself."""
        return False

    # ------------------------------------------------------------ the potential

    def take(self, candidate):
        """Make a row a seed; returns the potential."""
        rows, n, d = self._rows, self._rows.n_rows, self._rows.n_features
        most = torch.zeros(1, dtype=torch.int64, device=rows.device)
        seed = rows.values_of([candidate])
        weighted = self._weights is not None
        for first, part in rows.parts(self._plan):
            take_seed[(triton.cdiv(part.n_rows, self._plan.exact_rows),)](
                *part.strided, part.scale, seed, cut(self._weights, first, part),
                cut(self._closest, first, part), most, part.n_rows, d, WEIGHTED=weighted,
                BM=self._plan.exact_rows, num_warps=4, **EXACT,
            )  # fmt: skip
        if self._top == 0:
            largest = self._value(most.cpu().numpy())
            if not largest < 2.0**900:
                return math.inf
            self._top = engine.potential_bin(largest, n, d)
        self._sums = torch.empty((triton.cdiv(n, _BLOCK), 3), dtype=torch.int64, device=rows.device)
        totals = torch.zeros(6, dtype=torch.int64, device=rows.device)
        block_digits[(len(self._sums),)](
            self._closest, self._weights, self._top, self._sums, totals, n, WEIGHTED=weighted,
            BLOCK=_BLOCK, **EXACT,
        )  # fmt: skip
        found = torch.cat([most, totals]).cpu().numpy()
        self._most = self._value(found[:1])
        pairs = found[1:].reshape(3, 2).tolist()
        total = engine.Bins(self._plan.host.isa)
        total.merge_state(bins_state(self._top, [(high << 25) + low for high, low in pairs]))
        return total.value

    @staticmethod
    def _value(bits):
        return float(bits.view(np.float64)[0])

    def locate(self, targets):
        """First rows at which the running sum of weight x squared distance reaches the targets."""
        n, device = self._rows.n_rows, self._rows.device
        targets = np.asarray(targets, dtype=np.float64)
        found = torch.empty(len(targets), dtype=torch.int64, device=device)
        locate_rows[(len(targets),)](
            self._closest, self._weights, self._top, self._sums,
            torch.from_numpy(targets).to(device), found, n, len(self._sums),
            WEIGHTED=self._weights is not None, BLOCK=_BLOCK, CHUNK=256, num_warps=8, **EXACT,
        )  # fmt: skip
        rows = found.cpu().numpy()
        # A target that is no number is not reached.
        return np.where(targets >= 0.0, rows, np.where(targets < 0.0, 0, n - 1))

    # ------------------------------------------------------------ candidates

    def gains(self, candidates):
        """How much each row would lower the potential as a seed, (t,) float64."""
        groups = [candidates[at : at + _TRIALS] for at in range(0, len(candidates), _TRIALS)]
        values = [self._rows.values_of(group) for group in groups]
        digits = [
            torch.zeros((len(group), 2, 2), dtype=torch.int64, device=self._rows.device)
            for group in groups
        ]
        for first, part in self._rows.parts(self._plan):
            for points, gains in zip(values, digits, strict=True):
                self._measure(part, first, points, gains)
        return np.concatenate([self._total(gains) for gains in digits])

    def _measure(self, rows, first, points, gains):
        t = len(points)
        candidate_gains[(triton.cdiv(rows.n_rows, self._plan.exact_rows),)](
            *rows.strided, rows.scale, points, cut(self._weights, first, rows),
            cut(self._closest, first, rows), gains, min(41, top_of(self._most)), rows.n_rows,
            rows.n_features, t, WEIGHTED=self._weights is not None, BM=self._plan.exact_rows,
            T=triton.next_power_of_2(t), num_warps=4, **EXACT,
        )  # fmt: skip

    def _total(self, gains):
        found = gains.cpu().numpy()
        high = found[..., 0] + (found[..., 1] >> 25)
        low = ((high & _HALF) << 25) | (found[..., 1] & _HALF)
        return engine.total_gains(np.concatenate([low, high >> 25], axis=1), self._most)


class DeviceOversampling:
    """Closest candidate of every row while more are taken in; see `OversamplingPass`."""

    def __init__(self, rows, weights, plan):
        self._rows, self._plan = rows, plan
        self._given = None if weights is None else weights.cpu().numpy()
        self._weights = on_device(weights)
        make = {"device": rows.device}
        self._closest = torch.full((rows.n_rows,), math.inf, dtype=torch.float64, **make)
        self._owner = torch.zeros(rows.n_rows, dtype=torch.int32, **make)
        self._n_points = 0

    def first(self, random_state):
        """Draw a row as `SeedingPass.first` does."""
        return engine.first_row(self._rows, self._given, random_state)

    def spread(self, points):
        """Take in more candidates; returns the potential."""
        centers = np.ascontiguousarray(points, dtype=np.float64)
        run = DevicePass(self._rows, len(centers), self._plan.resized(len(centers)))
        gaps = run.assign_and_gaps(centers)[0]
        # In place: what belongs to all rows is large.
        closer = gaps < self._closest
        torch.where(closer, gaps, self._closest, out=self._closest)
        torch.where(closer, run.labels.add_(self._n_points), self._owner, out=self._owner)
        del closer
        self._n_points += len(centers)
        worth = self._worth()
        most = worth.max().view(torch.int64).reshape(1)
        return total_of(worth, most, None, self._plan)

    def _worth(self):
        return self._closest if self._weights is None else self._weights * self._closest

    def draw(self, key, share):
        """Numbers of the rows that are drawn, ascending."""
        chances = (share * self._worth()).cpu().numpy()
        return np.flatnonzero(engine.draws(key, 0, len(chances)) < chances)

    def counts(self, n_candidates):
        """Weight of the rows closest to each candidate, (n_candidates,) float64."""
        from tilewise.engine.oversampling import weight_digits, weights_of

        weights = None if self._weights is None else self._weights.cpu().numpy()
        return weights_of(weight_digits(self._owner.cpu().numpy(), weights, n_candidates))
