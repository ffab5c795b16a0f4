/* The canonical numbers: float64, eight running sums whatever the vector width, one
 * order of additions, no contraction of multiply and add. The same bits on every machine.
 * Included once per type of the data with S, E(name) defined; compiled with
 * -ffp-contract=off.
 */

/* Element l goes to running sum l % 8; the sums meet as ((0+4)+(2+6))+((1+5)+(3+7)). */
TW_INLINE double E(meet)(const tw_eight a) {
    return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
}

TW_INLINE tw_eight E(load)(const S *x) {
    tw_eight v;
    for (int l = 0; l < 8; l++) v[l] = (double)x[l];
    return v;
}

TW_INLINE tw_eight E(load_part)(const S *x, int n) {
    tw_eight v = {0};
    for (int l = 0; l < n; l++) v[l] = (double)x[l];
    return v;
}

/* out is (count): canonical squared distances from x (depth) to count rows of c. */
TW_INLINE void E(distances_some)(const int count, const S *restrict x, const double *restrict c,
                                 ptrdiff_t ldc, int depth, double *restrict out) {
    tw_eight sum[4] = {{0}};
    int l = 0;
    for (; l + 8 <= depth; l += 8) {
        const tw_eight v = E(load)(x + l);
#pragma GCC unroll 4
        for (int j = 0; j < count; j++) {
            const tw_eight gap = v - *(const tw_eight_u *)(c + j * ldc + l);
            sum[j] += gap * gap;
        }
    }
    if (l < depth) {
        const tw_eight v = E(load_part)(x + l, depth - l);
#pragma GCC unroll 4
        for (int j = 0; j < count; j++) {
            const tw_eight gap = v - *(const tw_eight_u *)(c + j * ldc + l);
            sum[j] += gap * gap;
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < count; j++) out[j] = E(meet)(sum[j]);
}

/* Up to four values the running sums are the squares themselves: the zeros of the
 * others change nothing. */
TW_INLINE double E(distance_short)(const S *x, const double *c, int depth) {
    double a[4] = {0};
    for (int l = 0; l < depth; l++) {
        const double gap = (double)x[l] - c[l];
        a[l] = gap * gap;
    }
    return (a[0] + a[2]) + (a[1] + a[3]);
}

static double E(distance)(const S *x, const double *c, int depth) {
    if (depth <= 4) return E(distance_short)(x, c, depth);
    double out;
    E(distances_some)(1, x, c, 0, depth, &out);
    return out;
}

static void E(distances)(const S *x, const double *c, ptrdiff_t ldc, int count, int depth, double *out) {
    int j = 0;
    if (depth <= 4) {
        for (; j < count; j++) out[j] = E(distance_short)(x, c + j * ldc, depth);
        return;
    }
    for (; j + 4 <= count; j += 4) E(distances_some)(4, x, c + j * ldc, ldc, depth, out + j);
    for (; j < count; j++) E(distances_some)(1, x, c + j * ldc, ldc, depth, out + j);
}

/* sums (depth) += weight * (x - shift). */
static void E(accumulate)(const S *restrict x, const double *restrict shift, double weight, int depth,
                          double *restrict sums) {
    for (int l = 0; l < depth; l++) sums[l] += weight * ((double)x[l] - shift[l]);
}

/* mean, squares and largest are (depth): the mean of a block of rows, the sum of squared
 * deviations from it, and the largest absolute value. The block should fit in L2: it is
 * walked twice. */
static void E(moments)(const S *const *rows, int n_rows, int depth, double *restrict mean,
                       double *restrict squares, double *restrict largest) {
    for (int l = 0; l < depth; l++) mean[l] = squares[l] = largest[l] = 0;
    for (int r = 0; r < n_rows; r++) {
        const S *restrict x = rows[r];
        for (int l = 0; l < depth; l++) {
            const double value = (double)x[l], size = __builtin_fabs(value);
            mean[l] += value;
            largest[l] = size > largest[l] ? size : largest[l];
        }
    }
    for (int l = 0; l < depth; l++) mean[l] /= n_rows;
    for (int r = 0; r < n_rows; r++) {
        const S *restrict x = rows[r];
        for (int l = 0; l < depth; l++) {
            const double gap = (double)x[l] - mean[l];
            squares[l] += gap * gap;
        }
    }
}
