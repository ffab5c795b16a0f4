"""Arrays on a device for tests: a GPU's, or tensors in memory where Triton's interpreter runs.

TILEWISE_TEST_DEVICE=cuda asks for a GPU, "interpreter" for the other; by default a GPU is used if
there is one. Tests that import this module are skipped without torch and Triton.
"""

import importlib.util
import inspect
import os
import sys
import types

import numpy as np
import pytest

for _package in ("torch", "triton"):
    if importlib.util.find_spec(_package) is None:
        pytest.skip(f"needs {_package}, which is not installed", allow_module_level=True)

import torch  # noqa: E402
from backend_data import DATA  # noqa: E402

ASKED = os.environ.get("TILEWISE_TEST_DEVICE", "")
ON_GPU = ASKED == "cuda" or (not ASKED and torch.cuda.is_available())
if not ON_GPU:
    # Before anything imports Triton.
    os.environ["TRITON_INTERPRET"] = "1"


def _hasten_interpreter():
    """Let Triton's interpreter list what its modules hold once, not at each call of a function.

    With every call in a kernel it lists them to put its own functions in place, unless they are
    there: half of the time of these tests.
    """
    from triton.language import core
    from triton.runtime import interpreter

    place = getattr(interpreter, "_patch_builtin", None)
    if place is None or list(inspect.signature(place).parameters) != ["pkg", "builder", "scope"]:
        return
    known = {}

    def patch(pkg, builder, scope):
        if pkg not in known:
            members = inspect.getmembers(pkg)
            known[pkg] = [name for name, member in members if core.is_builtin(member)]
        for name in known[pkg]:
            member = getattr(pkg, name)
            if not core.is_builtin(member):
                break  # they were put in place together
            interpreter._patch_attr(pkg, name, member, builder, scope)

    interpreter._patch_builtin = patch


if not ON_GPU:
    _hasten_interpreter()

#: Where tensors of the tests lie.
PLACE = "cuda" if ON_GPU else "cpu"

HAS_CUPY = ON_GPU and importlib.util.find_spec("cupy") is not None
#: Kinds of arrays on the device. Without a GPU, a stand-in takes the place of CuPy.
KINDS = ["torch", "cupy"] if HAS_CUPY or not ON_GPU else ["torch"]


class FakeCupyArray:
    """What CuPy's arrays offer, in memory: they are no NumPy arrays, and do not become any."""

    def __init__(self, values):
        self.values = np.asarray(values)

    shape = property(lambda self: self.values.shape)
    ndim = property(lambda self: self.values.ndim)
    dtype = property(lambda self: self.values.dtype)
    strides = property(lambda self: self.values.strides)
    itemsize = property(lambda self: self.values.itemsize)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, key):
        return FakeCupyArray(self.values[key])

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __dlpack__(self, **how):
        return self.values.__dlpack__()

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()

    def copy(self):
        return FakeCupyArray(self.values.copy())

    def view(self, dtype):
        return FakeCupyArray(self.values.view(dtype))

    def get(self):
        return self.values


def fake_cupy():
    """A module with what tilewise asks of CuPy."""
    module = types.ModuleType("cupy")
    module.ndarray = FakeCupyArray
    module.from_dlpack = lambda tensor: FakeCupyArray(np.from_dlpack(tensor))
    module.asarray = lambda array: FakeCupyArray(np.array(array))
    return module


def on_device(X, kind="torch"):
    """An ndarray as an array on the device."""
    if X is None or not isinstance(X, np.ndarray):
        return X
    if kind == "torch":
        return torch.from_numpy(X.copy()).to(PLACE)
    cupy = sys.modules["cupy"] if not HAS_CUPY else importlib.import_module("cupy")
    return cupy.asarray(X)


def kind_of(array):
    """Which kind an array is: "torch", "cupy" or "numpy"."""
    if isinstance(array, torch.Tensor):
        assert array.device.type == PLACE
        return "torch"
    return "numpy" if isinstance(array, np.ndarray) else "cupy"


def in_memory(array):
    """Any array as an ndarray."""
    if isinstance(array, torch.Tensor):
        return array.cpu().numpy()
    return array if isinstance(array, np.ndarray) else array.get()


def shortened(X, n_rows):
    """Up to so many of the rows, spread over all, if the interpreter has to do with them."""
    return X if ON_GPU else np.ascontiguousarray(X[:: max(1, len(X) // n_rows)][-n_rows:])


def bits(model):
    """Type, shape and bytes of all that a model has learnt, wherever it is."""
    others = ("_plan_", "_report_")
    names = [name for name in vars(model) if name.endswith("_") and not name.endswith(others)]
    values = {}
    for name in sorted(names):
        value = getattr(model, name)
        plain = isinstance(value, int | float | np.number)
        values[name] = np.asarray(value) if plain else in_memory(value)
    return {name: (value.dtype, value.shape, value.tobytes()) for name, value in values.items()}


INITS = ["k-means++", "k-means||", "random", "array", "callable"]


def start_cases(every, rest):
    """Pairs of data and init, with weights or not: all on a GPU, else one of `every`.

    The interpreter meets every init with weights and without, on some of the data.
    """
    return [
        (name, init, weighted)
        for i, name in enumerate(DATA)
        for j, init in enumerate(INITS)
        for weighted in (False, True)
        if ON_GPU or (i + j + 3 * weighted) % every == rest
    ]
