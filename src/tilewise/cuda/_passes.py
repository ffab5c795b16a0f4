"""Passes over rows on a device: first look, decision, sums, averages."""

import math

import numpy as np
import torch

from tilewise import engine
from tilewise.engine.ranges import overflow

from ._clusters import ClusterSums
from ._decision import decide, decide_among_all
from ._gaps import own_gaps
from ._plan import CANDIDATES as _CAP
from ._rows import cut
from ._scorer import FACTS, look, measure_centers, pack_centers
from ._sums import list_moved, total_digits
from ._triton import EXACT, triton

__all__ = ["DeviceCenters", "DevicePass", "total_of"]

_NO_ROW = 2**31 - 1
# What kernels count, in the order of COUNT, and sums of the first four over the parts of a pass.
_OPEN, _LEFT, _BAD, _MOVED, _EMPTY = range(5)
_COUNTED, _SUMMED = slice(0, 4), slice(6, 10)
_COUNTS = 10


class DeviceCenters:
    """Centres (k, d) on a device, float64, that NumPy can read."""

    def __init__(self, tensor):
        self.tensor, self.shape = tensor, tuple(tensor.shape)

    def __array__(self, dtype=None, copy=None):
        values = self.tensor.cpu().numpy()
        return values if dtype is None else values.astype(dtype)


class _Replay:
    """Starts the same kernels again and again: from the third time on as one graph.

    Starting a dozen kernels one by one takes longer than a pass over short rows.
    """

    def __init__(self, device):
        self._calls = 0 if device.type == "cuda" else -math.inf
        self._graph = None

    def __call__(self, launch):
        self._calls += 1
        if self._calls == 3:
            self._graph = self._captured(launch)
        if self._graph is None:
            launch()
        else:
            self._graph.replay()

    @staticmethod
    def _captured(launch):
        # Not `torch.cuda.graph`, which gives back all memory that torch holds for later.
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                launch()
            finally:
                graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)
        return graph


class DevicePass:
    """Rows on a device against one set of centres after another; see `AssignmentPass`."""

    #: A graph holds on to the labels of its run.
    renewable = False

    def __init__(
        self, rows, n_clusters, plan, *, sums=False, bounds=False, weights=None, stats=None
    ):
        self.rows, self.plan, self._k = rows, plan, n_clusters
        n, d = rows.n_rows, rows.n_features
        make = self._make
        self.labels = make(n, torch.int32, -1)
        self._weights = weights
        listed = rows.part_rows(plan)
        self._open = make(listed, torch.int32)
        self._limits = make(listed, torch.float32)
        self._left = make(listed, torch.int32)
        # What the host wants of every pass lies together.
        self._report = make(_COUNTS // 2 + n_clusters, torch.int64)
        self._count = self._report[: _COUNTS // 2].view(torch.int32)
        self._shifts = self._report[_COUNTS // 2 :].view(torch.float64)
        self._input = make((n_clusters, d), torch.float64)
        self._replay = _Replay(rows.device)
        self._facts = make(FACTS, torch.int32)
        panel = max(plan.tile_centers, plan.packed_centers, plan.decided_centers)
        k = -(-n_clusters // panel) * panel
        self._packed = make((k, plan.depth), torch.float16)
        self._half = make(k, torch.float32)
        self._scratch = make(plan.programs * plan.decided_rows * _CAP, torch.int32)
        self._origin = None
        if stats is not None:
            mean = np.nan_to_num(np.asarray(stats.mean, dtype=np.float64))
            self._origin = self._rounded(torch.as_tensor(mean, device=rows.device))
        self._sums = None
        if sums:
            self._sums = ClusterSums(rows, self.labels, plan, weights, stats, self._shifts)
            self._before = make(n, torch.int32, -1)
        self._centers = self._gaps = None
        self.changed = self.scored = 0
        self.undecided = self.rescanned = 0

    def _make(self, shape, dtype, value=0):
        return torch.full(
            shape if isinstance(shape, tuple) else (shape,), value, dtype=dtype,
            device=self.rows.device,
        )  # fmt: skip

    # ------------------------------------------------------------ centres

    def hold(self, centers):
        """Centres where this pass wants them."""
        if isinstance(centers, DeviceCenters):
            return centers
        values = np.array(centers, dtype=np.float64, order="C")
        return DeviceCenters(torch.from_numpy(values).to(self.rows.device))

    def blank(self, centers):
        """As many centres to be written to."""
        return DeviceCenters(torch.empty_like(centers.tensor))

    # ------------------------------------------------------------ passes

    def _rounded(self, origin):
        """The origin in the type in which it is taken from rows; centres lose the same numbers."""
        kind = torch.float32 if self.rows.compute_dtype == np.float32 else torch.float64
        return torch.nan_to_num(origin.to(kind), posinf=0.0, neginf=0.0)

    def _begin(self):
        """Pack the centres."""
        plan, k, C = self.plan, self._k, self._input
        self._facts.zero_()
        self._count.zero_()
        self._count[_BAD] = _NO_ROW
        size = C.numel()
        measure_centers[(triton.cdiv(size, 2048),)](
            C, self._origin, self._facts, size, C.shape[1], BLOCK=2048
        )
        pack_centers[(self._half.shape[0] // plan.packed_centers,)](
            C, self._origin, self._facts, self._packed, self._half, k, C.shape[1], D=plan.depth,
            BN=plan.packed_centers, BD=min(plan.depth, 64),
        )  # fmt: skip

    def _label(self, rows, first):
        """Label these rows, which begin at `first`."""
        plan, k, C, labels = self.plan, self._k, self._input, cut(self.labels, first, rows)
        n, d = rows.n_rows, rows.n_features
        packed = self._origin, self._packed, self._half, self._facts
        look[(triton.cdiv(n, plan.tile_rows),)](
            *rows.strided, rows.scale, *packed, labels, self._open, self._limits, self._count,
            n, d, k, BM=plan.tile_rows, BN=plan.tile_centers, BD=plan.tile_depth, D=plan.depth,
            W=min(16, plan.tile_centers // 2), STAGES=plan.stages, num_warps=plan.warps,
            num_stages=plan.stages,
        )  # fmt: skip
        decide[(plan.programs,)](
            *rows.strided, rows.scale, *packed, C, labels, self._open, self._limits,
            self._count, self._scratch, self._left, d, k, CAP=_CAP, BM=plan.decided_rows,
            BN=plan.decided_centers, BD=plan.tile_depth, D=plan.depth, num_warps=4,
            num_stages=plan.decided_stages, **EXACT,
        )  # fmt: skip
        decide_among_all[(plan.programs,)](
            *rows.strided, rows.scale, C, labels, self._left, self._count, first, d, k, BK=32,
            num_warps=4, **EXACT,
        )  # fmt: skip

    def _sum(self, rows, first):
        """List those of these rows that moved, and move them in the sums."""
        labels, before = cut(self.labels, first, rows), cut(self._before, first, rows)
        list_moved[(triton.cdiv(rows.n_rows, 1024),)](
            labels, before, self._open, self._left, self._count, rows.n_rows, BLOCK=1024
        )
        self._sums.add(rows, first, (labels, self._open, self._left, self._count))

    def _launch_whole(self, rows, sums):
        self._begin()
        self._label(rows, 0)
        if sums:
            self._sum(rows, 0)
            self._sums.finish(self._count, self._input)

    def _launch_parts(self, sums, gaps):
        """The same for rows that come in parts; the lists are those of one part."""
        self._begin()
        for first, rows in self.rows.parts(self.plan):
            self._label(rows, first)
            if sums:
                self._sum(rows, first)
            if gaps is not None:
                self._measure(rows, first, self._input, gaps)
            self._count[_SUMMED] += self._count[_COUNTED]
            self._count[:_BAD] = 0
            self._count[_MOVED] = 0
        if sums:
            self._sums.finish(self._count, self._input)
        # A row of the first part stays the first.
        self._count[_SUMMED][_BAD] = self._count[_BAD]

    def _assign(self, centers, sums, gaps=None):
        centers = self.hold(centers)
        self._input.copy_(centers.tensor)
        if self._origin is None:
            self._origin = self._rounded(self._input.mean(0))
        if not self.rows.n_rows:
            return 0
        whole = self.rows.whole
        if whole is None:
            self._launch_parts(sums, gaps)
        elif sums:
            self._replay(lambda: self._launch_whole(whole, True))
        else:
            self._launch_whole(whole, False)
        report = self._report.cpu()
        numbers = report[: _COUNTS // 2].view(torch.int32)
        counts = numbers[_COUNTED if whole is not None else _SUMMED].tolist()
        if counts[_BAD] != _NO_ROW:
            self.rows.raise_nonfinite()
            raise overflow(self.rows, np.asarray(centers), counts[_BAD])
        if whole is not None and gaps is not None:
            self._measure(whole, 0, self._input, gaps)
        self.undecided, self.rescanned = counts[_OPEN], counts[_LEFT]
        self.scored = self.rows.n_rows
        self.changed = counts[_MOVED]
        if sums:
            shifts = report[_COUNTS // 2 :].view(torch.float64).numpy()
            self._sums.found = int(numbers[_EMPTY]), shifts
        return self.changed

    def assign(self, centers):
        """Assign every row to its closest centre; returns how many labels changed."""
        before = self.labels.clone()
        self._assign(centers, False)
        self.changed = int((before != self.labels).sum())
        return self.changed

    def assign_and_sum(self, centers):
        """The same, and the sums follow the labels."""
        return self._assign(centers, True)

    def assign_and_measure(self, centers):
        """Assign every row to its closest centre; returns the inertia."""
        return total_of(*self.assign_and_gaps(centers), self._weights, self.plan)

    def assign_and_gaps(self, centers):
        """The same; returns what `gaps` does. Rows that come in parts come once."""
        most = self._most()
        self._assign(centers, False, most)
        return self._gaps, most

    # ------------------------------------------------------------ averages

    @property
    def weights(self):
        """Weight of each cluster in the sums, (k,) float64."""
        return self._sums.weights

    def average(self, out, relocated=None):
        """Write the means of the clusters; returns the sum of their squared shifts."""
        return self._sums.average(out, relocated)

    def forget(self):
        """Averages are always of all clusters."""

    def close_sums(self):
        """Nothing is averaged any more."""
        self._sums = None

    # ------------------------------------------------------------ distances

    def gaps(self, centers):
        """Squared distances to the labelled centres (n,), and bits of the largest times weight."""
        centers, most = self.hold(centers), self._most()
        for first, rows in self.rows.parts(self.plan):
            self._measure(rows, first, centers.tensor, most)
        return self._gaps, most

    def _most(self):
        """Room for the distances of all rows, and for the bits of the largest."""
        if self._gaps is None:
            self._gaps = self._make(self.rows.n_rows, torch.float64)
        return self._make(1, torch.int64)

    def _measure(self, rows, first, centers, most):
        n, d, plan = rows.n_rows, rows.n_features, self.plan
        own_gaps[(triton.cdiv(n, plan.exact_rows),)](
            *rows.strided, rows.scale, centers, cut(self.labels, first, rows),
            cut(self._weights, first, rows), cut(self._gaps, first, rows), most, n, d,
            WEIGHTED=self._weights is not None, BM=plan.exact_rows, num_warps=4, **EXACT,
        )  # fmt: skip

    def inertia(self, centers):
        """Weighted sum of the squared distances to the labelled centres."""
        return total_of(*self.gaps(centers), self._weights, self.plan)

    def progress(self, centers):
        """What to print of the last pass."""
        return f"inertia {self.inertia(centers)}"

    def farthest(self, centers, count):
        """The rows farthest from their centres, the farthest first; none if all lie on them."""
        gaps = self.gaps(centers)[0].cpu().numpy()
        ids = engine.farthest_first(gaps, np.arange(len(gaps)), count)
        return ids if len(gaps) and gaps[ids[0]] > 0.0 else ids[:0]


def bins_state(top, digits):
    """The state of `Bins` with these digits, a (3,) sequence of whole numbers."""
    state = np.zeros(
        1, dtype=[("top", "i8"), ("special", "f8"), ("low", "i8", 3), ("high", "i8", 3)]
    )
    state["top"] = top
    for i, digit in enumerate(digits):
        state["low"][0, i], state["high"][0, i] = digit & (2**50 - 1), digit >> 50
    return state.view(np.uint8)


def top_of(most):
    """The highest bin of a sum of numbers of up to this magnitude."""
    exponent = math.frexp(most)[1] if most else -1074
    return max(3, (exponent + 1174) // 50 - 1)


# Numbers beyond this are cut after a division, which the CPU does.
_MOST_TOTAL = 2.0**900


def total_of(values, most, weights, plan):
    """The exact sum of numbers times weights, rounded once; `most` as bits of a float64."""
    n = len(values)
    totals = torch.zeros(6, dtype=torch.int64, device=values.device)
    total_digits[(max(1, triton.cdiv(n, 1024)),)](
        values, weights, most, totals, n, WEIGHTED=weights is not None, BLOCK=1024, **EXACT
    )
    found = torch.cat([most, totals]).cpu().numpy()
    largest = float(found[:1].view(np.float64)[0])
    total = engine.Bins(plan.host.isa)
    if not largest < _MOST_TOTAL:
        total.add(values.cpu().numpy(), None if weights is None else weights.cpu().numpy())
        return total.value
    pairs = found[1:].reshape(3, 2).tolist()
    total.merge_state(bins_state(top_of(largest), [(high << 25) + low for high, low in pairs]))
    return total.value
