"""The modules of benchmarks/, which lie outside the package and import each other by name."""

import importlib
import pathlib
import sys
import types

import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "benchmarks"
NAMES = (
    "cuda_tables", "dask_clusters", "data", "environment", "memory", "pair_suites", "peers",
    "report", "running", "single_rows", "suites", "timing",
)  # fmt: skip


@pytest.fixture(scope="session")
def bench():
    """Those modules as attributes; afterwards nobody else finds them by these short names."""
    if not FOLDER.is_dir():
        pytest.skip("only a checkout or a source distribution has the benchmarks")
    before = {name: sys.modules.pop(name, None) for name in NAMES}
    sys.path.insert(0, str(FOLDER))
    try:
        modules = {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.remove(str(FOLDER))
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module
    return types.SimpleNamespace(**modules)


@pytest.fixture(scope="session")
def loaded(bench):
    """The adapters of libraries that the tests' environment has anyway, by name."""
    found, _ = bench.peers.available(["tilewise", "scikit-learn", "scipy cdist"])
    assert {"tilewise", "scikit-learn", "scipy cdist"} == {peer.name for peer in found}
    return {peer.name: peer for peer in found}


@pytest.fixture(autouse=True)
def no_pauses(bench, monkeypatch):
    monkeypatch.setattr(bench.timing, "PAUSE", 0.0)
