"""Rows far from zero, and whole numbers that float32 does not hold: their labels stay exact."""

import numpy as np
import pytest
import reference
from device_cases import PLACE, torch

from tilewise.cuda import _passes, _plan
from tilewise.cuda._facts import device_facts
from tilewise.cuda._rows import DeviceRows


@pytest.mark.parametrize(
    ("dtype", "offset", "spread"),
    [
        (np.float32, 1e6, 1), (np.float32, 1e7, 1), (np.float64, 1e12, 1), (np.int32, 10**8, 100),
        (np.int64, 10**12, 100), (np.int64, 10**15, 100),
    ],
)  # fmt: skip
def test_labels(dtype, offset, spread):
    """Rows and centres lose the same origin, whatever type it is rounded to."""
    rng = np.random.default_rng(0)
    X = (spread * rng.normal(size=(300, 8))).round(2).astype(dtype) + dtype(offset)
    centers = X[:60].astype(np.float64) + 0.01 * spread * rng.normal(size=(60, 8))
    rows = DeviceRows(torch.from_numpy(X).to(PLACE))
    facts = device_facts(rows.device)
    plan = _plan.plan_device(300, 8, 60, rows.compute_dtype.name, facts)
    run = _passes.DevicePass(rows, 60, plan)
    run.assign(centers)
    wanted = reference.canonical(X.astype(np.float64), centers).argmin(1)
    assert np.array_equal(run.labels.cpu().numpy(), wanted)
    # The first look still decides most rows: exactness is not bought by looking at all of them.
    assert run.undecided < 150
