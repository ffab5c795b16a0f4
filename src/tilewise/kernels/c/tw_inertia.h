/* Distances of sparse rows to their own dense centre from the stored entries alone:
 *
 *     |x - c|^2 = |c|^2 + sum over entries of x (x - 2 c)
 *
 * with sums whose rounding is carried along (Knuth's two-sum; Ogita, Rump and Oishi, 2005), in one
 * order of additions whatever the width of a vector. docs/exact-labels.md has the error. */

TW_INLINE double measured(const int with_largest, const double *restrict c, int depth, double *restrict largest) {
    tw_eight sum = {0}, lost = {0};
    tw_eight most = {0};
    int l = 0;
    for (; l + 8 <= depth; l += 8) {
        const tw_eight v = *(const tw_eight_u *)(c + l), term = v * v, total = sum + term, back = total - sum;
        lost += (sum - (total - back)) + (term - back);
        sum = total;
        if (with_largest) {
            const tw_eight size = (tw_eight)((tw_bits)v & INT64_MAX);
            const tw_bits more = (tw_bits)(size > most);
            most = (tw_eight)(((tw_bits)size & more) | ((tw_bits)most & ~more));
        }
    }
    for (int i = 0; l + i < depth; i++) {
        const double size = __builtin_fabs(c[l + i]), term = size * size, total = sum[i] + term, back = total - sum[i];
        lost[i] += (sum[i] - (total - back)) + (term - back);
        sum[i] = total;
        most[i] = size > most[i] ? size : most[i];
    }
    sum += lost;
    const double norm = ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
    if (with_largest) {
        *largest = 0;
        for (int i = 0; i < 8; i++) *largest = most[i] > *largest ? most[i] : *largest;
        if (norm != norm) *largest = __builtin_inf();
    }
    return norm;
}

static double squared_norm(const double *c, int depth) { return measured(0, c, depth, NULL); }

/* The same, and the largest magnitude of a centre: infinity if one is not a number. */
static double measure_center(const double *c, int depth, double *largest) { return measured(1, c, depth, largest); }

/* -1 where that cancels, or leaves the range in which rounding is relative. norm is |x|^2 and
 * center_norm |c|^2. */
static double own_entries(int n, const int32_t *restrict columns, const double *restrict x, double norm,
                          const double *restrict c, double center_norm) {
    double sum = center_norm, lost = 0;
    for (int e = 0; e < n; e++) {
        const double term = x[e] * (x[e] - 2 * c[columns[e]]), total = sum + term, back = total - sum;
        lost += (sum - (total - back)) + (term - back);
        sum = total;
    }
    const double value = sum + lost, both = norm + center_norm;
    return (value >= 0.125 * both) & (both >= 1e-280) & (both <= 1e300) ? value : -1.0;
}
