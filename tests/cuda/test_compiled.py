"""What the interpreter cannot tell: kernels compile for GPUs, and round there as the CPU does."""

import json
import os
import pathlib
import subprocess
import sys

import device_cases  # noqa: F401 - skips where there is no Triton
import pytest

_SCRIPT = pathlib.Path(__file__).with_name("compiled_kernels.py")
# Shared memory that blocks of consumers' GPUs have: 99 KiB.
_LEAST_SHARED = 99 * 1024
#: Kernels whose sums have products and additions that are rounded one by one.
_UNFUSED = [
    "differences", "pairs", "norms", "float32 norms", "rows of length one", "candidates", "roots",
    "decision", "decision among all", "sums", "averages", "extremes", "moments", "own distances",
    "seeds", "gains", "draws",
]  # fmt: skip


@pytest.fixture(scope="module")
def code():
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, str(_SCRIPT)], env=environment, capture_output=True, text=True, check=False
    )
    if "ptxas" in done.stderr and "Cannot find" in done.stderr:
        pytest.skip("Triton came without an assembler for GPUs")
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_nothing_is_fused_that_is_not_meant_to_be(code):
    for name in _UNFUSED:
        assert code[name]["fma"] == [], name
    assert code["products"]["fma"] == ["fma.rn.f64"]
    for name in ("float32 differences", "float32 products"):
        assert code[name]["fma"] == ["fma.rn.f32"], name


def test_roots_and_quotients_are_rounded_correctly(code):
    assert code["differences"]["roots"] == ["sqrt.rn.f64"]
    assert code["pairs"]["roots"] == code["roots"]["roots"] == ["sqrt.rn.f64"]
    assert code["float32 differences"]["roots"] == ["sqrt.rn.f32"]
    for name in ("cosines", "rows of length one"):
        assert code[name]["roots"] == ["sqrt.rn.f64"], name
        assert code[name]["quotients"] == ["div.rn.f64"], name


def test_scales_reach_kernels_in_float64(code):
    """The interpreter does not round them to float32, as Triton does otherwise."""
    found = {name: what["scale"] for name, what in code.items() if what["scale"]}
    assert set(found.values()) == {"fp64"}, found
    assert len(found) >= 8


def test_small_numbers_are_kept(code):
    for name, what in code.items():
        # The bands have room for it.
        assert not what["flushes"] or name in ("lists", "look"), name


def test_shared_memory(code):
    for name, what in code.items():
        assert what["shared"] <= _LEAST_SHARED, name
