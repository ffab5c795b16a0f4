/* Scores and everything that is read off them, on whole numbers: exact in any order. Included
 * once per type of the scores with T, I and N(name) defined. */

typedef struct {
    int n, depth, k, lanes;
    T *x, *c;      /* (n, depth), (k, depth) */
    double *score; /* (n, k) */
} N(problem);

static N(problem) N(problem_of)(int n, int depth, int k, int lanes) {
    N(problem) p = {n, depth, k, lanes, buffer((size_t)n * depth * sizeof(T)), buffer((size_t)k * depth * sizeof(T)),
                    buffer((size_t)n * k * sizeof(double))};
    for (int i = 0; i < n * depth; i++) p.x[i] = (T)whole(-4, 4);
    for (int i = 0; i < k * depth; i++) p.c[i] = (T)whole(-4, 4);
    for (int r = 0; r < n; r++)
        for (int j = 0; j < k; j++) {
            double score = 0;
            for (int l = 0; l < depth; l++) {
                const double c = (double)p.c[j * depth + l];
                score += 0.5 * c * c - c * (double)p.x[r * depth + l];
            }
            p.score[r * k + j] = score;
        }
    return p;
}

static double N(half)(const N(problem) *p, int j) {
    double sum = 0;
    for (int l = 0; l < p->depth; l++) sum += 0.5 * (double)p->c[j * p->depth + l] * (double)p->c[j * p->depth + l];
    return sum;
}

/* Panels (or groups) of `width` centres: half norms, then negated coordinates; INFINITY behind. */
static T *N(panels_of)(const N(problem) *p, int width, int *n_panels) {
    *n_panels = (p->k + width - 1) / width;
    const size_t step = (size_t)(p->depth + 1) * width;
    T *panels = buffer((size_t)*n_panels * step * sizeof *panels);
    for (int j = 0; j < *n_panels * width; j++) {
        T *to = panels + (size_t)(j / width) * step + j % width;
        *to = j < p->k ? (T)N(half)(p, j) : (T)INFINITY;
        for (int l = 0; l < p->depth; l++) to[(size_t)(l + 1) * width] = j < p->k ? -p->c[j * p->depth + l] : 0;
    }
    return panels;
}

/* Best, second best and the first centre of the best score, among every step-th from start on. */
static void N(best_two)(const N(problem) *p, int r, int start, int step, double *best, double *second, int *index) {
    *best = *second = INFINITY;
    *index = -1;
    for (int j = start; j < p->k; j += step) {
        const double s = p->score[r * p->k + j];
        if (s < *best) {
            *second = *best;
            *best = s;
            *index = j;
        } else if (s < *second) {
            *second = s;
        }
    }
}

static void N(check_state)(const N(problem) *p, const char *what, const T *best, const T *second, const I *ordinal) {
    for (int r = 0; r < p->n; r++)
        for (int lane = 0; lane < p->lanes; lane++) {
            double b, s;
            int index;
            N(best_two)(p, r, lane, p->lanes, &b, &s, &index);
            const int at = r * p->lanes + lane;
            CHECK((double)best[at] == b && (double)second[at] == s, "%s: n %d, depth %d, k %d, row %d, lane %d: %g %g, not %g %g",
                  what, p->n, p->depth, p->k, r, lane, (double)best[at], (double)second[at], b, s);
            CHECK(index < 0 || (int)ordinal[at] * p->lanes + lane == index, "%s: depth %d, k %d, row %d, lane %d: %d, not %d",
                  what, p->depth, p->k, r, lane, (int)ordinal[at] * p->lanes + lane, index);
        }
}

static void N(check_certify)(const tw_tile_kernels *t, const N(problem) *p, const T *best, const T *second,
                             const I *ordinal) {
    T *band = buffer((size_t)p->n * sizeof *band), *lowest = buffer((size_t)p->n * sizeof *lowest);
    T *next = buffer((size_t)p->n * sizeof *next);
    int32_t *label = buffer((size_t)p->n * sizeof *label);
    for (int r = 0; r < p->n; r++) band[r] = whole(0, 5) ? (T)whole(0, 6) / 2 : (T)INFINITY;
    t->N(certify)(p->n, best, second, ordinal, band, label, lowest, next);
    for (int r = 0; r < p->n; r++) {
        double low, second_lowest;
        int index, within = 0;
        N(best_two)(p, r, 0, 1, &low, &second_lowest, &index);
        for (int j = 0; j < p->k; j++) within += p->score[r * p->k + j] <= low + (double)band[r];
        /* What does not exist lies at infinity, which an infinite band reaches. */
        const int expected = within == 1 && isfinite((double)band[r]) ? index : -1;
        CHECK(label[r] == expected, "k %d, row %d: %d, not %d", p->k, r, label[r], expected);
        CHECK((double)lowest[r] == low, "k %d, row %d", p->k, r);
        /* Of use only where the label is certain. */
        CHECK(label[r] < 0 || (double)next[r] == second_lowest, "k %d, row %d", p->k, r);
    }
    free(band), free(lowest), free(next), free(label);
}

static void N(check_assign)(const tw_tile_kernels *t, N(problem) p, int vectors, int depth_block, int per_call) {
    const int tile = t->tile_rows, lanes = p.lanes, segments = (p.depth + lanes - 1) / lanes;
    const int n_tiles = (p.n + tile - 1) / tile, width = vectors * lanes;
    const size_t state = (size_t)n_tiles * tile * lanes;
    int n_panels;
    T *panels = N(panels_of)(&p, width, &n_panels);
    T *packed = buffer((size_t)n_tiles * tile * segments * lanes * sizeof *packed);
    T *best = buffer(state * sizeof *best), *second = buffer(state * sizeof *second);
    I *ordinal = buffer(state * sizeof *ordinal);
    T *scratch = buffer((size_t)per_call * tile * width * sizeof *scratch);
    for (size_t i = 0; i < state; i++) best[i] = second[i] = (T)INFINITY;
    for (int r = 0; r < p.n; r++)
        for (int l = 0; l < segments * lanes; l++)
            packed[((size_t)(r / tile * segments + l / lanes) * tile + r % tile) * lanes + l % lanes] =
                l < p.depth ? p.x[r * p.depth + l] : 0;
    /* rows to fetch meanwhile: wherever they lie, nothing is read from them */
    const void **ahead = buffer((size_t)n_tiles * tile * sizeof *ahead);
    for (int r = 0; r < n_tiles * tile; r++) ahead[r] = p.x + (size_t)(r % p.n) * p.depth;
    for (int panel = 0; panel < n_panels; panel += per_call) {
        const int count = n_panels - panel < per_call ? n_panels - panel : per_call;
        t->N(assign)(packed, n_tiles, p.depth, depth_block, panels + (size_t)panel * (p.depth + 1) * width, count,
                     vectors, panel * vectors, best, second, ordinal, scratch, panel ? NULL : ahead, (int)sizeof(T));
    }
    N(check_state)(&p, "assign", best, second, ordinal);
    N(check_certify)(t, &p, best, second, ordinal);

    for (int k = 1; k <= p.k; k = 3 * k + whole(0, 2))
        N(check_select)(t, p.score, p.n, p.k, packed, n_tiles, p.depth, depth_block, panels, n_panels, vectors, per_call, k);

    enum { ROOM = 7 };
    const T **rows = buffer((size_t)p.n * sizeof *rows);
    T *limits = buffer((size_t)p.n * sizeof *limits);
    int32_t *found = buffer((size_t)p.n * ROOM * sizeof *found);
    int *counts = buffer((size_t)p.n * sizeof *counts);
    for (int r = 0; r < p.n; r++) {
        rows[r] = packed + ((size_t)(r / tile) * segments * tile + r % tile) * lanes;
        limits[r] = (T)(p.score[r * p.k + whole(0, p.k - 1)] - whole(0, 1) * 5);
    }
    t->N(collect)(p.n, rows, limits, p.depth, depth_block, panels, n_panels, vectors, found, counts, ROOM);
    for (int r = 0; r < p.n; r++) {
        int n = 0, same = 1;
        for (int j = 0; j < p.k; j++)
            if (p.score[r * p.k + j] <= (double)limits[r]) {
                if (n < ROOM) same &= found[r * ROOM + n] == j;
                n++;
            }
        CHECK(n > ROOM ? counts[r] == -1 : counts[r] == n && same, "k %d, row %d: %d, not %d", p.k, r, counts[r], n);
    }
    free(rows), free(limits), free(found), free(counts);
    free(panels), free(packed), free(best), free(second), free(ordinal), free(scratch), free(ahead);
}

static void N(check_lanes)(const tw_tile_kernels *t, N(problem) p) {
    const int width = t->row_panel_vectors * p.lanes, n_panels = (p.n + width - 1) / width;
    const size_t padded = (size_t)n_panels * width;
    int n_groups;
    T *groups = N(panels_of)(&p, t->group, &n_groups);
    T *packed = buffer(padded * p.depth * sizeof *packed);
    T *best = buffer(padded * sizeof *best), *second = buffer(padded * sizeof *second), *band = buffer(padded * sizeof *band);
    I *index = buffer(padded * sizeof *index);
    int32_t *label = buffer((size_t)p.n * sizeof *label);
    for (size_t r = 0; r < padded; r++) {
        best[r] = second[r] = (T)INFINITY;
        band[r] = whole(0, 5) ? (T)whole(0, 6) / 2 : (T)INFINITY;
        for (int l = 0; l < p.depth; l++)
            packed[r / width * width * p.depth + (size_t)l * width + r % width] =
                (int)r < p.n ? p.x[(int)r * p.depth + l] : 0;
    }
    /* in two calls, the second from where the first ended */
    const int half = n_groups / 2;
    t->N(assign_lanes)(packed, n_panels, p.depth, groups, half, 0, best, second, index);
    t->N(assign_lanes)(packed, n_panels, p.depth, groups + (size_t)half * (p.depth + 1) * t->group, n_groups - half,
                       half * t->group, best, second, index);
    t->N(certify_lanes)(p.n, best, second, index, band, label);
    for (int r = 0; r < p.n; r++) {
        double b, s;
        int at;
        N(best_two)(&p, r, 0, 1, &b, &s, &at);
        CHECK((double)best[r] == b && (double)second[r] == s && (int)index[r] == at, "lanes: depth %d, k %d, row %d", p.depth, p.k, r);
        CHECK(label[r] == (s > b + (double)band[r] ? at : -1), "lanes: depth %d, k %d, row %d", p.depth, p.k, r);
    }
    free(groups), free(packed), free(best), free(second), free(band), free(index), free(label);
}

static void N(check_scan)(const tw_tile_kernels *t, N(problem) p) {
    const ptrdiff_t ld = p.k + whole(0, 3);
    const size_t state = (size_t)p.n * p.lanes;
    /* nothing behind the last score of the last row */
    T *scores = buffer((size_t)((p.n - 1) * ld + p.k) * sizeof *scores), *half = buffer((size_t)p.k * sizeof *half);
    T *best = buffer(state * sizeof *best), *second = buffer(state * sizeof *second);
    I *index = buffer(state * sizeof *index);
    for (int j = 0; j < p.k; j++) half[j] = (T)N(half)(&p, j);
    for (int r = 0; r < p.n; r++)
        for (int j = 0; j < p.k; j++) scores[r * ld + j] = (T)(p.score[r * p.k + j] - (double)half[j]);
    t->N(scan)(p.n, p.k, scores, ld, half, best, second, index);
    N(check_state)(&p, "scan", best, second, index);
    free(scores), free(half), free(best), free(second), free(index);
}

/* Bounds must hold for every true distance within the error that they are told of. */
static void N(check_bounds)(const tw_tile_kernels *t) {
    enum { N_ROWS = 203 };
    const T most = sizeof(T) == 4 ? (T)1e29 : (T)1e29;
    T *norms = buffer(N_ROWS * sizeof *norms), *band = buffer(N_ROWS * sizeof *band);
    T *lowest = buffer(N_ROWS * sizeof *lowest), *next = buffer(N_ROWS * sizeof *next);
    float *upper = buffer(N_ROWS * sizeof *upper), *lower = buffer(N_ROWS * sizeof *lower);
    const double fixed = 1e-5, per_norm = 3e-6, per_square = 2e-7;
    for (int r = 0; r < N_ROWS; r++) norms[r] = r % 5 ? (T)(uniform() * 30) : most * (T)uniform();
    norms[7] = (T)NAN;
    norms[8] = (T)INFINITY;
    norms[9] = (T)2e30;
    norms[10] = 0;
    t->N(bands)(N_ROWS, norms, (T)fixed, (T)per_norm, (T)per_square, band);
    for (int r = 0; r < N_ROWS; r++) {
        const double norm = (double)norms[r];
        const double expected = norm < 1e30 ? fixed + per_norm * sqrt(norm) + per_square * norm : INFINITY;
        CHECK(expected == INFINITY ? isinf(band[r]) && band[r] > 0 : fabs((double)band[r] - expected) <= 1e-6 * expected,
              "norm %g: %g, not %g", norm, (double)band[r], expected);
        lowest[r] = (T)(-0.5 * norm + uniform() * norm);
        next[r] = lowest[r] + (T)(uniform() * norm);
    }
    next[12] = (T)INFINITY;
    t->N(renew)(N_ROWS, lowest, next, norms, band, (T)1e-6, 8.0, upper, lower);
    for (int r = 0; r < N_ROWS; r++) {
        const double norm = (double)norms[r], error = (double)band[r] + 1e-6 * norm;
        if (!(norm < 1e30)) {
            CHECK(!(lower[r] > 0), "row %d", r);
            continue;
        }
        const double above = norm + 2 * (double)lowest[r] + error, below = norm + 2 * (double)next[r] - error;
        /* Rounding in the type of the scores is part of the error that the caller names. */
        const double slack = 3 * (sizeof(T) == 4 ? 0x1p-23 : 0x1p-52) * (norm + 2 * fabs((double)next[r]) + error);
        CHECK((double)upper[r] >= 8 * sqrt(fmax(0, above - slack)), "row %d", r);
        CHECK((double)upper[r] <= 8 * sqrt(fmax(0, above + slack)) * (1 + 1e-5) + 1e-36, "row %d", r);
        if (isfinite((double)next[r])) {
            CHECK((double)lower[r] <= 8 * sqrt(fmax(0, below + slack)), "row %d", r);
            CHECK((double)lower[r] >= 8 * sqrt(fmax(0, below - slack)) * (1 - 1e-5), "row %d", r);
        } else {
            CHECK((double)lower[r] >= 1e38 && isfinite(lower[r]), "row %d", r);
        }
    }
    free(norms), free(band), free(lowest), free(next), free(upper), free(lower);
}

static void N(check_tile)(const tw_tile_kernels *t) {
    const int lanes = t->vector_bytes / (int)sizeof(T), tile = t->tile_rows;
    const int clusters[] = {1, 2, lanes - 1, lanes, lanes + 1, 2 * lanes, 2 * lanes + 1, 5 * lanes + 3, 16 * lanes + 1, 150};
    const int lengths[] = {1, tile - 1, tile, tile + 1, 3 * tile, 40};
    for (int d = 0; d < N_DEPTHS; d++)
        for (int i = 0; i < 10; i++) {
            const int depth = DEPTHS[d], k = clusters[i];
            N(problem) p = N(problem_of)(lengths[(d + i) % 6], depth, k, lanes);
            for (int vectors = 1; vectors <= t->panel_vectors; vectors++)
                for (int per_call = 1; per_call <= 3; per_call += 2) {
                    N(check_assign)(t, p, vectors, depth < lanes ? lanes : depth, per_call);
                    N(check_assign)(t, p, vectors, lanes, per_call);
                    N(check_assign)(t, p, vectors, 2 * lanes, per_call);
                }
            N(check_lanes)(t, p);
            N(check_scan)(t, p);
            free(p.x), free(p.c), free(p.score);
        }
    N(check_bounds)(t);
}
