/* The canonical numbers: float64, eight running sums whatever the vector width, one
 * order of additions, no contraction of multiply and add. The same bits on every machine.
 * Included once per type of the data with S, E(name) defined; compiled with
 * -ffp-contract=off.
 */

/* Element l goes to running sum l % 8; the sums meet as ((0+4)+(2+6))+((1+5)+(3+7)). */
TW_INLINE double E(meet)(const tw_eight a) {
    union { tw_eight eight; tw_four four[2]; } whole = {a};
    union { tw_four four; tw_two two[2]; } half = {whole.four[0] + whole.four[1]};
    const tw_two last = half.two[0] + half.two[1];
    return last[0] + last[1];
}

/* out is (count): canonical squared distances from x (depth) to count rows, at c. */
TW_INLINE void E(distances_some)(const int count, const S *restrict x, const double *const *c, int depth,
                                 double *restrict out) {
    tw_eight sum[4] = {{0}};
    int l = 0;
    for (; l + 8 <= depth; l += 8) {
        const tw_eight v = E(widened)(x + l);
#pragma GCC unroll 4
        for (int j = 0; j < count; j++) {
            const tw_eight gap = v - *(const tw_eight_u *)(c[j] + l);
            sum[j] += gap * gap;
        }
    }
    if (l < depth) {
        S part[8] = {0};
        for (int i = 0; i < depth - l; i++) part[i] = x[l + i];
        const tw_eight v = E(widened)(part);
#pragma GCC unroll 4
        for (int j = 0; j < count; j++) {
            const tw_eight gap = v - *(const tw_eight_u *)(c[j] + l);
            sum[j] += gap * gap;
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < count; j++) out[j] = E(meet)(sum[j]);
}

/* Up to four values the running sums are the squares themselves, and adding the zeros of
 * the others changes nothing. */
TW_INLINE double E(square)(S x, double c) {
    const double gap = (double)x - c;
    return gap * gap;
}

TW_INLINE void E(distances_short)(const int depth, const S *restrict x, const double *restrict c,
                                  ptrdiff_t ldc, int count, double *restrict out) {
    for (int j = 0; j < count; j++, c += ldc) {
        double sum = E(square)(x[0], c[0]);
        if (depth > 2) sum += E(square)(x[2], c[2]);
        if (depth == 2 || depth == 3) sum += E(square)(x[1], c[1]);
        if (depth == 4) sum += E(square)(x[1], c[1]) + E(square)(x[3], c[3]);
        out[j] = sum;
    }
}

/* The same for up to four rows, however many are left. */
TW_INLINE void E(distances_four)(int left, const S *x, const double *const *c, int depth, double *out) {
    switch (left) {
        case 1: E(distances_some)(1, x, c, depth, out); break;
        case 2: E(distances_some)(2, x, c, depth, out); break;
        case 3: E(distances_some)(3, x, c, depth, out); break;
        default: E(distances_some)(4, x, c, depth, out); break;
    }
}

static void E(distances)(const S *x, const double *c, ptrdiff_t ldc, int count, int depth, double *out) {
    switch (depth) {
        case 0: for (int j = 0; j < count; j++) out[j] = 0; return;
        case 1: E(distances_short)(1, x, c, ldc, count, out); return;
        case 2: E(distances_short)(2, x, c, ldc, count, out); return;
        case 3: E(distances_short)(3, x, c, ldc, count, out); return;
        case 4: E(distances_short)(4, x, c, ldc, count, out); return;
        default: break;
    }
    for (int j = 0; j < count; j += 4, c += 4 * ldc, out += 4) {
        const double *const at[4] = {c, c + ldc, c + 2 * ldc, c + 3 * ldc};
        E(distances_four)(count - j, x, at, depth, out);
    }
}

/* out is (count): distances to the rows picks[j] of c. */
static void E(distances_picked)(const S *x, const double *c, ptrdiff_t ldc, const int *picks, int count,
                                int depth, double *out) {
    if (depth <= 4) {
        for (int j = 0; j < count; j++) E(distances)(x, c + picks[j] * ldc, 0, 1, depth, out + j);
        return;
    }
    for (int j = 0; j < count; j += 4, picks += 4, out += 4) {
        const double *at[4] = {c, c, c, c};
        for (int i = 0; i < 4 && j + i < count; i++) at[i] = c + picks[i] * ldc;
        E(distances_four)(count - j, x, at, depth, out);
    }
}

/* out is (count, 8): distances of the eight rows x[0] to x[7], up to TW_LANES_DEPTH long, to count
 * rows at c. Rows lie in the lanes, so the running sums meet without a shuffle. */
static void E(distances_lanes)(const S *const *x, const double *c, ptrdiff_t ldc, int count, int depth,
                               double *restrict out) {
    enum { N = TW_VECTOR_BYTES / 8 };
    tw_eight turned[TW_LANES_DEPTH];
    const tw_f8 *at = (const tw_f8 *)turned;
    int l = 0;
    for (; l + 8 <= depth; l += 8) {
        tw_eight v[8];
#pragma GCC unroll 8
        for (int r = 0; r < 8; r++) v[r] = E(widened)(x[r] + l);
        turn_over(v);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) turned[l + i] = v[i];
    }
    for (; l < depth; l++)
        for (int r = 0; r < 8; r++) ((double *)turned)[l * 8 + r] = (double)x[r][l];
    /* 1. rows of c */
    for (int j = 0; j < count; j++, c += ldc, out += 8)
        /* 2. vectors of rows */
        for (int p = 0; p < 8 / N; p++) {
            tw_f8 sum[8] = {{0}};
            for (l = 0; l + 8 <= depth; l += 8)
#pragma GCC unroll 8
                for (int i = 0; i < 8; i++) {
                    const tw_f8 gap = at[(l + i) * (8 / N) + p] - (c[l + i] - (tw_f8){0});
                    sum[i] += gap * gap;
                }
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++)
                if (l + i < depth) {
                    const tw_f8 gap = at[(l + i) * (8 / N) + p] - (c[l + i] - (tw_f8){0});
                    sum[i] += gap * gap;
                }
            *(tw_f8u *)(out + p * N) = ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
        }
}

/* out is (count): distances from x (depth) to rows of its own type. Widening is exact, so these
 * are the numbers of the functions above. The next four rows are fetched meanwhile, a
 * step at a time: all at once there would be more than the core can wait for. */
static void E(between)(const S *restrict x, const S *const *rows, int count, int depth, double *restrict out) {
    for (int j = 0; j < count; j += 4) {
        const int some = count - j < 4 ? count - j : 4;
        const S *at[4], *next[4];
        for (int i = 0; i < 4; i++) {
            at[i] = rows[i < some ? j + i : j];
            next[i] = rows[j + 4 + i < count ? j + 4 + i : j];
        }
        tw_eight sum[4] = {{0}};
        int l = 0;
        for (; l + 8 <= depth; l += 8) {
            const tw_eight v = E(widened)(x + l);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                __builtin_prefetch(next[i] + l);
                const tw_eight gap = v - E(widened)(at[i] + l);
                sum[i] += gap * gap;
            }
        }
        for (int i = 0; i < some && l < depth; i++) {
            S part[2][8] = {{0}};
            for (int n = 0; n < depth - l; n++) {
                part[0][n] = x[l + n];
                part[1][n] = at[i][l + n];
            }
            const tw_eight gap = E(widened)(part[0]) - E(widened)(part[1]);
            sum[i] += gap * gap;
        }
        for (int i = 0; i < some; i++) out[j + i] = E(meet)(sum[i]);
    }
}

/* out is (count), up to four: distance of x[i] to c[i]. Rows take turns, so that none waits for
 * its own last addition. */
TW_INLINE void E(distances_pairs_some)(const int count, const S *const *x, const double *const *c, int depth,
                                       double *restrict out) {
    tw_eight sum[4] = {{0}};
    int l = 0;
    for (; l + 8 <= depth; l += 8) {
#pragma GCC unroll 4
        for (int i = 0; i < count; i++) {
            const tw_eight gap = E(widened)(x[i] + l) - *(const tw_eight_u *)(c[i] + l);
            sum[i] += gap * gap;
        }
    }
    if (l < depth) {
        for (int i = 0; i < count; i++) {
            S part[8] = {0};
            for (int m = 0; m < depth - l; m++) part[m] = x[i][l + m];
            const tw_eight gap = E(widened)(part) - *(const tw_eight_u *)(c[i] + l);
            sum[i] += gap * gap;
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) out[i] = E(meet)(sum[i]);
}

static void E(distances_pairs)(const S *const *x, const double *const *c, int count, int depth, double *out) {
    switch (count) {
        case 1: E(distances_pairs_some)(1, x, c, depth, out); break;
        case 2: E(distances_pairs_some)(2, x, c, depth, out); break;
        case 3: E(distances_pairs_some)(3, x, c, depth, out); break;
        default: E(distances_pairs_some)(4, x, c, depth, out); break;
    }
}

static double E(distance)(const S *x, const double *c, int depth) {
    double out;
    E(distances)(x, c, 0, 1, depth, &out);
    return out;
}
