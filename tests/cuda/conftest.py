"""Tests of tilewise.cuda run on a GPU, or through Triton's interpreter; see `device_cases`."""

import sys

import pytest


@pytest.fixture(scope="session")
def device():
    """Where the tests' tensors live."""
    from device_cases import PLACE, torch

    return torch.device(PLACE)


@pytest.fixture(autouse=True)
def device_arrays(monkeypatch):
    """Without a GPU, tensors in memory count as arrays on a device, and CuPy has a stand-in."""
    cases = sys.modules.get("device_cases")
    if cases is None or cases.ON_GPU:
        yield
        return
    from tilewise.cuda import _arrays

    _arrays.DEVICE_TYPES.add("cpu")
    monkeypatch.setitem(sys.modules, "cupy", cases.fake_cupy())
    yield
    _arrays.DEVICE_TYPES.discard("cpu")
