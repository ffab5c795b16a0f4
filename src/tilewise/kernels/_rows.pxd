from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t


cdef extern from "c/tw_rows.h" nogil:
    ctypedef void (*tw_widener)(const char* values, int count, void* to) noexcept nogil

    ctypedef struct tw_rows:
        const char* data
        ptrdiff_t row_stride
        ptrdiff_t column_stride
        int64_t n_rows
        int depth
        int given_depth
        int kind
        int swapped
        int is_double
        int direct
        const void* offsets
        const void* columns
        int offset_bytes
        int column_bytes
        const int64_t* picks
        double scale
        int item_bytes
        const tw_widener* widen

    void tw_fetch_rows(const tw_rows* rows, const int64_t* ids, int64_t first, int count,
                       const void** pointers, void* staging, ptrdiff_t step)
    void tw_scatter_row(const tw_rows* rows, int64_t row, void* to)
    void tw_widen_row(const tw_rows* rows, int64_t row, double* to)
    void tw_clear_row(const tw_rows* rows, int64_t row, void* to)
    void tw_pack_entries_f4(const tw_rows* rows, const int64_t* ids, int count, double scale, int32_t* starts,
                            int32_t* columns, float* values, float* norms)
    void tw_pack_entries_f8(const tw_rows* rows, const int64_t* ids, int count, double scale, int32_t* starts,
                            int32_t* columns, double* values, double* norms)
    int64_t tw_row_start(const tw_rows* rows, int64_t row)
    int64_t tw_place(const tw_rows* rows, int64_t i)
    double tw_stored_value(const tw_rows* rows, int64_t e)
    int64_t tw_stored_column(const tw_rows* rows, int64_t e)
    void tw_prefetch(const void* address)


cdef class Rows:
    cdef tw_rows c
    cdef object _keep
    cdef object _picks
    cdef Rows _unfolded         # that these are a copy of, with their columns elsewhere; or None
    cdef object _result         # what their `result_dtype` is; or None
    cdef readonly object source
    cdef readonly bint is_sparse
    cdef readonly int64_t longest
    # Of a window: the rows that it shows.
    cdef readonly bint is_window
    cdef int64_t shown_first, shown_last
    cdef Rows _like(self, X)
    cdef double _share(self, int64_t depth)


# For kernels that walk over all rows as they stand.
cdef inline int all_rows(Rows rows) except -1:
    if rows.c.picks != NULL:
        raise ValueError("picked rows can be assigned and measured, nothing else")
    return 0


# Before a kernel is let loose on a window.
cdef inline int check_window(Rows rows, int64_t first, int64_t last) except -1:
    if not rows.shown_first <= first <= last <= rows.shown_last:
        raise IndexError(f"rows {first} to {last} are not shown by this window")
    return 0


# Where the first item of an array stands. The caller keeps the array.
cdef inline void* address(object array) except? NULL:
    return <void*><size_t>array.__array_interface__["data"][0]
