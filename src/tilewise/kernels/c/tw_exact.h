/* The canonical numbers: float64, the order of additions of tw_order.h whatever the vector width,
 * no contraction of multiply and add. The same bits on every machine.
 * Included once per type of the data with S, E(name) defined; compiled with
 * -ffp-contract=off.
 */

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
    for (int j = 0; j < count; j++) out[j] = meet_eight(sum[j]);
}

TW_INLINE void E(distances_short)(const int depth, const S *restrict x, const double *restrict c,
                                  ptrdiff_t ldc, int count, double *restrict out) {
    for (int j = 0; j < count; j++, c += ldc) {
        double square[4];
#pragma GCC unroll 4
        for (int l = 0; l < depth; l++) square[l] = ((double)x[l] - c[l]) * ((double)x[l] - c[l]);
        out[j] = TW_MEET_FIRST(depth, square);
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
            *(tw_f8u *)(out + p * N) = TW_MEET(sum);
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
        for (int i = 0; i < some; i++) out[j + i] = meet_eight(sum[i]);
    }
}

/* out is (count): distances from x (depth), in float64 whatever S is, to rows (count, depth) as they
 * lie in memory, without zeros behind them. Eight sums take several vectors where those are narrow: a
 * compiler that is left to find that out moves them through memory. */
TW_INLINE void E(single_some)(const int count, const double *restrict x, const S *rows, int depth, double *restrict out) {
    enum { N = TW_VECTOR_BYTES / 8, P = 8 / N };
    tw_f8 sum[4][P] = {{{0}}};
    int l = 0;
    for (; l + 8 <= depth; l += 8) {
#pragma GCC unroll 4
        for (int i = 0; i < count; i++)
#pragma GCC unroll 4
            for (int p = 0; p < P; p++) {
                const tw_f8 gap = *(const tw_f8u *)(x + l + p * N) - E(widened_vector)(rows + (ptrdiff_t)i * depth + l + p * N);
                sum[i][p] += gap * gap;
            }
    }
    if (l < depth) {
        const tw_eight end = some_widened_f8(x + l, depth - l);
#pragma GCC unroll 4
        for (int i = 0; i < count; i++) {
            const tw_eight own = E(some_widened)(rows + (ptrdiff_t)i * depth + l, depth - l);
#pragma GCC unroll 4
            for (int p = 0; p < P; p++) {
                const tw_f8 gap = *((const tw_f8 *)&end + p) - *((const tw_f8 *)&own + p);
                sum[i][p] += gap * gap;
            }
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) out[i] = meet_vectors(sum[i]);
}

static void E(single)(const double *x, const S *rows, int count, int depth, double *out) {
    enum { SOME = TW_VECTOR_BYTES >= 32 ? 4 : 2 };
    int j = 0;
    for (; j + SOME <= count; j += SOME) E(single_some)(SOME, x, rows + (ptrdiff_t)j * depth, depth, out + j);
    for (; j < count; j++) E(single_some)(1, x, rows + (ptrdiff_t)j * depth, depth, out + j);
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
    for (int i = 0; i < count; i++) out[i] = meet_eight(sum[i]);
}

static void E(distances_pairs)(const S *const *x, const double *const *c, int count, int depth, double *out) {
    switch (count) {
        case 1: E(distances_pairs_some)(1, x, c, depth, out); break;
        case 2: E(distances_pairs_some)(2, x, c, depth, out); break;
        case 3: E(distances_pairs_some)(3, x, c, depth, out); break;
        default: E(distances_pairs_some)(4, x, c, depth, out); break;
    }
}

/* Bytes between the fetch of a row that is read once and its use: 11 ms became 8 for 1M x 16 floats, with less
 * ahead 9 and 10 (measured). Behind the last row the fetch has no effect. */
#define TW_OWN_AHEAD 4096
/* out is (8): distance of x[i] to row labels[i] of c, for count rows, up to eight; the last one fills up. */
TW_INLINE void E(own_eight)(const int rounds, const S *const *x, const int32_t *labels, const double *c, ptrdiff_t ldc,
                            int count, int depth, double *restrict out) {
    const S *at[8];
    const double *own[8];
    tw_eight sum[8] = {{0}};
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        const int r = i < count ? i : count - 1;
        at[i] = x[r];
        own[i] = c + labels[r] * ldc;
    }
    const int whole = rounds >= 0 ? 8 * rounds : depth / 8 * 8;
    for (int l = 0; l < whole; l += 8)
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            if (l * sizeof(S) % 64 == 0) __builtin_prefetch((const char *)(at[i] + l) + TW_OWN_AHEAD);
            const tw_eight gap = E(widened)(at[i] + l) - *(const tw_eight_u *)(own[i] + l);
            sum[i] += gap * gap;
        }
    if (whole < depth)
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            const tw_eight gap = E(some_widened)(at[i] + whole, depth - whole) - *(const tw_eight_u *)(own[i] + whole);
            sum[i] += gap * gap;
        }
    *(tw_eight_u *)out = meet_eights(sum);
}

/* out is (count, filled up to eights): the same for any number of rows. Eight sums at a time meet faster than one
 * alone, but for rows that take no vector, and long ones where eight sums do not fit the registers (measured). */
static void E(distances_own)(const S *const *x, const int32_t *labels, const double *c, ptrdiff_t ldc, int count,
                             int depth, double *out) {
    if (TW_VECTOR_BYTES < 64 && (depth <= 4 || (TW_VECTOR_BYTES < 32 && depth > TW_LANES_DEPTH))) {
        for (int r = 0; r < count; r++) E(distances)(x[r], c + labels[r] * ldc, 0, 1, depth, out + r);
        return;
    }
    for (int r = 0; r < count; r += 8) {
        const int some = count - r < 8 ? count - r : 8;
        if (depth == 16) E(own_eight)(2, x + r, labels + r, c, ldc, some, 16, out + r);
        else if (depth == 8) E(own_eight)(1, x + r, labels + r, c, ldc, some, 8, out + r);
        else if (depth < 8) E(own_eight)(0, x + r, labels + r, c, ldc, some, depth, out + r);
        else E(own_eight)(-1, x + r, labels + r, c, ldc, some, depth, out + r);
    }
}

static double E(distance)(const S *x, const double *c, int depth) {
    double out;
    E(distances)(x, c, 0, 1, depth, &out);
    return out;
}
