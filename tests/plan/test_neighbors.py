"""The plan of a search for neighbours: memory stays flat, every size has a reason."""

import json

import pytest

from tilewise.plan import plan_neighbors

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
