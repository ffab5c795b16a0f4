"""What plans state of a device's memory is what tensors take there."""

import numpy as np
import pytest
from device_cases import ON_GPU, PLACE, torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from tilewise import KMeans
from tilewise.cuda import _clusters, _passes, _plan, _seeding
from tilewise.cuda._facts import device_facts
from tilewise.cuda._moments import column_stats
from tilewise.cuda._rows import DeviceRows

# Buffers of a few numbers: counters, facts of packed centres, a draw's targets.
SMALL = 2**11


class Held(TorchDispatchMode):
    """Counts the bytes of tensors that operations make, and the most of them at a time."""

    def __init__(self, *known):
        super().__init__()
        self.peak, self._live = 0, {}
        given = (tensor for tensor in known if tensor is not None)
        self._known = {tensor.untyped_storage().data_ptr() for tensor in given}

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        result = function(*arguments, **(named or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == PLACE:
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in self._known:
                    self._live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._live = {key: own for key, own in self._live.items() if not own[0].expired()}
        self.peak = max(self.peak, self.now)
        return result

    @property
    def now(self):
        """Bytes that are held."""
        return sum(size for reference, size in self._live.values() if not reference.expired())


def opened(n, d, k, dtype=np.float32):
    X = np.random.default_rng(0).uniform(1, 2, (n, d)).astype(dtype)
    rows = DeviceRows(torch.from_numpy(X).to(PLACE))
    facts = device_facts(rows.device)
    return rows, _plan.plan_device(n, d, k, rows.compute_dtype.name, facts), X


def ones(n):
    return torch.ones(n, dtype=torch.float64, device=PLACE)


def close(held, planned):
    """No more than planned, and nothing planned that is not held."""
    return planned - SMALL <= held <= planned + SMALL


@pytest.mark.parametrize("shape", [(1500, 3, 5), (300, 70, 90)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predict(shape, dtype):
    rows, plan, X = opened(*shape, dtype)
    with Held(rows.tensor) as held:
        run = _passes.DevicePass(rows, shape[2], plan)
        run.assign(X[: shape[2]].astype(np.float64))
    assert close(held.peak, plan.bytes_of("predict"))


@pytest.mark.parametrize(
    ("shape", "weighted", "dtype"),
    [
        ((1500, 3, 5), False, np.float32),
        ((1500, 3, 5), True, np.float32),
        ((150, 20, 90), True, np.float64),
        ((100, 150, 2), False, np.float64),
    ],
)
def test_fit(shape, weighted, dtype):
    rows, plan, X = opened(*shape, dtype)
    n, _, k = shape
    weights = ones(n) - 0.3 if weighted else None
    stats = column_stats(rows, plan)
    with Held(rows.tensor, weights) as held:
        run = _passes.DevicePass(rows, k, plan, sums=True, stats=stats, weights=weights)
        centers = run.hold(X[:k].astype(np.float64))
        other = run.blank(centers)
        for _ in range(2):
            run.assign_and_sum(centers)
            if run.average(other) is None:
                break
            centers, other = other, centers
        run.inertia(centers)
    ledger = plan.ledger("fit", weighted=weighted)
    planned = sum(ledger.values()) - ledger["weights"]  # these were there before
    # The CPU averages where rows have weights. In the interpreter its array counts as well.
    host = 8 * k * rows.n_features if weighted and not ON_GPU else 0
    assert planned - SMALL <= held.peak <= planned + host + SMALL


@pytest.mark.parametrize("weighted", [False, True])
def test_seeding(weighted):
    n, d, k = 9000, 4, 3
    rows, plan, _ = opened(n, d, k)
    weights = ones(n) + 0.5 if weighted else None
    with Held(rows.tensor, weights) as held:
        run = _seeding.DeviceSeeding(rows, weights, plan)
        run.take(run.first(np.random.RandomState(0)))
        run.take(int(np.argmax(run.gains([5, 17]))))
    ledger = plan.ledger("seeding", weighted=weighted)
    assert close(held.peak, sum(ledger.values()) - ledger["weights"] // 2)


def test_constants_are_those_of_the_passes():
    assert (_passes._CAP, _seeding._BLOCK) == (_plan.CANDIDATES, _plan.SEED_BLOCK)
    assert (_clusters._COPIES, _clusters._COPIES_BYTES) == (_plan.COPIES, _plan.COPIES_BYTES)


def test_a_whole_fit():
    """From rows to inertia, with a start, within what is stated for its parts."""
    n, d, k = 2000, 6, 4
    rows, plan, _ = opened(n, d, k)
    with Held(rows.tensor) as held:
        KMeans(k, n_init=1, max_iter=2, random_state=0).fit(rows.tensor)
    assert held.peak <= plan.bytes_of("fit") + plan.bytes_of("seeding") + SMALL


@pytest.mark.skipif(not ON_GPU, reason="needs a GPU: its allocator is asked")
@pytest.mark.parametrize("weighted", [False, True])
def test_what_the_allocator_counts(weighted):
    n, d, k = 500_000, 32, 100
    rows, plan, X = opened(n, d, k)
    weights = ones(n) if weighted else None
    stats = column_stats(rows, plan)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run = _passes.DevicePass(rows, k, plan, sums=True, stats=stats, weights=weights)
    centers = run.hold(X[:k].astype(np.float64))
    run.assign_and_sum(centers)
    run.average(run.blank(centers))
    run.inertia(centers)
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    ledger = plan.ledger("fit", weighted=weighted)
    planned = sum(ledger.values()) - ledger["weights"]
    # Each tensor takes whole blocks of 512 bytes, large ones of 2 MiB.
    assert 0.8 * planned <= peak <= planned + 2**22
