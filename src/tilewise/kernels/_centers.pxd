from tilewise.kernels._pass cimport assign_pass


# Everything of a pass that follows from its centres; origin is (depth) to write to.
cdef int place_centers(assign_pass* p, const double[:, ::1] centers, double* origin, int threads) except -1
# The centres rounded to float32, from which rows are measured first.
cdef void narrow_centers(const assign_pass* p, int threads) noexcept
# The error bound and what it rests on, term by term: docs/exact-labels.md.
cdef double choose_scale(double largest, bint wide) noexcept nogil
cdef double score_error(double additions, double unit) noexcept nogil
cdef double distance_error(int depth) noexcept nogil
# The same for numbers that are split into parts.
cdef double split_slack(int depth) noexcept nogil
cdef double split_error(int steps, int products, int more) noexcept nogil
cdef double split_eta(int depth, double largest_norm) noexcept nogil
# Squared distance of two centres, in the canonical order.
cdef double squared_gap(const double* a, const double* b, Py_ssize_t d) noexcept nogil
