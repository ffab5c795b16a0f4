"""Narrow values become float32 and float64 without loss, by every instruction set."""

import numpy as np
import pytest
from tensors import narrowed, widened

from tilewise import machine
from tilewise._numbers import BFLOAT16
from tilewise.engine import Rows
from tilewise.kernels._dispatch import available_isas

ISAS = [isa for isa in available_isas() if isa != "amx"]
ALL = np.arange(2**16, dtype=np.uint16)

# Every value of two bytes, and of one; of wider types the ends and some between.
VALUES = {
    "f2": ALL.view(np.float16),
    "bfloat16": ALL.view(BFLOAT16),
    "i2": ALL.view(np.int16),
    "u2": ALL,
    "i1": np.arange(256).astype(np.uint8).view(np.int8),
    "u1": np.arange(256).astype(np.uint8),
    "?": np.array([False, True] * 20),
    "f4": np.float32([0, -0.0, 1e-45, 3.4e38, -1e-38, np.inf, np.nan, 1.5] * 5),
    "i4": np.array([-(2**31), -1, 0, 1, 2**31 - 1, 12345678] * 7, dtype=np.int32),
    "u4": np.array([0, 1, 2**31, 2**32 - 1, 4000000001] * 7, dtype=np.uint32),
    "i8": np.array([-(2**63), -1, 0, 2**53 + 1, 2**63 - 1] * 7, dtype=np.int64),
    "u8": np.array([0, 1, 2**53 + 1, 2**63, 2**64 - 1] * 7, dtype=np.uint64),
}


def plain(values, dtype):
    """The reference: bfloat16 by its definition, the others as NumPy converts them."""
    if values.dtype == BFLOAT16:
        with np.errstate(invalid="ignore"):
            return widened(values.view(np.uint16)).astype(dtype)
    return values.astype(dtype)


def assert_equal_numbers(found, expected):
    assert found.dtype == expected.dtype
    nan = np.isnan(expected)
    assert np.array_equal(np.isnan(found), nan)
    whole = found.dtype.str.replace("f", "u")
    # Not equal numbers but equal bits: zeros have signs.
    assert np.array_equal(found[~nan].view(whole), expected[~nan].view(whole))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", VALUES)
def test_every_value_at_every_place_of_a_vector(name, isa, monkeypatch):
    monkeypatch.setenv("TILEWISE_ISA", isa)
    values = VALUES[name]
    for shift in (0, 1, 5):
        for width in (1, 3, 8, 17, 40, 131):
            n = (len(values) - shift) // width
            X = values[shift : shift + n * width].reshape(n, width)
            for dtype in (None, np.float64):
                rows = Rows(X, dtype)
                found = rows.take(np.arange(n))
                assert_equal_numbers(found, plain(X, rows.compute_dtype))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", VALUES)
def test_other_memory_gives_the_same_numbers(name, isa, monkeypatch):
    monkeypatch.setenv("TILEWISE_ISA", isa)
    few = VALUES[name][np.random.RandomState(0).permutation(len(VALUES[name]))[:2280]]
    X = few[: len(few) // 19 * 19].reshape(-1, 19)
    expected = plain(X, Rows(X).compute_dtype)
    raw = np.zeros(X.nbytes + 1, np.uint8)
    odd = raw[1:].view(X.dtype).reshape(X.shape)
    odd[...] = X
    frozen = X.copy()
    frozen.flags.writeable = False
    variants = [
        np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], np.repeat(X, 2, axis=1)[:, ::2],
        X[::-1, ::-1].copy()[::-1, ::-1], odd, frozen, X[:1], X[:0],
    ]  # fmt: skip
    if name != "bfloat16":
        variants.append(X.astype(X.dtype.newbyteorder("S")))
    for same in variants:
        order = np.random.RandomState(1).randint(0, max(1, len(same)), 2 * len(same))
        found = Rows(same).take(order)
        assert_equal_numbers(found, expected[: len(same)][order])


def test_the_isa_that_runs_is_one_of_them():
    assert machine().isa.value in available_isas()


def test_bfloat16_is_converted_by_nothing_else():
    X = narrowed(np.ones((3, 2))).view(BFLOAT16)
    for wrong in (lambda: X.astype(np.float64), lambda: X + 1, lambda: np.isfinite(X)):
        with pytest.raises((TypeError, ValueError)):
            wrong()
    rows = Rows(X)
    assert rows.compute_dtype == rows.result_dtype == np.float32
    assert rows.array().dtype == rows.originals(np.array([0])).dtype == np.float32
    assert rows.source.nbytes == 12
    assert np.shares_memory(rows.source, X)


def test_scaled_narrow_rows():
    X = VALUES["f2"][:1000].reshape(50, 20)
    found = Rows(X).scaled(-30).take(np.arange(50))
    assert np.array_equal(found, np.ldexp(X.astype(np.float64), -30))
