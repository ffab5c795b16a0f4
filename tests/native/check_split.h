/* Scores from parts of bfloat16: exact on whole numbers, within their bound on others. */

typedef struct {
    int n, depth, k, products, parts, steps, groups, width, n_panels;
    float *norms, *split_errors;
    double second, rest; /* shares of the centres' norms */
    uint16_t *tiles, *panels;
    size_t panel_step;
} split_problem;

static split_problem split_of(const tw_tile_kernels *t, const tw_split_kernels *s, const problem_f4 *p, int products) {
    split_problem q = {.n = p->n, .depth = p->depth, .k = p->k, .products = products, .parts = tw_split_parts(products)};
    q.steps = (p->depth + TW_SPLIT_STEP - 1) / TW_SPLIT_STEP;
    q.groups = (p->n + TW_SPLIT_ROWS - 1) / TW_SPLIT_ROWS;
    q.width = t->panel_vectors * t->vector_bytes / 4;
    const size_t rows = (size_t)q.groups * TW_SPLIT_ROWS;
    float *plain = panels_of_f4(p, q.width, &q.n_panels);
    float *second_norms = buffer(rows * 4), *rest_norms = buffer(rows * 4), *origin = buffer((size_t)p->depth * 4);
    float own[64], second[64], rest[64];
    q.panel_step = ((size_t)q.steps * TW_SPLIT_STEP * q.parts + 2) * q.width;
    q.panels = buffer(q.n_panels * q.panel_step * 2);
    q.tiles = buffer(rows * q.steps * TW_SPLIT_STEP * q.parts * 2);
    q.norms = buffer(rows * 4), q.split_errors = buffer(rows * 4);
    for (int j = 0; j < q.n_panels; j++) {
        s->pack_panel(plain + (size_t)j * (p->depth + 1) * q.width, p->depth, q.parts, q.panels + j * q.panel_step, own,
                      second, rest);
        for (int i = 0; i < q.width && j * q.width + i < p->k; i++) {
            CHECK(fabs((double)own[i] - 2 * half_f4(p, j * q.width + i)) <= 1e-4 * (double)own[i], "panel %d, %d", j, i);
            if (own[i] > 0) q.second = fmax(q.second, 1.01 * sqrt((double)second[i] / (double)own[i]));
            if (own[i] > 0) q.rest = fmax(q.rest, 1.01 * sqrt((double)rest[i] / (double)own[i]));
        }
    }
    const float **pointers = buffer((size_t)p->n * sizeof *pointers);
    for (int r = 0; r < p->n; r++) pointers[r] = p->x + (size_t)r * p->depth;
    memset(origin, 0, (size_t)p->depth * 4);
    s->pack_f4(p->n, p->depth, q.parts, pointers, origin, 1, q.tiles, q.norms, second_norms, rest_norms);
    s->split_errors(p->n, q.norms, second_norms, rest_norms, (float)q.second, (float)q.rest, q.split_errors);
    free(plain), free(second_norms), free(rest_norms), free(origin), free(pointers);
    return q;
}

static void free_split(split_problem q) { free(q.norms), free(q.split_errors), free(q.tiles), free(q.panels); }

/* x up to one size and c up to another, so that every sum is exact whatever is left out. */
static problem_f4 whole_problem(int n, int depth, int k, int lanes, int x, int c) {
    problem_f4 p = problem_of_f4(n, depth, k, lanes);
    for (int i = 0; i < n * depth; i++) p.x[i] = (float)whole(-x, x);
    for (int i = 0; i < k * depth; i++) p.c[i] = (float)whole(-c, c);
    for (int r = 0; r < n; r++)
        for (int j = 0; j < k; j++) {
            double score = half_f4(&p, j);
            for (int l = 0; l < depth; l++) score -= (double)p.c[j * depth + l] * (double)p.x[r * depth + l];
            p.score[r * k + j] = score;
        }
    return p;
}

static void check_split_assign(const tw_tile_kernels *t, const tw_split_kernels *s, problem_f4 p, int products,
                               int step_block, int per_call) {
    split_problem q = split_of(t, s, &p, products);
    const size_t state = (size_t)q.groups * TW_SPLIT_ROWS * p.lanes;
    float *best = buffer(state * 4), *second = buffer(state * 4);
    float *scratch = buffer((size_t)per_call * TW_SPLIT_ROWS * q.width * 4);
    int32_t *ordinal = buffer(state * 4);
    for (size_t i = 0; i < state; i++) best[i] = second[i] = INFINITY;
    const void **ahead = buffer((size_t)q.groups * TW_SPLIT_ROWS * sizeof *ahead);
    for (int r = 0; r < q.groups * TW_SPLIT_ROWS; r++) ahead[r] = p.x + (size_t)(r % p.n) * p.depth;
    for (int panel = 0; panel < q.n_panels; panel += per_call)
        s->assign(q.tiles, q.groups, q.steps, step_block, products, q.panels + panel * q.panel_step,
                  q.n_panels - panel < per_call ? q.n_panels - panel : per_call, panel * t->panel_vectors, best, second,
                  ordinal, scratch, panel ? NULL : ahead, TW_SPLIT_STEP * 4);
    check_state_f4(&p, "split assign", best, second, ordinal);
    free(best), free(second), free(scratch), free(ordinal), free(ahead), free_split(q);
}

/* All scores of p, (n, k), by way of the candidates. */
static double *split_scores(const tw_tile_kernels *t, const tw_split_kernels *s, const problem_f4 *p,
                            const split_problem *q) {
    const int rows = q->groups * TW_SPLIT_ROWS, per_call = 2, room = q->n_panels * q->width;
    (void)t;
    tw_near near = {.room = room, .stride = room + per_call * q->width + 16};
    double *all = buffer((size_t)p->n * p->k * sizeof *all);
    float *limits = buffer((size_t)rows * 4), *scratch = buffer((size_t)per_call * TW_SPLIT_ROWS * q->width * 4);
    near.scores = buffer((size_t)rows * near.stride * 4), near.indices = buffer((size_t)rows * near.stride * 4);
    near.counts = buffer((size_t)rows * 4), near.triggers = buffer((size_t)rows * 4), near.limits = limits;
    for (int r = 0; r < rows; r++) {
        near.counts[r] = 0;
        near.triggers[r] = INT32_MAX;
        limits[r] = r < p->n ? 3e38f : -INFINITY;
    }
    for (int panel = 0; panel < q->n_panels; panel += per_call) {
        const int count = q->n_panels - panel < per_call ? q->n_panels - panel : per_call;
        const int next = s->select(q->tiles, q->groups, 0, q->steps, 2, q->products, q->panels + panel * q->panel_step,
                                   count, panel * q->width, &near, scratch);
        CHECK(next == q->groups, "group %d of %d", next, q->groups);
    }
    for (int r = 0; r < p->n; r++) {
        CHECK(near.counts[r] == p->k, "row %d: %d of %d", r, near.counts[r], p->k);
        for (int j = 0; j < near.counts[r]; j++) {
            CHECK(((int32_t *)near.indices)[r * near.stride + j] == j, "row %d, %d", r, j);
            all[(size_t)r * p->k + j] = (double)((float *)near.scores)[r * near.stride + j];
        }
    }
    free(near.scores), free(near.indices), free(near.counts), free(near.triggers), free(limits), free(scratch);
    return all;
}

/* Rows halfway between two centres, or centres themselves, so that what is left out adds up. The
 * scores alone must be wrong somewhere, and never by more than the bound. */
static void check_split_bound(const tw_tile_kernels *t, const tw_split_kernels *s, int depth, int products, int *wrong,
                              double *worst) {
    enum { N_ROWS = 70, K = 45 };
    problem_f4 p = problem_of_f4(N_ROWS, depth, K, t->vector_bytes / 4);
    for (int i = 0; i < K * depth; i++) p.c[i] = (float)((uniform() - 0.5) * (i / depth % 3 ? 1.99 : 1e-3));
    for (int r = 0; r < N_ROWS; r++)
        for (int l = 0; l < depth; l++) {
            const double a = (double)p.c[r % K * depth + l], b = (double)p.c[(r + 1) % K * depth + l];
            p.x[r * depth + l] = (float)(r % 3 == 0 ? a : 0.5 * (a + b) + 1e-9 * uniform());
        }
    split_problem q = split_of(t, s, &p, products);
    double *scores = split_scores(t, s, &p, &q);
    const double alpha = 1.05 * (q.steps * products + 32 + 8) * 0x1p-24, eta = (depth + 8) * 0x1p-72 * sqrt(depth);
    for (int r = 0; r < N_ROWS; r++) {
        double norm = 0, low = INFINITY, least = INFINITY, least_error = 0, low_error = 0;
        int first = 0, closest = 0;
        for (int l = 0; l < depth; l++) norm += pow((double)p.x[r * depth + l], 2);
        CHECK(fabs(norm - (double)q.norms[r]) <= 1e-4 * norm, "row %d", r);
        for (int j = 0; j < K; j++) {
            const double square = 2 * half_f4(&p, j), x = sqrt(norm), c = sqrt(square);
            double exact = 0.5 * square;
            for (int l = 0; l < depth; l++) exact -= (double)p.c[j * depth + l] * (double)p.x[r * depth + l];
            const double bound = alpha * (x * c + 0.5 * square) + (double)q.split_errors[r] * c + eta * (1 + x);
            const double error = fabs(scores[r * K + j] - exact);
            CHECK(error <= bound, "depth %d, %d products: row %d, centre %d errs by %g, more than %g", depth, products,
                  r, j, error, bound);
            *worst = fmax(*worst, error / bound);
            if (scores[r * K + j] < low) low = scores[r * K + j], first = j, low_error = bound;
            if (exact < least) least = exact, closest = j, least_error = bound;
        }
        *wrong += first != closest;
        CHECK(scores[r * K + closest] <= low + low_error + least_error, "row %d", r);
    }
    free(scores), free_split(q), free(p.x), free(p.c), free(p.score);
}

/* The bound counts one addition per instruction: the products of an instruction meet before they
 * meet the running score. 32 products of 2^-24 are nothing to 1 one after another. */
static void check_order_of_additions(const tw_tile_kernels *t, const tw_split_kernels *s) {
    problem_f4 p = problem_of_f4(1, 32, 1, t->vector_bytes / 4);
    for (int l = 0; l < 32; l++) p.x[l] = 1, p.c[l] = -0x1p-25f;
    p.n = p.k = 1;
    split_problem q = split_of(t, s, &p, 3);
    for (int j = 0; j < q.width; j++) ((float *)q.panels)[j] = j ? INFINITY : 1;
    double *scores = split_scores(t, s, &p, &q);
    CHECK(scores[0] == 1 + 0x1p-20, "%a", scores[0]);
    free(scores), free_split(q), free(p.x), free(p.c), free(p.score);
}

static void check_split(const tw_tile_kernels *t, const tw_split_kernels *s) {
    const int lanes = t->vector_bytes / 4;
    const int clusters[] = {1, lanes, 2 * lanes, 2 * lanes + 1, 5 * lanes + 3, 150};
    const int lengths[] = {1, 31, 32, 33, 64, 100};
    for (int d = 0; d < N_DEPTHS; d++)
        for (int i = 0; i < 6; i++)
            for (int wide = 0; wide < 2; wide++) {
                problem_f4 p = whole_problem(lengths[(d + i) % 6], DEPTHS[d], clusters[i], lanes, wide ? 400 : 60,
                                             wide ? 60 : 300);
                for (int products = 3; products <= 6; products += 3) {
                    check_split_assign(t, s, p, products, 1 + (d + i) % 5, 1 + 2 * (i % 2));
                    split_problem q = split_of(t, s, &p, products);
                    double *scores = split_scores(t, s, &p, &q);
                    for (int j = 0; j < p.n * p.k; j++)
                        CHECK(scores[j] == p.score[j], "score %d: %g, not %g", j, scores[j], p.score[j]);
                    free(scores), free_split(q);
                }
                free(p.x), free(p.c), free(p.score);
            }
    for (int products = 3; products <= 6; products += 3) {
        int wrong = 0;
        double worst = 0;
        for (int depth = 1; depth < 900; depth += 1 + depth / 2) check_split_bound(t, s, depth, products, &wrong, &worst);
        /* A bound that is never needed would not be tested. */
        CHECK(wrong > 0, "%d products: no score misleads", products);
        CHECK(worst > (products == 3 ? 0.1 : 0.005), "%d products: at most %g of the bound", products, worst);
    }
    check_order_of_additions(t, s);
}
