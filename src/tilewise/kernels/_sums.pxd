from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from tilewise.kernels._dispatch cimport tw_bins, tw_bins8, tw_exact_kernels, tw_grid
from tilewise.kernels._rows cimport tw_place, tw_prefetch, tw_row_start, tw_rows, tw_stored_column, tw_stored_value


cdef extern from "c/tw_sums.h" nogil:
    enum:
        TW_BINS
        TW_FOLD
        TW_HIGHEST
        TW_LIMB
        TW_PENDING
    int64_t* tw_column(const tw_grid*, int64_t* row, int64_t column)
    void tw_add_entry(const tw_grid*, double v, int64_t column, int64_t* row)
    void tw_add_one(double v, int exponent, int limbs, int64_t* at)
    void tw_value_of(int64_t spill, const int64_t* at, int limbs, int exponent, double* hi, double* lo)
    int tw_exponent(double v)
    double tw_big(int exponent)
    int64_t tw_bits_of(double v)
    void tw_take(uint8_t* lock)
    void tw_release(uint8_t* lock)
    void tw_bins_clear(tw_bins*)
    void tw_bins_add(tw_bins*, double v)
    void tw_bins_fold(tw_bins*)
    bint tw_bins_less(const tw_bins*, const tw_bins*)
    void tw_bins_raise(tw_bins*, int64_t top)
    void tw_bins_merge(tw_bins* to, const tw_bins* other)
    void tw_bins_value(const tw_bins*, double* hi, double* lo)
    int64_t tw_bin_for(int exponent)
    int tw_bin_exponent(int bin)
    void tw_bins8_clear(tw_bins8*)
    void tw_bins8_merge(tw_bins8* to, const tw_bins8* other)
    tw_bins tw_bins8_column(const tw_bins8*, int lane)
    void tw_bins8_put(tw_bins8*, int lane, const tw_bins* one)


# Sums of rows by cluster, of all threads together or of one.
cdef struct cluster_sums:
    const tw_grid* grid
    int n_clusters
    int segment_blocks      # blocks of eight columns under one lock
    int n_segments
    bint carries            # whether limbs may need one
    int64_t* table          # (k, grid.length)
    int64_t* spill          # (k, 8 * grid.n_blocks), in units of the largest magnitude
    int64_t* members        # (k) rows of non-zero weight
    int32_t* pending        # (k, n_segments) rows since the last carry
    uint8_t* spilt          # (k) whether there is a spill
    uint8_t* changed        # (k) since the last average
    uint8_t* locks          # (k, n_segments), or NULL: no other thread writes here
    int weight_limbs        # 0: all rows weigh one
    int weight_exponent
    int64_t* weights        # (k, 1 + weight_limbs, 8), of which the first of eight: spill, then limbs


cdef void add_with_care(cluster_sums* s, const tw_exact_kernels* exact, const tw_rows* rows, const void* x,
                        int64_t row, double weight, int sign, int64_t j) noexcept nogil


# Adds the row at x, or with x NULL the entries of CSR row `row`, times weight, to cluster j;
# sign is 1, or -1 to take it out, with its weight negated.
cdef inline void add_to_cluster(cluster_sums* s, const tw_exact_kernels* exact, const tw_rows* rows, const void* x,
                                int64_t row, double weight, int sign, int64_t j) noexcept nogil:
    # Short rows take less time than the questions of the general case.
    if s.n_segments > 1 or s.locks != NULL or x == NULL or s.weight_limbs or s.pending[j] >= TW_PENDING:
        add_with_care(s, exact, rows, x, row, weight, sign, j)
        return
    s.pending[j] += 1
    s.members[j] += sign
    s.changed[j] = 1
    if rows.is_double:
        exact.add_row_f8(s.grid, <const double*>x, weight, 0, s.grid.n_blocks, s.table + j * s.grid.length)
    else:
        exact.add_row_f4(s.grid, <const float*>x, weight, 0, s.grid.n_blocks, s.table + j * s.grid.length)


cdef class Grid:
    cdef tw_grid c
    cdef object _keep


cdef class Sums:
    cdef cluster_sums c
    cdef cluster_sums* parts       # one per thread, or NULL: threads share c
    cdef int n_parts
    cdef const tw_exact_kernels* exact
    cdef readonly Grid grid
    cdef object _keep
    cdef int threads, center_threads

    # Where a thread adds.
    cdef cluster_sums* of_thread(self, int thread) noexcept nogil
    # Takes in what the threads have added apart.
    cdef int gather(self) except -1
    cdef object _make(self, cluster_sums* s)
    cdef void _gather_one(self, int64_t j) noexcept nogil
    cdef double _weight(self, int64_t j) noexcept nogil
    cdef double _average_one(self, int64_t j, double weight, const double* old, double* out) noexcept nogil


cdef class Bins:
    cdef tw_bins c
    cdef const tw_exact_kernels* exact
