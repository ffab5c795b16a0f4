# Of n numbers whose sum is high[0] + low[0] and whose squares add up to high[1] + low[1].
cdef void mean_and_variance(const double* high, const double* low, double n, double* mean,
                            double* variance) noexcept nogil
