"""Which screen k-means++ gets, what that takes, and that the plan says so."""

import mmap

import numpy as np
import pytest
import scipy.sparse as sp

from tilewise import KMeans, engine, plan
from tilewise.plan.seeding import SEED_BYTES, seeding_for
from tilewise.plan.thresholds import SEEDING_COPY_SETS, SEEDING_COPY_SHARE


@pytest.mark.parametrize("item", [4, 8])
@pytest.mark.parametrize("isa", [*SEEDING_COPY_SETS, "neon"])
def test_a_copy_takes_a_third_of_the_data_at_most(item, isa):
    ways = set()
    for d in range(1, 2000):
        found = seeding_for(100_000, d, 64, item, isa)
        ways.add(found.way)
        extra = found.row_bytes - SEED_BYTES - found.kept
        assert (extra > 0) == (found.way == "copy")
        assert extra <= SEEDING_COPY_SHARE * d * item
        assert 4 <= found.kept <= 12
        assert f"{found.row_bytes} bytes per row" in found.reason
        lean = seeding_for(100_000, d, 64, item, isa, spare=False)
        assert (lean.way, lean.row_bytes) == ("lanes", SEED_BYTES)
    assert ways == ({"lanes"} if isa == "neon" else {"lanes", "copy"})


def test_little_work_makes_no_copy():
    assert seeding_for(1000, 64, 8, 4, "avx2").way == "lanes"
    assert seeding_for(100_000, 64, 8, 4, "avx2").way == "copy"


def test_sentences():
    copied, lean = (plan(200_000, 64, 256, spare=spare) for spare in (True, False))
    assert "rounded to bytes once (72 bytes per row" in copied.reasons["seeding"]
    assert "memory is limited" in lean.reasons["seeding"]
    assert any(text.startswith("Seeding: rows are") for text in copied.sentences())
    assert lean.to_dict()["seeding"] == "lanes"
    sparse = plan(200_000, 64, 256, density=0.01)
    assert (sparse.seeding, sparse.seeding_row_bytes) == ("entries", 14)
    assert "rows are sparse" in plan(200_000, 64, 256, density=0.2).reasons["seeding"]


def test_mapped_rows_are_not_copied(tmp_path):
    X = np.random.default_rng(0).normal(size=(20_000, 64)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    with open(tmp_path / "X.npy", "rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        raw = np.frombuffer(pages, np.float32, X.size, offset=128).reshape(X.shape)
        for rows, way in (
            (X, "copy"), (X[::2], "copy"), (mapped, "lanes"), (mapped[1::2, ::-1], "lanes"),
            (mapped[5:].view(np.float32), "lanes"), (raw, "lanes"), (sp.csr_array(X), "lanes"),
        ):  # fmt: skip
            found = engine.Rows(rows)
            assert found.is_mapped == (rows is not X and way == "lanes" and not found.is_sparse)
            assert engine.backend_of(found).plan(found, 64).seeding == way
        del raw, rows, found
        pages.close()


def test_a_limit_of_memory_leaves_no_copy():
    X = np.random.default_rng(0).normal(size=(25_000, 40)).astype(np.float32)
    found = [
        KMeans(40, memory_limit=limit, random_state=0, n_init=1, max_iter=2).fit(X)
        for limit in (None, "100MB")
    ]
    assert np.array_equal(found[0].labels_, found[1].labels_)
    assert found[0]._plan(engine.Rows(X), 40).seeding == "copy"
    assert found[1]._plan(engine.Rows(X), 40).seeding == "lanes"
