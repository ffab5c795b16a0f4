from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t


cdef class Workspace:
    cdef readonly ptrdiff_t total
    cdef list _ends
    cdef object _buffer
    # Where a part of so many bytes begins.
    cdef ptrdiff_t add(self, ptrdiff_t size) except -1
    # The memory of `copies` workspaces, one behind the other; it lives as long as this object.
    cdef char* make(self, int64_t copies) except NULL
