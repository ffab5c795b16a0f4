"""Buffers that consist of parts, each on a cache-line boundary."""

import numpy as np

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

from tilewise.kernels._rows cimport address

cdef extern from "c/tw_guard.h" nogil:
    enum:
        TW_GUARD
    void tw_forbid(char* start)

cdef enum:
    ALIGNMENT = 64
    # NumPy keeps smaller blocks when they are freed, gaps included, and hands them out again.
    LEAST_GUARDED = 4096

#: Bytes of the gap behind each part, which only builds for the address sanitizer have.
GUARD = TW_GUARD
#: Bytes that a buffer of such a build has at least.
LEAST = LEAST_GUARDED if TW_GUARD else 0


def aligned_empty(Py_ssize_t size):
    """Bytes on a cache-line boundary."""
    buffer = np.zeros(size + ALIGNMENT, dtype=np.uint8)
    start = -buffer.__array_interface__["data"][0] % ALIGNMENT
    return buffer[start:start + size]


cdef class Workspace:
    """Parts of one buffer, which each thread, or each chunk, has a copy of.

    `add` every part, then `make` the memory. Under the address sanitizer a gap that nobody may
    touch follows each part.

    Attributes
    ----------
    total : int
        Bytes from one copy to the next.
    """

    def __cinit__(self):
        self.total = 0
        self._ends = []

    cdef ptrdiff_t add(self, ptrdiff_t size) except -1:
        cdef ptrdiff_t start = self.total
        if size < 0:
            raise ValueError(f"a part of {size} bytes")
        self.total = (start + size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        if TW_GUARD and size:
            self._ends.append(self.total)
            self.total += TW_GUARD
        return start

    cdef char* make(self, int64_t copies) except NULL:
        cdef char* memory
        cdef int64_t i
        self._buffer = aligned_empty(max(self.total * copies, LEAST_GUARDED if TW_GUARD else ALIGNMENT))
        memory = <char*>address(self._buffer)
        for i in range(copies):
            for end in self._ends:
                tw_forbid(memory + i * self.total + <ptrdiff_t>end)
        return memory

    @property
    def buffer(self):
        """The memory, uint8; None before `make`."""
        return self._buffer
