"""Reading and nothing else: what the memory mountain and the roofs of the roofline are made of.

The caller chooses the words, how many of them are the working set, and how often they are
read; what comes back is seconds.
"""

import time

from cython.parallel cimport prange

from libc.stdint cimport int64_t

from tilewise.kernels._dispatch cimport enter_loop, leave_loop

cdef extern from *:
    """
    #include "c/tw_read.h"
    #include "c/tw_sets.h"
    #define TW_DECLARE(NAME, BASE, ...) extern const tw_read_kernels TW_JOIN(tw_read, BASE);
    #define TW_READER(NAME, BASE, ...) &TW_JOIN(tw_read, BASE),
    TW_SETS(TW_DECLARE)
    static const tw_read_kernels *const tw_readers[] = {TW_SETS(TW_READER)};
    /* Where the walk ends, so that the walk must be made. */
    static volatile int64_t tw_walk_end;
    """
    ctypedef struct tw_read_kernels:
        int vector_bytes
        double (*read_all)(const double*, Py_ssize_t, long) noexcept nogil
        double (*read_strided)(const double*, Py_ssize_t, Py_ssize_t, long) noexcept nogil
    const tw_read_kernels* const* tw_readers
    int64_t tw_walk_end


cdef const tw_read_kernels* _reader(isa) except NULL:
    from tilewise.kernels._dispatch import available_isas

    return tw_readers[available_isas().index(isa)]


def read_seconds(const double[::1] words, Py_ssize_t stride, long passes, isa, int threads=1):
    """Seconds of `passes` times reading one word out of `stride`.

    Parameters
    ----------
    words : array of shape (count,), float64
        IN; with several threads each reads a part of its own, in whole lines.
    stride : int
        1 reads every word, in vectors of the instruction set; more reads single words.
    passes : int
    isa : str
        One of `available_isas`.
    threads : int, default=1

    Returns
    -------
    float
    """
    cdef const tw_read_kernels* reader = _reader(isa)
    cdef Py_ssize_t part = words.shape[0] // threads // 8 * 8, t
    cdef const double* first = &words[0]
    cdef double total = 0.0
    cdef int used
    if threads == 1:
        part = words.shape[0]
    start = time.perf_counter()
    used = enter_loop(threads)
    try:
        for t in prange(threads, nogil=True, schedule="static", chunksize=1, num_threads=used):
            if stride == 1:
                total += reader.read_all(first + t * part, part, passes)
            else:
                total += reader.read_strided(first + t * part, part, stride, passes)
    finally:
        leave_loop()
    seconds = time.perf_counter() - start
    # A sum that is used must be made.
    return seconds if total == total else float("nan")


def walk_seconds(const int64_t[::1] successors, Py_ssize_t first, long steps):
    """Seconds of `steps` reads, each at the place that the one before has named.

    Parameters
    ----------
    successors : array of shape (count,), int64
        IN; at each place the index of the next one.
    first : int
    steps : int

    Returns
    -------
    float
    """
    global tw_walk_end
    cdef const int64_t* places = &successors[0]
    cdef int64_t at = first
    cdef long _step
    start = time.perf_counter()
    with nogil:
        for _step in range(steps):
            at = places[at]
        tw_walk_end = at
    return time.perf_counter() - start
