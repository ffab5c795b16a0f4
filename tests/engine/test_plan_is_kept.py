"""What a plan says is what runs: in memory, in parts, in batches, for neighbours, for seeding."""

import dataclasses

import hostile
import numpy as np
import pytest
import scipy.sparse as sp
from stream_data import ArraySource, clouds, streamed

from tilewise import KMeans, MiniBatchKMeans, engine
from tilewise.engine import neighbors, passes
from tilewise.engine.streaming import CpuStreams
from tilewise.kernels import (
    _assign,
    _brute_force,
    _minibatch,
    _near,
    _near_csr,
    _seeding,
    _sparse,
    _workspace,
)
from tilewise.plan import plan_neighbors
from tilewise.plan.nest import LoopNest

#: (rows, features, clusters): every layout, on whichever instruction set.
SHAPES = [
    (900, 2, 100),
    (900, 3, 5),
    (700, 40, 30),
    (600, 70, 50),
    (500, 130, 40),
    (400, 300, 33),
    (10_001, 70, 600),
]
#: Under the address sanitizer gaps that nobody may touch follow the buffers.
GUARDED = 23 * _workspace.GUARD


class Told:
    """Stands in for a kernel and notes with which sizes it was made, and what it is then."""

    def __init__(self, kind, monkeypatch, module, name):
        self.sizes, self.args, self.kernels = [], [], []

        def made(*args, **sizes):
            kernel = kind(*args, **sizes)
            self.sizes.append(sizes)
            self.args.append(args)
            self.kernels.append(kernel)
            return kernel

        monkeypatch.setattr(module, name, made)

    def clear(self):
        """Forget what was made so far."""
        for kept in (self.sizes, self.args, self.kernels):
            kept.clear()


@pytest.fixture
def assignments(monkeypatch):
    # Groups from the first pass on.
    monkeypatch.setattr(passes, "GROUPS_AFTER", 0.0)
    return Told(_assign.Assignment, monkeypatch, _assign, "Assignment")


def allocated(kernel, nest):
    """Whether a kernel holds the buffers of a loop nest, and nothing else."""
    workspaces, shared = kernel.allocated
    at = kernel.addresses
    assert {*nest.shared, "workspace"} == set(at)
    # Each begins where the one before ends, at a cache line.
    ends = {at[name] + -(-size // 64) * 64 for name, size in nest.shared.items()}
    begins = {at[name] for name in nest.shared}
    assert GUARDED or ends - begins == {at["packed"] + shared}
    planned = sum(-(-size // 64) * 64 for size in nest.shared.values())
    assert planned <= shared <= max(planned + GUARDED, _workspace.LEAST)
    planned = nest.n_threads * nest.workspace_bytes
    assert planned <= workspaces <= max(planned + nest.n_threads * GUARDED, _workspace.LEAST)


def compare(plan, told):
    """Whether the first pass had the sizes of the plan, and every pass the bytes that it states."""
    assert told.args, "no kernel was made"
    # Products, and scores of float32, are given up where they leave too many rows open. Groups,
    # where there are any, come last.
    rows, nest = told.args[-1 if plan.groups else 0]
    grouped = bool(nest.groups)
    assert nest.groups == plan.groups
    assert nest == LoopNest.of(plan, rows, grouped=grouped)
    same = {
        "isa": nest.isa, "layout": nest.layout,
        "score_dtype": "float64" if nest.item == 8 else "float32",
        "group_rows" if grouped else "chunk_rows": nest.chunk_rows,
        "panels_per_block": nest.panels_per_block, "shard_rows": nest.shard_rows,
        "n_threads": nest.n_threads, "shards_per_call": nest.shards_per_call,
    }  # fmt: skip
    # Scores of groups are plain.
    if not (grouped and plan.products):
        same |= {"tile_rows": nest.tile_rows, "panel_columns": nest.width}
        same |= {"products": nest.products}
    assert {name: getattr(plan, name) for name in same} == same
    if plan.layout == "centres-in-lanes":
        assert min(nest.depth_block, plan.n_features) == plan.depth_block
    if plan.layout != "csr":
        # Of stored entries a plan knows the density, not the longest row.
        staged = 0 if rows.is_direct else nest.workspace["staging"]
        held = max(nest.workspace_bytes, LoopNest.of(plan, rows).workspace_bytes)
        assert held - staged <= plan.workspace_bytes_per_thread <= held
    for (_, planned), kernel in zip(told.args, told.kernels, strict=True):
        allocated(kernel, planned)


@pytest.mark.parametrize("isa", hostile.ISAS)
@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fits(isa, n, d, k, dtype, assignments, monkeypatch):
    monkeypatch.setenv("TILEWISE_ISA", isa)
    X = np.random.default_rng(0).normal(size=(n, d)).astype(dtype)
    start = X[:k].copy()
    for rows in (X, ArraySource(X)):
        for how in ({}, {"engine": "blas"}, {"chunk_size": 64, "n_threads": 2}):
            assignments.clear()
            model = KMeans(k, init=start, n_init=1, max_iter=2, **how).fit(rows)
            assert model.chunk_plan_.isa == isa
            compare(model.chunk_plan_, assignments)
            assignments.clear()
            small = MiniBatchKMeans(k, init=start, n_init=1, max_iter=1, batch_size=200, **how)
            compare(small.fit(rows).chunk_plan_, assignments)


def test_fits_of_sparse_rows(assignments):
    X = sp.random(500, 400, density=0.01, format="csr", random_state=0)
    model = KMeans(7, random_state=0, n_init=1).fit(X)
    assert model.chunk_plan_.layout == "csr"
    compare(model.chunk_plan_, assignments)


@pytest.mark.parametrize(("isa", "products"), hostile.SPLITS)
def test_parts_have_the_products_of_the_plan(isa, products, assignments):
    """A plan with products, whatever the processor, in memory and in parts."""
    X = np.random.default_rng(0).normal(size=(900, 70)).astype(np.float32)
    plan = hostile.plan_for(engine.Rows(X), 50, isa, products=products)
    assert plan.products == products
    for rows in (engine.Rows(X), streamed(X)):
        assignments.clear()
        engine.Pass(rows, 50, plan).assign(X[:50].astype(np.float64))
        compare(plan, assignments)


def test_streamed_plans_are_those_that_read(monkeypatch):
    planned = []
    plan_memory = CpuStreams.plan_memory

    def noted(backend, rows, *args, **needs):
        planned.append(rows)
        return plan_memory(backend, rows, *args, **needs)

    monkeypatch.setattr(CpuStreams, "plan_memory", noted)
    model = KMeans(3, n_init=1, random_state=0, memory_limit="3MB")
    model.fit(ArraySource(clouds(9000, 20)))
    rows, plan = planned[-1], model.stream_plan_
    assert (rows.buffer_rows, rows.piece_rows) == (plan.buffer_rows, plan.piece_rows)
    assert plan.buffer_bytes == 2 * rows.buffer_rows * 20 * 4
    assert plan.n_parts == -(-9000 // rows.buffer_rows)
    # Moments, an assignment for each iteration, and labels.
    assert model.stream_report_.rows >= 9000 * 2
    assert model.labels_.nbytes + 8 * 9000 * plan.bounds == plan.row_bytes * 9000


@pytest.mark.parametrize("isa", hostile.ISAS)
@pytest.mark.parametrize("k", [0, 1, 10])
def test_neighbours(isa, k, monkeypatch):
    told = Told(_near.Search, monkeypatch, _near, "Search")
    X = np.random.default_rng(0).normal(size=(300, 70)).astype(np.float32)
    rows = engine.Rows(X)
    plan = plan_neighbors(
        300, 300, 70, X.dtype, k=k, n_threads=2, machine=hostile.machine_with(isa)
    )
    neighbors._Search(rows, rows, k, plan)
    assert told.sizes[0].pop("direct") == (plan.method == "scan")
    for name, value in told.sizes[0].items():
        assert value == getattr(plan, name), name
    # Every size of the plan is one that the kernel is told, or follows from the data.
    sizes = {field.name for field in dataclasses.fields(plan)} - set(told.sizes[0])
    assert sizes == {
        "n_x", "n_y", "n_features", "method", "dtype", "workspace_bytes", "reasons", "assignment",
    }  # fmt: skip
    assert plan.assignment is None


@pytest.mark.parametrize("isa", hostile.ISAS)
def test_nearest_rows_that_are_assigned(isa, assignments):
    X = np.random.default_rng(0).normal(size=(2000, 20)).astype(np.float32)
    rows = engine.Rows(X), engine.Rows(X[:150])
    plan = plan_neighbors(
        2000, 150, 20, X.dtype, k=1, n_threads=2, machine=hostile.machine_with(isa)
    )
    assert plan.method == "assignment"
    engine.argkmin(*rows, 1, plan=plan)
    compare(plan.assignment, assignments)
    same = ("chunk_rows", "n_threads", "score_dtype", "isa")
    assert all(getattr(plan, name) == getattr(plan.assignment, name) for name in same)


def test_seeding_and_updates_have_the_threads_of_the_plan(monkeypatch):
    seeding = Told(_seeding.Seeding, monkeypatch, _seeding, "Seeding")
    update = Told(_minibatch.Update, monkeypatch, _minibatch, "Update")
    # Long enough that threads are worth starting.
    X = np.random.default_rng(0).normal(size=(60_000, 20)).astype(np.float32)
    for rows in (X, ArraySource(X)):
        model = KMeans(9, n_threads=2, random_state=0, max_iter=2).fit(rows)
        assert seeding.sizes[-1]["isa"] == model.chunk_plan_.isa
        assert seeding.sizes[-1]["n_threads"] == model.chunk_plan_.n_threads == 2
        model = MiniBatchKMeans(9, n_threads=2, random_state=0, batch_size=30_000, max_iter=2)
        model.fit(rows)
        assert update.sizes[-1]["n_threads"] == model.chunk_plan_.n_threads == 2
        assert update.sizes[-1]["isa"] == model.chunk_plan_.isa


@pytest.mark.parametrize("stored", [0.1, 0.5])
def test_distances_to_centres_take_stored_entries_if_few_are_stored(stored, monkeypatch):
    """`transform` of CSR rows: the plan of the matrix knows the density, and is kept."""
    calls = []
    fill = _sparse.fill_sparse
    monkeypatch.setattr(
        _sparse, "fill_sparse", lambda *args, **sizes: (calls.append(1), fill(*args, **sizes))
    )
    X = sp.random(300, 60, density=stored, format="csr", random_state=0)
    KMeans(3, n_init=1, random_state=0).fit(X).transform(X)
    assert bool(calls) == (stored < 0.2)


@pytest.mark.parametrize("method", ["brute force", "csr", "scan", "scores"])
def test_the_method_of_the_plan_is_what_runs(method, monkeypatch):
    ran = []
    kernels = {
        "brute force": (_brute_force, "rank_all"), "csr": (_near_csr, "Nearest"),
        "scan": (_near, "Search"), "scores": (_near, "Search"),
    }  # fmt: skip
    for name, (module, attribute) in kernels.items():
        if name == method or module is not kernels[method][0]:
            told = Told(getattr(module, attribute), monkeypatch, module, attribute)
            ran.append((name, told))
    X = np.random.default_rng(0).normal(size=(2 if method == "scan" else 900, 6))
    Y = np.random.default_rng(1).normal(size=(9 if method == "brute force" else 300, 6))
    if method == "csr":
        X = sp.csr_array(np.where(np.arange(300) < 5, np.resize(X, (900, 300)), 0.0))
        Y = np.resize(Y, (300, 300))
    engine.argkmin(engine.Rows(X), engine.Rows(Y), 3)
    assert [name for name, told in ran if told.sizes] == [method]
    if method in ("scan", "scores"):
        assert ran[-1][1].sizes[0]["direct"] == (method == "scan")
