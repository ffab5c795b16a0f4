from tilewise.kernels._pass cimport assign_pass


# Everything of a pass that follows from its centres; origin is (depth) to write to.
cdef int place_centers(assign_pass* p, const double[:, ::1] centers, double* origin, int threads) except -1
