/* Canonical distances have the bits of these loops. Included once per type
 * of the data with S and N(name) defined; compiled without contraction. */

static double N(plain_distance)(const S *x, const double *c, int depth) {
    double lane[8] = {0};
    for (int l = 0; l < depth; l++) {
        const double gap = (double)x[l] - c[l];
        lane[l % 8] += gap * gap;
    }
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* Rows of exactly their length against the one of `count` others that is theirs. */
static void N(check_own)(const tw_exact_kernels *e, const double *c, ptrdiff_t ldc, int count, int depth, double scale) {
    const S *rows[20];
    int32_t labels[20];
    const int n_rows = whole(1, 20);
    double *out = buffer((size_t)(n_rows + 7) / 8 * 64);
    for (int r = 0; r < n_rows; r++) {
        S *row = buffer((size_t)depth * sizeof *row);
        for (int l = 0; l < depth; l++) row[l] = (S)((uniform() - 0.5) * scale);
        rows[r] = row;
        labels[r] = whole(0, count - 1);
    }
    e->N(distances_own)(rows, labels, c, ldc, n_rows, depth, out);
    for (int r = 0; r < n_rows; r++) {
        const double expected = N(plain_distance)(rows[r], c + labels[r] * ldc, depth);
        CHECK(out[r] == expected, "depth %d, row %d of %d: %a, not %a", depth, r, n_rows, out[r], expected);
        free((void *)rows[r]);
    }
    free(out);
}

static void N(check_exact)(const tw_exact_kernels *e) {
    for (int d = -1; d < N_DEPTHS; d++) {
        const int depth = d < 0 ? 0 : DEPTHS[d];
        const ptrdiff_t ldc = depth ? (depth + 7) / 8 * 8 : 8;
        for (int count = 1; count <= 9; count++) {
            S *x = buffer((size_t)depth * sizeof *x);
            double *c = buffer((size_t)(count * ldc) * sizeof *c), *out = buffer((size_t)count * sizeof *out);
            int *picks = buffer((size_t)count * sizeof *picks);
            const double scale = pow(10, whole(-30, 30));
            memset(c, 0, (size_t)(count * ldc) * sizeof *c);
            for (int l = 0; l < depth; l++) x[l] = (S)((uniform() - 0.5) * scale);
            for (int j = 0; j < count; j++) {
                picks[j] = whole(0, count - 1);
                for (int l = 0; l < depth; l++) c[j * ldc + l] = (uniform() - 0.5) * scale;
            }
            e->N(distances)(x, c, ldc, count, depth, out);
            for (int j = 0; j < count; j++) {
                const double expected = N(plain_distance)(x, c + j * ldc, depth);
                CHECK(out[j] == expected, "depth %d, %d of %d: %a, not %a", depth, j, count, out[j], expected);
                CHECK(e->N(distance)(x, c + j * ldc, depth) == expected, "depth %d", depth);
            }
            e->N(distances_picked)(x, c, ldc, picks, count, depth, out);
            for (int j = 0; j < count; j++)
                CHECK(out[j] == N(plain_distance)(x, c + picks[j] * ldc, depth), "depth %d, pick %d", depth, j);
            N(check_own)(e, c, ldc, count, depth, scale);
            if (depth <= TW_LANES_DEPTH) {
                const S *eight[8];
                double *lanes = buffer((size_t)count * 8 * sizeof *lanes);
                for (int r = 0; r < 8; r++) {
                    S *row = buffer((size_t)depth * sizeof *row);
                    for (int l = 0; l < depth; l++) row[l] = (S)((uniform() - 0.5) * scale);
                    eight[r] = row;
                }
                e->N(distances_lanes)(eight, c, ldc, count, depth, lanes);
                for (int j = 0; j < 8 * count; j++)
                    CHECK(lanes[j] == N(plain_distance)(eight[j % 8], c + j / 8 * ldc, depth), "depth %d, %d", depth, j);
                for (int r = 0; r < 8; r++) free((void *)eight[r]);
                free(lanes);
            }
            double *wide = buffer((size_t)depth * sizeof *wide), least;
            S *rows = buffer((size_t)(count * depth) * sizeof *rows);
            for (int l = 0; l < depth; l++) wide[l] = (uniform() - 0.5) * scale;
            for (int i = 0; i < count * depth; i++) rows[i] = (S)((uniform() - 0.5) * scale);
            e->N(single)(wide, rows, count, depth, out);
            int first = -1;
            for (int j = 0; j < count; j++) {
                const double expected = N(plain_distance)(rows + j * depth, wide, depth);
                CHECK(out[j] == expected, "depth %d, %d of %d: %a, not %a", depth, j, count, out[j], expected);
                if (whole(0, 3) == 0) out[j] = whole(0, 1) ? INFINITY : NAN;
                if (out[j] < INFINITY && (first < 0 || out[j] < out[first])) first = j;
            }
            CHECK(e->first_least(out, count, &least) == first, "%d values", count);
            CHECK(first < 0 ? least == INFINITY : least == out[first], "%d values: %a", count, least);
            free(wide), free(rows);
            free(x), free(c), free(out), free(picks);
        }
    }
}
