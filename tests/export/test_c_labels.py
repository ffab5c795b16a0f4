"""Labels and distances of exported C, by every compiler that is here, against Python."""

import itertools

import numpy as np
import pytest
from c_models import COMPILERS, GROUPS, LEVELS, call, cases_of, header_of, labels_of, library

# All four levels for GCC; the others where they differ.
BUILDS = [
    *itertools.product(("gcc", "g++"), LEVELS),
    ("clang", "-O3 -march=native"),
    ("clang++", "-O2"),
    ("gcc gnu", "-O3 -march=native"),
    ("clang fast", "-O3 -march=native"),
]
assert {compiler for compiler, _ in BUILDS} == set(COMPILERS)


def tolerance(real):
    return 1e-6 if real == np.float32 else 1e-13


@pytest.fixture(scope="module", params=BUILDS, ids=lambda build: " ".join(build))
def build(request):
    return request.param


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_every_row_has_the_label_of_predict(build, group, tmp_path):
    cases = cases_of(group)
    built = library(tmp_path, *build, {name: header_of(case, name) for name, case in cases.items()})
    wrong = {}
    for name, case in cases.items():
        labels, canonical, plain = labels_of(group, name)
        found = call(built, name, "predict", case.X)
        wrong[name] = (found != labels).sum() + (found != canonical)[plain].sum()
        k, real = len(case.centers), case.centers.dtype
        own, far = call(built, name, "nearest", case.X, real)
        assert np.array_equal(own, found)
        status, distances = call(built, name, "transform", case.X, real, (k,))
        assert not status.any()
        expected = np.float64(case.model.transform(case.X.astype(real)))
        least = np.finfo(real).smallest_subnormal
        np.testing.assert_allclose(
            distances, expected, rtol=tolerance(real), atol=least, err_msg=name
        )
        np.testing.assert_array_equal(far, distances[np.arange(len(found)), found])
    assert not any(wrong.values()), {name: count for name, count in wrong.items() if count}


@pytest.mark.parametrize("group", ["float32", "float64"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_nan_and_infinity_have_no_label(group, compiler, tmp_path):
    cases = {name: case for name, case in cases_of(group).items() if name.startswith("edge")}
    built = library(
        tmp_path, compiler, "-O2", {name: header_of(case, name) for name, case in cases.items()}
    )
    for name, case in cases.items():
        X = np.repeat(case.X[:1], 3 * case.X.shape[1] + 1, axis=0)
        bad = itertools.product(range(X.shape[1]), (np.nan, np.inf, -np.inf))
        for row, (column, value) in enumerate(bad):
            X[row, column] = value
        real, k = X.dtype, len(case.centers)
        found = call(built, name, "predict", X)
        assert (found[:-1] == -1).all()
        assert found[-1] == case.model.predict(X[-1:])[0]
        for function, shape in (("nearest", ()), ("transform", (k,))):
            status, far = call(built, name, function, X, real, shape)
            assert (status[:-1] == -1).all()
            assert status[-1] >= 0
            assert (far[:-1] == -7).all()
            assert (far[-1] >= 0).all()
