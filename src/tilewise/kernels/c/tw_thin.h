/* Rows of which few numbers are not zero, and centres that such rows are compared with where these
 * stand: nothing is spread out, and no row of centres needs padding. Compiled with
 * -ffp-contract=off; one order of additions whatever the width of a vector.
 */

/* The canonical squared distance of a sparse row, whose columns rise, to all depth numbers of c. */
static double spread_distance(int n, const int32_t *restrict columns, const double *restrict x,
                              const double *restrict c, int depth) {
    tw_eight sum = {0};
    int l = 0, e = 0;
    while (l < depth) {
        /* 1. whole eights in which the row stores nothing */
        const int stop = (e < n ? columns[e] : depth) & ~7;
        for (; l < stop; l += 8) {
            const tw_eight v = *(const tw_eight_u *)(c + l);
            sum += v * v;
        }
        if (l >= depth) break;
        /* 2. one with stored entries, or the end */
        tw_eight gap = {0};
        for (int i = 0; i < 8 && l + i < depth; i++) gap[i] = c[l + i];
        for (; e < n && columns[e] < l + 8; e++) gap[columns[e] & 7] = x[e] - c[columns[e]];
        sum += gap * gap;
        l += 8;
    }
    return meet_eight(sum);
}

/* out (n_rows, ld) gets minus the products of sparse rows with scale times k rows of centers
 * (k, ldc). Four running sums per block of 64 entries meet in the total. */
static void gather_scores(int n_rows, const int32_t *restrict starts, const int32_t *restrict columns,
                          const double *restrict values, const double *restrict centers, ptrdiff_t ldc, int k,
                          double scale, double *restrict out, ptrdiff_t ld) {
    enum { BLOCK = 64 };
    /* 1. centres: the numbers of one stay in the cache while rows that share columns meet it */
    for (int j = 0; j < k; j++) {
        const double *restrict c = centers + j * ldc;
        /* 2. rows */
        for (int r = 0; r < n_rows; r++) {
            const int last = starts[r + 1];
            double total = 0;
            /* 3. blocks of entries */
            for (int e = starts[r]; e < last;) {
                const int stop = last - e > BLOCK ? e + BLOCK : last;
                double sum[4] = {0};
                for (; e + 4 <= stop; e += 4)
                    for (int i = 0; i < 4; i++) sum[i] += values[e + i] * (c[columns[e + i]] * scale);
                for (int i = 0; e < stop; i++, e++) sum[i] += values[e] * (c[columns[e]] * scale);
                total += (sum[0] + sum[1]) + (sum[2] + sum[3]);
            }
            out[r * ld + j] = -total;
        }
    }
}

/* What becomes of the numbers of a centre where no row of a batch has any: c + (0 - c * weight) / count. */
static void fade(double *restrict c, double weight, double count, int depth) {
    for (int l = 0; l < depth; l++) c[l] = c[l] + (0.0 - c[l] * weight) / count;
}
