/* The first look of a pass: rows and centres as bytes, each with its own unit, and what every row may have
 * as its closest centre. It hides no centre that is; docs/exact-labels.md#first-look has the proof.
 *
 * Rows stand as in the copy of tw_screen.h, two groups to a tile. Centres stand in panels of
 * TW_LOOK_CENTRES: [panel][column / 4][centre][column % 4]. With q and p the copies of a row and a centre,
 * a score is |p|^2 / 2 - error(p)^2 / 2 - q.p.
 */
/* Up to TW_LOOK_CENTRES centres as a panel; those that do not exist are infinitely far. */
static void look_panel(int count, const double *points, ptrdiff_t ldc, const double *origin, double scale, int depth,
                       int8_t *values, const tw_looked *centres, int first) {
    const int steps = (depth + 3) / 4;
    uint8_t bytes[TW_SCREEN_DEPTH];
    memset(values, 0, (size_t)steps * 4 * TW_LOOK_CENTRES);
    for (int j = 0; j < TW_LOOK_CENTRES; j++) {
        const int at = first + j;
        centres->units[at] = centres->errors[at] = 0;
        centres->halves[at] = (float)INFINITY;
        centres->bases[at] = 0;
        if (j >= count) continue;
        double norm;
        const double *c = points + j * ldc, unit = look_unit(largest_f8(c, origin, scale, depth), MOST);
        const float e = (float)(copy_row_f8(c, origin, scale, unit, MOST, depth, bytes, &norm) * (1 + 0x1p-22)) + 1e-37f;
        int32_t sum = 0;
        for (int l = 0; l < depth; l++) {
            const int32_t v = bytes[l] - 128;
            values[(l / 4 * TW_LOOK_CENTRES + j) * 4 + l % 4] = (int8_t)v;
            sum += v;
        }
        centres->units[at] = (float)unit;
        centres->errors[at] = e;
        centres->halves[at] = (float)(0.5 * norm * (unit * unit) - 0.5 * (double)e * (double)e);
        /* What 128 too much in every byte of a row adds. */
        centres->bases[at] = -128 * sum;
    }
}

/* Centres whose products with a pair of vectors of rows stay in registers. */
enum { LOOK_AT_ONCE = TW_VECTOR_BYTES == 64 ? 12 : 4, LOOK_PAIRS = TW_LOOK_ROWS / (2 * N) };

/* sums (LOOK_AT_ONCE, 2) of two vectors of rows, at x and y, and of centres that stand at c. */
TW_INLINE void look_multiply(const uint8_t *restrict x, const uint8_t *restrict y, int steps, const int32_t *restrict c,
                             const int32_t *restrict bases, tw_i4 sums[LOOK_AT_ONCE][2]) {
#pragma GCC unroll 12
    for (int j = 0; j < LOOK_AT_ONCE; j++) sums[j][0] = sums[j][1] = bases[j] - (tw_i4){0};
    for (int l = 0; l < steps; l++, x += 64, y += 64, c += TW_LOOK_CENTRES)
#pragma GCC unroll 12
        for (int j = 0; j < LOOK_AT_ONCE; j++) {
            sums[j][0] = add_products(sums[j][0], x, c[j]);
            sums[j][1] = add_products(sums[j][1], y, c[j]);
        }
}

/* Some lines of the rows that come next, while the multiplier is busy. */
TW_INLINE void look_ahead(const void *const *ahead, int bytes, int panel, int n_panels) {
    const int lines = (bytes + 63) / 64, all = lines * TW_LOOK_ROWS;
    const int to = (int)((int64_t)all * (panel + 1) / n_panels);
    for (int i = (int)((int64_t)all * panel / n_panels); i < to; i++)
        __builtin_prefetch((const char *)ahead[i / lines] + (ptrdiff_t)(i % lines) * 64, 0, 2);
}

/* scores (panels * TW_LOOK_CENTRES, TW_LOOK_ROWS) of a tile of rows, whose units are `units`; of each row the
 * lowest, which centre has it, and the second lowest. ahead (TW_LOOK_ROWS) are rows of so many bytes to
 * fetch meanwhile, or NULL.
 * Level: sums in registers, the tile in L1; centres stream from L2, scores go there. */
static void look(const uint8_t *rows, const float *units, const tw_looked *centres, float *scores, float *lowest,
                 float *second, int32_t *where, const void *const *ahead, int ahead_bytes) {
    const int steps = centres->steps, n_panels = centres->panels;
    tw_f4 best[LOOK_PAIRS][2], next[LOOK_PAIRS][2];
    tw_i4 from[LOOK_PAIRS][2];
    for (int v = 0; v < LOOK_PAIRS; v++)
        for (int i = 0; i < 2; i++) {
            best[v][i] = next[v][i] = (float)INFINITY - (tw_f4){0};
            from[v][i] = (tw_i4){0};
        }
    /* 1. panels of centres (L2) */
    for (int p = 0; p < n_panels; p++) {
        const int32_t *panel = (const int32_t *)centres->values + (ptrdiff_t)p * steps * TW_LOOK_CENTRES;
        if (ahead) look_ahead(ahead, ahead_bytes, p, n_panels);
        /* 2. pairs of vectors of rows (L1), and as many centres as registers hold */
        for (int v = 0; v < LOOK_PAIRS; v++) {
            const int r = v * 2 * N;
            const uint8_t *x = rows + (ptrdiff_t)(r / 16) * steps * 64 + r % 16 * 4;
            const uint8_t *y = rows + (ptrdiff_t)((r + N) / 16) * steps * 64 + (r + N) % 16 * 4;
            const tw_f4 unit[2] = {-*(const tw_f4u *)(units + r), -*(const tw_f4u *)(units + r + N)};
            for (int start = 0; start < TW_LOOK_CENTRES; start += LOOK_AT_ONCE) {
                const int at = p * TW_LOOK_CENTRES + start;
                tw_i4 sums[LOOK_AT_ONCE][2];
                look_multiply(x, y, steps, panel + start, centres->bases + at, sums);
#pragma GCC unroll 12
                for (int j = 0; j < LOOK_AT_ONCE; j++)
#pragma GCC unroll 2
                    for (int i = 0; i < 2; i++) {
                        const tw_f4 score = __builtin_convertvector(sums[j][i], tw_f4) * centres->units[at + j] *
                                            unit[i] + centres->halves[at + j];
                        next[v][i] = min_f4(max_f4(best[v][i], score), next[v][i]);
                        from[v][i] = less_select_f4(score, best[v][i], at + j - (tw_i4){0}, from[v][i]);
                        best[v][i] = min_f4(score, best[v][i]);
                        *(tw_f4u *)(scores + (ptrdiff_t)(at + j) * TW_LOOK_ROWS + r + i * N) = score;
                    }
            }
        }
    }
    for (int v = 0; v < LOOK_PAIRS; v++)
        for (int i = 0; i < 2; i++) {
            *(tw_f4u *)(lowest + (2 * v + i) * N) = best[v][i];
            *(tw_f4u *)(second + (2 * v + i) * N) = next[v][i];
            memcpy(where + (2 * v + i) * N, &from[v][i], sizeof from[v][i]);
        }
}

/* Lists, of each row that is asked for, the centres that it may have: score - reach * error is not above its
 * limit. candidates is (TW_LOOK_ROWS, TW_LOOK_ROOM); a count above TW_LOOK_ROOM says that there are more. */
static void look_list(const float *scores, const tw_looked *centres, const float *reaches, const float *limits,
                      uint32_t asked, int32_t *candidates, int32_t *counts) {
    enum { VECTORS = TW_LOOK_ROWS / N };
    const int n = centres->count;
    tw_f4 reach[VECTORS], limit[VECTORS];
    for (int v = 0; v < VECTORS; v++) {
        reach[v] = *(const tw_f4u *)(reaches + v * N);
        limit[v] = *(const tw_f4u *)(limits + v * N);
    }
    for (int r = 0; r < TW_LOOK_ROWS; r++) counts[r] = 0;
    for (int j = 0; j < n; j++) {
        const float *row = scores + (ptrdiff_t)j * TW_LOOK_ROWS;
        const float error = centres->errors[j];
        uint32_t bits = 0;
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; v++)
            bits |= unless_above(*(const tw_f4u *)(row + v * N) - reach[v] * error, limit[v]) << (v * N);
        for (bits &= asked; bits; bits &= bits - 1) {
            const int r = __builtin_ctz(bits);
            if (counts[r] < TW_LOOK_ROOM) candidates[r * TW_LOOK_ROOM + counts[r]] = j;
            counts[r] += counts[r] <= TW_LOOK_ROOM;
        }
    }
}
