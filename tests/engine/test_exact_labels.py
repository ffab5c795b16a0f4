"""Labels are those of the plain reference, whatever scores them."""

import hostile
import numpy as np
import pytest
import reference
import scipy.sparse as sp
from cluster_data import DENSE
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tilewise import engine


def wanted(X, centers):
    with np.errstate(all="ignore"):
        return reference.assign(reference.Rows(X), centers)


def check(X, centers, **changes):
    expected = wanted(X, centers)
    for way, rows, plan in hostile.plans(X, len(centers), **changes):
        labels = engine.assign(rows, centers, plan)
        assert labels.dtype == np.int32
        wrong = np.flatnonzero(labels != expected)
        assert not len(wrong), (
            f"{way}: row {wrong[0]} of {X.shape} got {labels[wrong[0]]}, not {expected[wrong[0]]}"
        )


@pytest.mark.parametrize(("name", "dtype"), hostile.CASES, ids=hostile.CASE_NAMES)
def test_hostile_data(name, dtype):
    seed = hostile.CASES.index((name, dtype))
    rng = np.random.RandomState(seed)
    for n, d, k in hostile.shapes(seed):
        check(*hostile.make(name, rng, n, d, k, dtype))
