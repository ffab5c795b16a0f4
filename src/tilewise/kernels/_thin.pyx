"""Centres of mini-batches moved by the stored entries of CSR rows.

The numbers are those of `_minibatch._update_center`, bit for bit. Work is proportional to the
entries, plus one walk over the centre: what no row stores fades alike everywhere.
"""

from libc.math cimport NAN, fabs
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from tilewise.kernels._dispatch cimport tw_bins, tw_exact_kernels
from tilewise.kernels._rows cimport tw_row_start, tw_rows, tw_stored_column, tw_stored_value
from tilewise.kernels._sums cimport tw_bins_add, tw_bins_clear, tw_bins_fold, tw_bins_value

cdef enum:
    # Bits of a column that one round of sorting looks at: its 2048 counters stay in L1.
    DIGIT = 11
    BUCKETS = 2048

# Larger numbers have no room in bins.
cdef double LARGE = 2.0**974


cdef double _gap(const tw_exact_kernels* exact, thin_entry* list, int64_t n, int32_t* columns, double* values,
                 const tw_rows* rows, const double* center, double norm) noexcept nogil:
    """Squared distance of one row; columns and values (n) are TMP."""
    cdef int64_t e
    cdef double gap
    for e in range(n):
        columns[e] = list[e].column
        values[e] = list[e].value
    if is_thin(n, rows.given_depth):
        gap = exact.own_entries(<int>n, columns, values, center, norm)
        if gap >= 0.0:
            return gap
    return exact.spread_distance(<int>n, columns, values, center, rows.depth)


cdef void measure_thin(const thin_batch* b, const tw_rows* rows, const tw_exact_kernels* exact, const int64_t* order,
                       int64_t at, int64_t n, const double* center, double norm, double* gaps) noexcept nogil:
    cdef thin_entry* list
    cdef int64_t r, row, e, count
    cdef double value
    for r in range(n):
        row = order[at + r]
        if rows.picks != NULL:
            row = rows.picks[row]
        list = b.entries + b.begins[at + r]
        count = 0
        for e in range(tw_row_start(rows, row), tw_row_start(rows, row + 1)):
            value = tw_stored_value(rows, e)
            if value != 0.0:
                list[count].column = <int32_t>tw_stored_column(rows, e)
                list[count].row = <int32_t>r
                list[count].value = value
                count += 1
        # The room that sorting needs later holds columns and values of one row until then.
        e = b.begins[at + r + 1] - b.begins[at + r]
        gaps[order[at + r]] = _gap(exact, list, count, <int32_t*>(<double*>(b.spare + b.begins[at + r]) + e),
                                   <double*>(b.spare + b.begins[at + r]), rows, center, norm)
        for e in range(b.begins[at + r] + count, b.begins[at + r + 1]):
            # What is stored and zero: dropped when the entries are sorted.
            b.entries[e].column = -1


cdef thin_entry* _sorted(const thin_batch* b, int64_t first, int64_t stop, int depth, int64_t* n) noexcept nogil:
    """Entries first to stop in order of their columns, within a column in order of rows."""
    cdef int64_t counts[BUCKETS]
    cdef thin_entry* source = b.entries + first
    cdef thin_entry* to = b.spare + first
    cdef thin_entry* other
    cdef int64_t e, count = stop - first, total, more
    cdef int shift = 0, digit
    n[0] = 0
    for e in range(count):
        if source[e].column >= 0:
            source[n[0]] = source[e]
            n[0] += 1
    while shift < 31 and (depth - 1) >> shift:
        memset(counts, 0, sizeof(counts))
        for e in range(n[0]):
            counts[source[e].column >> shift & (BUCKETS - 1)] += 1
        total = 0
        for digit in range(BUCKETS):
            more = counts[digit]
            counts[digit] = total
            total += more
        for e in range(n[0]):
            digit = source[e].column >> shift & (BUCKETS - 1)
            to[counts[digit]] = source[e]
            counts[digit] += 1
        other = source
        source = to
        to = other
        shift += DIGIT
    return source


cdef void move_thin(const thin_batch* b, const tw_exact_kernels* exact, const int64_t* order, int64_t at, int64_t n,
                    const double* weights, double total, bint is_double, int depth, double* center,
                    double* count) noexcept nogil:
    cdef thin_entry* list
    cdef tw_bins sum
    cdef int64_t e = 0, m = 0, stored = 0
    cdef int32_t column
    cdef bint empty = count[0] == 0.0
    cdef double high, low
    if not total > 0.0:
        return
    count[0] += total
    list = _sorted(b, b.begins[at], b.begins[at + n], depth, &stored)
    # 1. the columns that some row stores: where they go, one after another at the front
    while e < stored:
        column = list[e].column
        tw_bins_clear(&sum)
        while e < stored and list[e].column == column:
            high = list[e].value * (weights[order[at + list[e].row]] if weights != NULL else 1.0)
            if fabs(high) <= LARGE:
                tw_bins_add(&sum, high)
            else:
                sum.special = NAN
            e += 1
        tw_bins_fold(&sum)
        if weights == NULL and not is_double:
            # Two limbs are enough for floats: see bin_rows.
            sum.low[2] = sum.high[2] = 0
        tw_bins_value(&sum, &high, &low)
        list[m].column = column
        list[m].value = exact.moved_by(high, low, total, count[0], center[column])
        m += 1
    # 2. all others
    if empty:
        memset(center, 0, depth * sizeof(double))
    else:
        exact.fade(center, total, count[0], depth)
    for e in range(m):
        center[list[e].column] = list[e].value
