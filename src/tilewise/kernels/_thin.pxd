from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

from tilewise.kernels._dispatch cimport tw_exact_kernels
from tilewise.kernels._rows cimport tw_rows


# A number other than zero of a batch.
cdef struct thin_entry:
    int32_t column
    int32_t row             # counted within its cluster
    double value


# The entries of a batch, cluster after cluster.
cdef struct thin_batch:
    int64_t longest         # stored entries of the longest row
    const int64_t* begins   # (n_rows + 1) room of the rows in order
    thin_entry* entries
    thin_entry* spare


cdef enum:
    # Rows with at most one number other than zero in so many are measured by these alone, if they
    # are as long as that pays: each costs about as much as thirty numbers of a row.
    THIN_SHARE = 33
    THIN_DEPTH = 256


# Whether a row is measured by its n numbers other than zero: it alone decides, with the depth that it was
# given, not how it is stored.
cdef inline bint is_thin(int64_t n, int depth) noexcept nogil:
    return depth >= THIN_DEPTH and n * THIN_SHARE <= depth


# The most numbers that such a row has.
cdef inline int64_t most_thin(int depth) noexcept nogil:
    return depth // THIN_SHARE


# Squared distances of n rows of one cluster to its centre; lists their entries on the way.
cdef void measure_thin(const thin_batch* b, const tw_rows* rows, const tw_exact_kernels* exact, const int64_t* order,
                       int64_t at, int64_t n, const double* center, double norm, double* gaps) noexcept nogil
# Moves the centre by these entries; total is the weight of the rows.
cdef void move_thin(const thin_batch* b, const tw_exact_kernels* exact, const int64_t* order, int64_t at, int64_t n,
                    const double* weights, double total, bint is_double, int depth, double* center,
                    double* count) noexcept nogil
