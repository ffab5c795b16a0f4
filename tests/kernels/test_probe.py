"""What measures the machine: every loop runs on sizes that leave a rest, for each instruction set.

The rates mean nothing here. A build that checks indices or memory sees every access.
"""

import math

import numpy as np
import pytest

from tilewise.kernels import _mountain, _probe
from tilewise.kernels._dispatch import available_isas

ISAS = available_isas()


def is_a_rate(value):
    return math.isfinite(value) and value > 0


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_multiply_adds(isa, dtype):
    for threads in (1, 3):
        assert is_a_rate(_probe.fma_gflops(dtype, threads, isa, 1000))


@pytest.mark.parametrize("isa", ISAS)
def test_tiles_are_multiplied_where_the_instruction_set_has_them(isa):
    found = _probe.product_gflops(2, isa, 3)
    assert (found is not None) == (isa == "amx")
    assert found is None or is_a_rate(found)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("size", [4096, 10_000, 65_536 + 8])
def test_bandwidth(threads, size):
    assert is_a_rate(_probe.stream_gbs(threads, size))
    assert is_a_rate(_probe.store_gbs(threads, False, size))
    streamed = _probe.store_gbs(threads, True, size)
    assert streamed is None or is_a_rate(streamed)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("stride", [1, 2, 7, 8, 100])
@pytest.mark.parametrize("count", [1, 7, 63, 64, 65, 1000])
def test_reading(isa, stride, count):
    """Every word belongs to the array, so a read beyond its end is a defect that checks can see."""
    assert _mountain.read_seconds(np.ones(count), stride, 2, isa) >= 0
    if count >= 64:
        assert _mountain.read_seconds(np.ones(count), stride, 2, isa, 3) >= 0


def test_walking():
    assert _mountain.walk_seconds(np.zeros(1, dtype=np.int64), 0, 3) >= 0
    assert _mountain.walk_seconds(np.roll(np.arange(9), -1), 8, 100) >= 0
