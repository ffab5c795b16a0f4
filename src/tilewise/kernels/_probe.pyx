"""Measured peaks of this machine, for the benchmarks: multiply-add rate and bandwidth."""

import time

import numpy as np

from cython.parallel cimport prange

cdef extern from *:
    """
    /* Both store the same value all over, 64 bytes at a time; a value that is no repeated byte
       keeps compilers from calling memset instead. */
    typedef double tw_probe_line __attribute__((vector_size(16)));
    static void tw_probe_plain(double *to, ptrdiff_t n, double value) {
        const tw_probe_line v = {value, value};
        for (ptrdiff_t i = 0; i + 8 <= n; i += 8)
            for (int j = 0; j < 8; j += 2) *(tw_probe_line *)(to + i + j) = v;
    }
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #define TW_PROBE_STREAMS 1
    static void tw_probe_streamed(double *to, ptrdiff_t n, double value) {
        const __m128d v = _mm_set1_pd(value);
        for (ptrdiff_t i = 0; i + 8 <= n; i += 8)
            for (int j = 0; j < 8; j += 2) _mm_stream_pd(to + i + j, v);
        _mm_sfence();
    }
    #else
    #define TW_PROBE_STREAMS 0
    #define tw_probe_streamed tw_probe_plain
    #endif
    """
    const bint TW_PROBE_STREAMS
    void tw_probe_plain(double* to, Py_ssize_t n, double value) noexcept nogil
    void tw_probe_streamed(double* to, Py_ssize_t n, double value) noexcept nogil

from tilewise.kernels._dispatch cimport split_kernels, tile_kernels, tw_split_kernels, tw_tile_kernels, usable_threads


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
        for _t in prange(threads, nogil=True, schedule="static", chunksize=1, num_threads=usable_threads(threads)):
            if double_precision:
                sink += table.multiply_adds_f8(repeats)
            else:
                sink += table.multiply_adds_f4(repeats)
        best = min(best, time.perf_counter() - start)
    return 12 * 2 * lanes * repeats * threads / best / 1e9


def product_gflops(int threads=1, str isa=None, long repeats=2_000_000):
    """The same of products of bfloat16 tiles on AMX; None where the instruction set has none.

    A repeat is four products of 16 x 32 by 32 x 16 numbers.
    """
    from tilewise.kernels._dispatch import isa as default_isa

    cdef const tw_split_kernels* table = split_kernels(isa or default_isa())
    cdef int _t
    if table.multiply_tiles == NULL:
        return None
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        for _t in prange(threads, nogil=True, schedule="static", chunksize=1, num_threads=usable_threads(threads)):
            table.multiply_tiles(repeats)
        best = min(best, time.perf_counter() - start)
    return 4 * 2 * 16 * 32 * 16 * repeats * threads / best / 1e9


def stream_gbs(int threads=1, Py_ssize_t size=256 * 2**20):
    """Billions of bytes per second that the threads together read from memory."""
    cdef Py_ssize_t items = size // 8 // threads * threads, part = items // threads, t
    cdef const double[::1] values = np.ones(items)
    cdef double total = 0.0
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for t in prange(threads, nogil=True, schedule="static", chunksize=1, num_threads=usable_threads(threads)):
            total += _sum(&values[t * part], part)
        best = min(best, time.perf_counter() - start)
    return items * 8 / best / 1e9


def store_gbs(int threads=1, bint streaming=False, Py_ssize_t size=256 * 2**20):
    """Billions of bytes per second that the threads together write to memory touched before.

    Plain stores read each line first; streaming ones go past the caches. None where this
    build has no streaming stores.
    """
    if streaming and not TW_PROBE_STREAMS:
        return None
    # Whole lines for each thread, from the start of a line: streaming stores must be aligned.
    cdef Py_ssize_t part = size // 64 // threads * 8, t
    buffer = np.ones(part * threads + 8)
    skip = -buffer.ctypes.data % 64 // 8
    cdef double[::1] values = buffer[skip : skip + part * threads]
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for t in prange(threads, nogil=True, schedule="static", chunksize=1, num_threads=usable_threads(threads)):
            if streaming:
                tw_probe_streamed(&values[t * part], part, 1.5)
            else:
                tw_probe_plain(&values[t * part], part, 1.5)
        best = min(best, time.perf_counter() - start)
    return part * threads * 8 / best / 1e9


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
