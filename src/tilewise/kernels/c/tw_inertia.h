/* Distances of sparse rows to their own dense centre from the stored entries alone:
 *
 *     |x - c|^2 = |c|^2 + sum over entries of x (x - 2 c)
 *
 * with sums whose rounding is carried along (Knuth's two-sum; Ogita, Rump and Oishi, 2005). Columns go
 * to eight running sums by their remainder, as in a canonical distance: one order of additions
 * whatever the width of a vector, and wherever the rows of a fit have their columns.
 * docs/exact-labels.md has the error. */

TW_INLINE double measured(const int with_largest, const double *restrict c, int depth, double *restrict largest) {
    tw_eight sum = {0}, lost = {0};
    tw_eight most = {0};
    int l = 0;
    for (; l + 8 <= depth; l += 8) {
        const tw_eight v = *(const tw_eight_u *)(c + l), term = v * v, total = sum + term, back = total - sum;
        lost += (sum - (total - back)) + (term - back);
        sum = total;
        if (with_largest) {
            const tw_eight size = abs_eight(v);
            const tw_eight_i more = (tw_eight_i)(size > most);
            most = (tw_eight)(((tw_eight_i)size & more) | ((tw_eight_i)most & ~more));
        }
    }
    for (int i = 0; l + i < depth; i++) {
        const double size = __builtin_fabs(c[l + i]), term = size * size, total = sum[i] + term, back = total - sum[i];
        lost[i] += (sum[i] - (total - back)) + (term - back);
        sum[i] = total;
        most[i] = size > most[i] ? size : most[i];
    }
    sum += lost;
    const double norm = meet_eight(sum);
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

/* -1 where that cancels, or leaves the range in which rounding is relative. center_norm is |c|^2. */
static double own_entries(int n, const int32_t *restrict columns, const double *restrict x, const double *restrict c,
                          double center_norm) {
    double sum[8] = {0}, lost[8] = {0}, square[8] = {0}, value = center_norm, rest = 0;
    for (int e = 0; e < n; e++) {
        const int lane = columns[e] & 7;
        double more;
        tw_two_sum(sum[lane], x[e] * (x[e] - 2 * c[columns[e]]), &sum[lane], &more);
        lost[lane] += more;
        square[lane] += x[e] * x[e];
    }
    for (int lane = 0; lane < 8; lane++) {
        double more;
        tw_two_sum(value, sum[lane], &value, &more);
        rest += more + lost[lane];
    }
    value += rest;
    const double both = meet_eight(*(const tw_eight_u *)square) + center_norm;
    return (value >= 0.125 * both) & (both >= 1e-280) & (both <= 1e300) ? value : -1.0;
}
