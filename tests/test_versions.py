"""The report of versions says what a maintainer asks first."""

import importlib
import io
import json
import sys
import types

import pytest

from tilewise import _versions
from tilewise._version import __version__


@pytest.fixture
def dispatch(monkeypatch):
    """Stand in for the compiled dispatch, so that the report's text is known."""
    fake = types.ModuleType("tilewise.kernels._dispatch")
    fake.isa = lambda: "sse2"
    fake.available_isas = lambda: ["avx2", "sse2"]
    fake.has_openmp = lambda: True
    fake.has_byte_products = lambda name: False
    fake.omp_max_threads = lambda: 1
    fake.pool_lost = lambda: False
    package = importlib.import_module("tilewise.kernels")
    monkeypatch.setattr(package, "_dispatch", fake, raising=False)
    monkeypatch.setitem(sys.modules, "tilewise.kernels._dispatch", fake)
    monkeypatch.delenv("TILEWISE_ISA", raising=False)
    cached = importlib.import_module("tilewise.plan.machine")._machine
    cached.cache_clear()
    yield fake
    cached.cache_clear()


def test_report_is_json_safe_and_complete(dispatch):
    told = json.loads(json.dumps(_versions.versions(), allow_nan=False))
    assert told["packages"]["tilewise"] == __version__
    for name in ("numpy", "scipy", "scikit-learn"):
        assert (
            told["packages"][name]
            == importlib.import_module(name.replace("scikit-learn", "sklearn")).__version__
        )
    assert told["build"] == {
        "cython": None,
        "openmp": True,
        "isa": "sse2",
        "available_isas": ["avx2", "sse2"],
    }
    assert told["machine"]["isa"]["value"] == "sse2"
    assert told["n_threads"]["value"] == 1
    assert isinstance(told["thread_pools"], list)


@pytest.mark.parametrize("form", ["3.1.2", lambda: "3.1.2"])
def test_build_version_of_cython(dispatch, form):
    dispatch.cython_version = form
    assert _versions.versions()["build"]["cython"] == "3.1.2"


def test_printed_report(dispatch, capsys):
    out = io.StringIO()
    _versions.show_versions(file=out)
    assert capsys.readouterr().out == ""
    lines = out.getvalue().splitlines()
    for title in ("Packages", "Python", "Build", "Machine", "Threads", "Thread pools"):
        assert title in lines
    fields = [line.split() for line in lines]
    assert ["tilewise", __version__] in fields
    assert ["cython", "unknown"] in fields
    assert ["openmp", "yes"] in fields
    assert ["available_isas", "avx2,", "sse2"] in fields


def test_prints_to_standard_output(dispatch, capsys):
    _versions.show_versions()
    assert capsys.readouterr().out.startswith("Packages\n  tilewise")


def test_missing_package_is_unknown(dispatch, monkeypatch):
    monkeypatch.setattr(_versions, "_DISTRIBUTIONS", ("tilewise-no-such-package",))
    assert _versions.versions()["packages"]["tilewise-no-such-package"] is None
