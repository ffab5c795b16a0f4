/* The first look of a pass: no centre may be hidden that is as close as the one with the lowest score, and
 * what it says of rows and scores is true. Included once per type of the data with S and N(name) defined. */

enum { N(LOOKED) = 2 * TW_LOOK_ROWS - 5 };

/* Rows as bytes again, for the reference. */
static double N(looked_gap)(const uint8_t *rows, const tw_looked *c, int steps, int r, int j, int depth, double unit) {
    double sum = 0;
    for (int l = 0; l < depth; l++) {
        const int q = rows[r / 16 * steps * 64 + (l / 4 * 16 + r % 16) * 4 + l % 4] - 128;
        const int p = c->values[(j / TW_LOOK_CENTRES * steps + l / 4) * 4 * TW_LOOK_CENTRES +
                                j % TW_LOOK_CENTRES * 4 + l % 4];
        const double gap = q * unit - p * (double)c->units[j];
        sum += gap * gap;
    }
    return sqrt(sum);
}

/* Lists the candidates of a tile as _look.pyx does, with a bound of the errors that is `share` of the true one;
 * returns how many centres are hidden that are as close as the leader. */
static int N(list_looked)(const tw_screen_kernels *k, const tw_looked *c, const float *scores, const double *gaps,
                          const float *errors, const double *squares, const int32_t *where, int count, double scale,
                          double largest, double share, const double *all, int32_t *most) {
    float reaches[TW_LOOK_ROWS] = {0}, limits[TW_LOOK_ROWS] = {0}, *less = buffer((size_t)c->panels * TW_LOOK_CENTRES * 4);
    int32_t candidates[TW_LOOK_ROWS * TW_LOOK_ROOM], counts[TW_LOOK_ROWS];
    tw_looked with = *c;
    int hidden = 0;
    for (int j = 0; j < c->panels * TW_LOOK_CENTRES; j++) less[j] = (float)(c->errors[j] * share);
    with.errors = less;
    for (int r = 0; r < count; r++) {
        const double reach = sqrt(gaps[r]) * (1 + 0x1p-20) * scale + (double)errors[r] * share, size = sqrt(squares[r]) + largest + reach;
        reaches[r] = (float)(reach * (1 + 0x1p-22));
        limits[r] = (float)(0.5 * ((double)reaches[r] * reaches[r] - squares[r]) + 0x1p-20 * size * size);
        limits[r] += 0x1p-22f * fabsf(limits[r]);
    }
    memset(counts, 255, sizeof counts);
    k->look_list(scores, &with, reaches, limits, (uint32_t)((1ull << count) - 1), candidates, counts);
    for (int r = 0; r < TW_LOOK_ROWS; r++) {
        if (r >= count) {
            CHECK(counts[r] == 0, "row %d was not asked for", r);
            continue;
        }
        *most = counts[r] > *most ? counts[r] : *most;
        if (counts[r] > TW_LOOK_ROOM) continue;
        for (int j = 0; j < c->count; j++) {
            int listed = 0;
            for (int i = 0; i < counts[r]; i++) listed |= candidates[r * TW_LOOK_ROOM + i] == j;
            hidden += !listed && all[r * c->count + j] <= gaps[r];
        }
        (void)where;
    }
    free(less);
    return hidden;
}

static void N(check_look)(const tw_screen_kernels *k) {
    const double scales[] = {1, 1e-6, 1e9}, offsets[] = {0, 1e4, 1e6};
    int hidden_by_less = 0;
    for (int d = 0; d < N_DEPTHS; d++)
        for (int round = 0; round < 9; round++) {
            const int depth = DEPTHS[d], count = 1 + (5 * d + 7 * round) % 90, steps = (depth + 3) / 4;
            const int panels = (count + TW_LOOK_CENTRES - 1) / TW_LOOK_CENTRES, padded = panels * TW_LOOK_CENTRES;
            const double size = scales[round % 3], offset = offsets[round / 3], scale = ldexp(1, -ilogb(size) - 1);
            const ptrdiff_t ldc = (depth + 7) / 8 * 8;
            S *x = buffer((size_t)(N(LOOKED) * depth) * sizeof(S));
            double *c = buffer((size_t)(count * ldc) * 8), *origin = buffer((size_t)depth * 8), largest = 0;
            tw_looked looked = {count, panels, steps, buffer((size_t)padded * 4 * steps), buffer((size_t)padded * 4),
                                buffer((size_t)padded * 4), buffer((size_t)padded * 4), buffer((size_t)padded * 4)};
            float *scores = buffer((size_t)padded * TW_LOOK_ROWS * 4);
            uint8_t *rows = buffer((size_t)steps * 4 * TW_LOOK_ROWS);
            memset(rows, 128, (size_t)steps * 4 * TW_LOOK_ROWS);
            for (int l = 0; l < depth; l++) origin[l] = (double)(S)(offset + size * 0.1 * uniform());
            for (int j = 0; j < count; j++)
                for (int l = 0; l < ldc; l++) c[j * ldc + l] = l < depth ? (double)(S)((uniform() - 0.5) * size + offset) : 0;
            /* Between two centres, on one, anywhere, or far outside. */
            for (int i = 0; i < N(LOOKED); i++)
                for (int l = 0; l < depth; l++) {
                    const double a = c[i % count * ldc + l], b = c[(i * 7 + 3) % count * ldc + l];
                    x[i * depth + l] = (S)(i % 4 < 2 ? (a + b) / 2 : i % 4 == 2 ? a : i % 3 ? offset + size * (uniform() - 0.5) : offset + 50 * size * (uniform() - 0.5));
                }
            for (int p = 0; p < panels; p++)
                k->look_panel(count - p * TW_LOOK_CENTRES < TW_LOOK_CENTRES ? count - p * TW_LOOK_CENTRES : TW_LOOK_CENTRES,
                              c + p * TW_LOOK_CENTRES * ldc, ldc, origin, scale, depth,
                              looked.values + (ptrdiff_t)p * steps * 4 * TW_LOOK_CENTRES, &looked, p * TW_LOOK_CENTRES);
            for (int j = 0; j < count; j++) {
                double left = 0, norm = 0;
                for (int l = 0; l < depth; l++) {
                    const int p = looked.values[(j / TW_LOOK_CENTRES * steps + l / 4) * 4 * TW_LOOK_CENTRES +
                                                j % TW_LOOK_CENTRES * 4 + l % 4];
                    const double rest = (c[j * ldc + l] - origin[l]) * scale - p * (double)looked.units[j];
                    left += rest * rest;
                    norm += (c[j * ldc + l] - origin[l]) * (c[j * ldc + l] - origin[l]) * scale * scale;
                }
                /* The unit is rounded to float32 besides, for which the margin of the limits has room. */
                CHECK(sqrt(left) <= (double)looked.errors[j] + 0x1p-23 * sqrt(norm), "centre %d", j);
                CHECK((double)looked.errors[j] <= sqrt(left) * 1.001 + 0x1p-21 * sqrt(norm) + 1e-36, "centre %d: %g", j, (double)looked.errors[j]);
                largest = fmax(largest, sqrt(norm) + 2 * (double)looked.errors[j]);
            }
            for (int first = 0; first < N(LOOKED); first += TW_LOOK_ROWS) {
                const int n = N(LOOKED) - first < TW_LOOK_ROWS ? N(LOOKED) - first : TW_LOOK_ROWS;
                float units[TW_LOOK_ROWS], errors[TW_LOOK_ROWS], lowest[TW_LOOK_ROWS], second[TW_LOOK_ROWS];
                double squares[TW_LOOK_ROWS], gaps[TW_LOOK_ROWS], *all = buffer((size_t)(n * count) * 8);
                int32_t where[TW_LOOK_ROWS], most = 0;
                const S *at[TW_LOOK_ROWS];
                for (int r = 0; r < n; r++) at[r] = x + (first + r) * depth;
                for (int g = 0; g < TW_LOOK_ROWS; g += 16)
                    k->N(look_rows)(n - g, at + g, origin, scale, depth, rows + g * 4 * steps, units + g, errors + g, squares + g);
                k->look(rows, units, &looked, scores, lowest, second, where, first ? NULL : (const void *const *)at, first ? 0 : depth * (int)sizeof(S));
                for (int r = 0; r < n; r++) {
                    float low = INFINITY, next = INFINITY;
                    for (int j = 0; j < count; j++) {
                        const float s = scores[j * TW_LOOK_ROWS + r];
                        const double gap = N(looked_gap)(rows, &looked, steps, r, j, depth, (double)units[r]), e = (double)looked.errors[j];
                        const double size_of = sqrt(squares[r]) + largest;
                        double sum = 0;
                        for (int l = 0; l < depth; l++) sum += ((double)at[r][l] - c[j * ldc + l]) * ((double)at[r][l] - c[j * ldc + l]);
                        all[r * count + j] = sum;
                        CHECK(fabs((double)s - 0.5 * (gap * gap - e * e - squares[r])) <= 0x1p-21 * size_of * size_of + 1e-36,
                              "depth %d: score of row %d and centre %d: %g", depth, r, j, (double)s);
                        CHECK(fabs(gap - sqrt(sum) * scale) <= (double)errors[r] + e + 0x1p-21 * size_of, "depth %d: row %d is farther from its copy", depth, r);
                        next = s < low ? low : s < next ? s : next;
                        low = s < low ? s : low;
                    }
                    CHECK(lowest[r] == low && second[r] == next && scores[where[r] * TW_LOOK_ROWS + r] == low, "row %d: lowest score", r);
                    gaps[r] = all[r * count + where[r]];
                }
                CHECK(N(list_looked)(k, &looked, scores, gaps, errors, squares, where, n, scale, largest, 1, all, &most) == 0,
                      "depth %d, %d centres: a centre is hidden", depth, count);
                hidden_by_less += N(list_looked)(k, &looked, scores, gaps, errors, squares, where, n, scale, largest, 0.5, all, &most);
                free(all);
            }
            free(x), free(c), free(origin), free(looked.values), free(looked.bases), free(looked.units);
            free(looked.errors), free(looked.halves), free(scores), free(rows);
        }
    CHECK(hidden_by_less > 0, "half of the bound would do: these checks see nothing");

    /* Rows without a bound: not finite, or too large. */
    S odd[4][3] = {{1, (S)NAN, 0}, {(S)INFINITY, 1, 0}, {(S)1e30, 1, 0}, {1, 2, 3}};
    const S *at[4] = {odd[0], odd[1], odd[2], odd[3]};
    const double origin[3] = {0};
    uint8_t bytes[64];
    float units[16], errors[16];
    double squares[16];
    k->N(look_rows)(4, at, origin, 1, 3, bytes, units, errors, squares);
    for (int r = 0; r < 16; r++) CHECK((errors[r] == INFINITY) == (r != 3) && (r == 3 || units[r] == 0), "row %d has a bound", r);
}
