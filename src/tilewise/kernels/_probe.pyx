"""Measured peaks of this machine, for the benchmarks: multiply-add rate and bandwidth."""

import time

import numpy as np

from cython.parallel cimport prange

from tilewise.kernels._dispatch cimport tile_kernels, tw_tile_kernels


def fma_gflops(dtype="float32", int threads=1, str isa=None, long repeats=20_000_000):
    """Billions of floating-point operations per second of independent multiply-adds.

    A multiply-add counts as two operations. With several threads: all of them together.
    """
    from tilewise.kernels._dispatch import isa as default_isa

    name = isa or default_isa()
    cdef const tw_tile_kernels* table = tile_kernels(name)
    cdef bint double_precision = np.dtype(dtype) == np.float64
    cdef int lanes = table.vector_bytes // (8 if double_precision else 4), _t
    cdef double sink = 0.0
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        for _t in prange(threads, nogil=True, schedule="static", chunksize=1, num_threads=threads):
            if double_precision:
                sink += table.multiply_adds_f8(repeats)
            else:
                sink += table.multiply_adds_f4(repeats)
        best = min(best, time.perf_counter() - start)
    return 12 * 2 * lanes * repeats * threads / best / 1e9


def stream_gbs(int threads=1, Py_ssize_t size=256 * 2**20):
    """Billions of bytes per second that the threads together read from memory."""
    cdef Py_ssize_t items = size // 8 // threads * threads, part = items // threads, t
    cdef const double[::1] values = np.ones(items)
    cdef double total = 0.0
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for t in prange(threads, nogil=True, schedule="static", chunksize=1, num_threads=threads):
            total += _sum(&values[t * part], part)
        best = min(best, time.perf_counter() - start)
    return items * 8 / best / 1e9


cdef double _sum(const double* values, Py_ssize_t n) noexcept nogil:
    cdef double s[32]
    cdef Py_ssize_t i, j
    for j in range(32):
        s[j] = 0.0
    for i in range(0, n - 31, 32):
        for j in range(32):
            s[j] += values[i + j]
    for j in range(1, 32):
        s[0] += s[j]
    return s[0]
