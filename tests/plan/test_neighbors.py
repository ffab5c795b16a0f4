"""The plan of a search for neighbours: memory stays flat, every size has a reason."""

import json

import numpy as np
import pytest

from tilewise import argkmin
from tilewise.plan import plan_neighbors
from tilewise.plan.neighbors import METHODS, block_shape
from tilewise.plan.thresholds import SCAN_ROWS, SERIAL_WORK, STORED_SHARE

SHAPES = [
    (n, m, d, k)
    for n in (0, 1, 5, 100, 20_000, 10**7)
    for m in (0, 1, 2000, 10**8)
    for d in (0, 1, 64, 5000)
    for k in (0, 1, 10, 1000)
]


@pytest.mark.parametrize("threads", [1, 2, 64])
def test_sizes_fit_each_other(threads):
    for n, m, d, k in SHAPES:
        p = plan_neighbors(n, m, d, k=k, n_threads=threads)
        assert p.chunk_rows >= 1
        assert p.group_rows % p.chunk_rows == 0
        assert 1 <= p.splits <= threads
        assert 1 <= p.n_threads <= threads
        assert p.block_rows >= 1
        json.dumps(p.to_dict())
        assert all(text in str(p) for text in p.reasons.values())
        assert len(p.sentences()) == len(p.reasons)
        assert all(text in s for s, text in zip(p.sentences(), p.reasons.values(), strict=True))


@pytest.mark.parametrize("threads", [1, 2, 16])
def test_memory_is_flat(threads):
    """It depends on threads, on columns and on k, never on how many rows there are."""
    for d in (1, 64, 768):
        for k in (0, 1, 10, 100):
            most = max(
                plan_neighbors(n, m, d, k=k, n_threads=threads).workspace_bytes
                for n in (1, 1000, 10**8)
                for m in (10**4, 10**8)
            )
            assert most < (16 + 16 * threads) * 2**20


def test_every_row_counts_towards_the_same_group_length():
    p = plan_neighbors(3000, 5000, 768, k=10, n_threads=1)
    groups = -(-p.n_x // p.group_rows)
    assert p.group_rows * groups - p.n_x < groups * p.chunk_rows


def test_short_x_shares_out_y():
    assert plan_neighbors(1, 10**6, 64, k=10, n_threads=8).splits == 8
    assert plan_neighbors(10**5, 10**6, 64, k=10, n_threads=8).splits == 1


@pytest.mark.parametrize(
    "bad", [{"n_x": -1}, {"n_y": 1.5}, {"k": True}, {"chunk_rows": 0}, {"block_rows": -3}]
)
def test_sizes_out_of_range(bad):
    sizes = {"n_x": 10, "n_y": 10, "n_features": 3, **bad}
    with pytest.raises(ValueError, match=next(iter(bad))):
        plan_neighbors(**sizes)


@pytest.mark.parametrize("products", [0, 3, 6])
def test_products_are_told_as_a_sentence(products):
    p = plan_neighbors(20_000, 2000, 64, k=10, products=products)
    assert p.products == products
    told = [s for s in p.sentences() if s.startswith("Products: ")]
    assert told == [f"Products: {text}" for name, text in p.reasons.items() if name == "products"]
    assert len(told) == (products > 0)


@pytest.mark.parametrize(
    ("n", "m", "d", "k", "density", "method"),
    [
        (3, 10_000, 64, 5, (None, None), "scan"),
        (4, 10_000, 64, 5, (None, None), "scores"),
        (1000, 100, 4, 50, (None, None), "brute force"),
        (1000, 100, 4, 50, (None, 0.9), "brute force"),
        (1000, 100, 4, 50, (0.9, None), "scores"),
        (1000, 100, 4, 0, (None, None), "scores"),
        (1000, 1000, 500, 5, (0.05, None), "csr"),
        (1000, 1000, 500, 5, (0.06, None), "scores"),
        (1000, 1000, 500, 0, (0.05, 0.06), "csr"),
        (1000, 1000, 500, 0, (0.06, 0.06), "scores"),
        (2, 1000, 500, 0, (0.06, 0.06), "scan"),
    ],
)
def test_the_method_and_its_threshold_are_told(n, m, d, k, density, method):
    p = plan_neighbors(n, m, d, k=k, density=density, n_threads=1)
    assert p.method == method
    text = p.reasons["method"]
    if method != "brute force" and density != (None, None):
        sides = "one side" if None in density else "both sides"
        assert f"{100 * STORED_SHARE['neighbors, ' + sides]:g} %" in text
    if method == "scan":
        assert f"fewer than {SCAN_ROWS}" in text


def test_a_method_can_be_asked_for():
    for method in METHODS:
        k = 1 if method == "assignment" else 3
        assert plan_neighbors(1000, 100, 4, k=k, method=method, density=(0.5, 0.5)).method == method
    for sizes in ({"n_y": 129}, {"k": 0}):
        with pytest.raises(ValueError, match="nearest of up to 128 rows"):
            plan_neighbors(**{"n_x": 9, "n_y": 9, "n_features": 4, **sizes}, method="brute force")
    for sizes in ({"n_y": 0}, {"k": 2}):
        with pytest.raises(ValueError, match="finds one neighbour"):
            plan_neighbors(**{"n_x": 9, "n_y": 9, "n_features": 4, **sizes}, method="assignment")
    with pytest.raises(ValueError, match="needs a CSR side"):
        plan_neighbors(10, 10, 4, method="csr")
    with pytest.raises(ValueError, match="method='few' is not one of 'scores'"):
        plan_neighbors(10, 10, 4, method="few")


def test_one_thread_and_why():
    for kind, sizes in (
        ("neighbors", {"n_x": 200, "n_y": 200}),
        ("brute force", {"n_x": 200, "n_y": 5}),
        ("csr neighbors", {"n_x": 200, "n_y": 200, "density": (0.01, 0.01)}),
    ):
        p = plan_neighbors(**sizes, n_features=4)
        assert p.n_threads == 1
        limit = SERIAL_WORK[kind]
        told = p.reasons["n_threads"]
        assert f"(fewer than {limit.value})" in told or told.startswith("1 (")
        assert plan_neighbors(**sizes, n_features=4, n_threads=2).n_threads in (1, 2)


def test_rows_wider_than_l2():
    """One row of X may be longer than the share of L2 that a chunk takes."""
    assert plan_neighbors(100, 100, 400_000, k=3).chunk_rows >= 1
    X = np.random.RandomState(0).standard_normal((6, 400_000)).astype(np.float32)
    assert argkmin(X, None, 1)[1].ravel().tolist() == list(range(6))


def test_blocks_of_distances_fit_their_share():
    for n, m in ((1, 10**7), (3, 100), (10**6, 10**6), (10**6, 5), (0, 4), (4, 0)):
        for threads in (1, 4):
            height, columns = block_shape(n, m, n_threads=threads)
            assert 1 <= height <= max(1, n)
            assert 1 <= columns <= max(1, m)
            assert 8 * height * columns <= 2**20 * threads
        for sparse in ((True, True), (True, False), (False, True)):
            height, columns = block_shape(n, m, sparse=sparse)
            assert 8 * height * columns <= 8 * 2**20
    assert block_shape(10**6, 10**6, candidate_bytes=2**20)[0] == 16
