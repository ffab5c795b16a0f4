/* The screen of k-means++: no pair that is closer may be hidden, and few others may be left open. A row's
 * squared distance to its seed is that of some candidate and the next number above. Included once per type
 * of the data with S and N(name) defined. */

typedef struct {
    int depth, count;
    ptrdiff_t ldc;
    S *x;            /* (SCREENED, depth) */
    double *c;       /* (count, ldc) */
    double *gaps;    /* (SCREENED, count) */
    double within[SCREENED];
} N(screened);

static N(screened) N(screened_of)(int depth, int count, double scale, double offset) {
    N(screened) p = {.depth = depth, .count = count, .ldc = (depth + 7) / 8 * 8};
    p.x = buffer((size_t)SCREENED * depth * sizeof(S));
    p.c = buffer((size_t)(count * p.ldc) * 8);
    p.gaps = buffer((size_t)(SCREENED * count) * 8);
    memset(p.c, 0, (size_t)(count * p.ldc) * 8);
    for (int i = 0; i < SCREENED; i++) {
        /* Some lie far outside. */
        const double size = i % 17 == 3 ? 40 * scale : scale;
        for (int l = 0; l < depth; l++) p.x[i * depth + l] = (S)((uniform() - 0.5) * size + offset);
    }
    for (int j = 0; j < count; j++)
        for (int l = 0; l < depth; l++)
            p.c[j * p.ldc + l] = whole(0, 9) ? (double)(S)((uniform() - 0.5) * scale + offset)
                                             : (double)p.x[(j * 7 % SCREENED) * depth + l];
    for (int i = 0; i < SCREENED; i++) {
        for (int j = 0; j < count; j++) {
            double sum = 0;
            for (int l = 0; l < depth; l++) {
                const double gap = (double)p.x[i * depth + l] - p.c[j * p.ldc + l];
                sum += gap * gap;
            }
            p.gaps[i * count + j] = sum;
        }
        p.within[i] = nextafter(p.gaps[i * count + whole(0, count - 1)], INFINITY);
    }
    return p;
}

static double N(norm_from)(const N(screened) *p, const double *x, const double *origin) {
    double sum = 0;
    for (int l = 0; l < p->depth; l++) sum += (x[l] - origin[l]) * (x[l] - origin[l]);
    return sqrt(sum);
}

/* slack (SCREENED, count): what a pair that is left open may be farther than allowed, as a distance. */
static void N(check_masks)(const N(screened) *p, const char *what, const uint16_t *masks, const double *slack) {
    for (int i = 0; i < SCREENED; i++)
        for (int j = 0; j < p->count; j++) {
            const int open = masks[j * TW_SCREEN_GROUPS + i / 16] >> i % 16 & 1;
            const double gap = p->gaps[i * p->count + j], most = sqrt(p->within[i]) + slack[i * p->count + j];
            CHECK(open || gap >= p->within[i], "%s, depth %d: row %d, candidate %d: %g of %g is hidden", what, p->depth, i, j,
                  gap, p->within[i]);
            CHECK(!open || sqrt(gap) <= most * 1.0005 + 1e-18, "%s, depth %d: row %d, candidate %d: %g of %g is far",
                  what, p->depth, i, j, gap, p->within[i]);
        }
    for (int j = 0; j < p->count; j++)
        CHECK(masks[j * TW_SCREEN_GROUPS + SCREENED / 16] >> SCREENED % 16 == 0, "%s: rows that do not exist", what);
}

static void N(check_screened_lanes)(const tw_screen_kernels *k) {
    const double scales[] = {1, 1e-6, 1e9}, offsets[] = {0, 1e4, 1e6};
    for (int d = 0; d < N_DEPTHS; d++)
        for (int round = 0; round < 9; round++) {
            const int depth = DEPTHS[d], count = 1 + (d + 2 * round) % 16;
            const double scale = scales[round % 3], offset = offsets[round / 3];
            const N(screened) p = N(screened_of)(depth, count, scale, offset);
            const S *x[SCREENED];
            double *origin = buffer((size_t)depth * 8), *slack = buffer((size_t)(SCREENED * count) * 8);
            float radius[SCREENED], reaches[SCREENED], limits[SCREENED_GROUPS * 16];
            int32_t owner[SCREENED];
            uint16_t near[TW_SCREEN_GROUPS] = {0}, masks[16 * TW_SCREEN_GROUPS], here[16 * TW_SCREEN_GROUPS];
            const ptrdiff_t step = (depth + 15) / 16 * 16;
            float *rough = buffer((size_t)(count * step) * 4);
            double far = 0;
            /* Close by, or far away: then rounding what is less the origin matters. */
            for (int l = 0; l < depth; l++) origin[l] = round % 2 ? 0 : (double)p.x[5 * depth + l];
            for (int j = 0; j < count; j++) {
                far = fmax(far, N(norm_from)(&p, p.c + j * p.ldc, origin));
                for (int l = 0; l < depth; l++)
                    rough[j * step + l] = (float)(sizeof(S) == 8 ? p.c[j * p.ldc + l] - origin[l] : p.c[j * p.ldc + l]);
            }
            for (int i = 0; i < SCREENED; i++) {
                double *row = buffer((size_t)depth * 8);
                for (int l = 0; l < depth; l++) row[l] = (double)p.x[i * depth + l];
                x[i] = p.x + i * depth;
                radius[i] = tw_radius(p.within[i]);
                owner[i] = i;
                /* As little as the triangle inequality allows. */
                reaches[i] = (float)(fmax(0, N(norm_from)(&p, row, origin) - sqrt(p.within[i])) * (1 + 1e-6));
                near[i / 16] |= (uint16_t)(1 << i % 16);
                for (int j = 0; j < count; j++)
                    slack[i * count + j] = sizeof(S) == 8 ? 1e-7 * (far + sqrt(p.within[i]) + reaches[i]) : 0;
                free(row);
            }
            const float beyond = (float)(1.03 * 0x1p-24 * far + 1e-37);
            const float grow = (float)((1 + 0x1p-17) / (1 - (depth + 16) * 0x1p-23));
            const tw_rough trials = {rough, step, count, depth, origin};
            memset(limits, 255, sizeof limits);
            k->limits(SCREENED, NULL, owner, radius, sizeof(S) == 8 ? reaches : NULL, beyond, grow, limits);
            memset(masks, 255, sizeof masks);
            k->N(lanes)(SCREENED, x, limits, &trials, masks);
            N(check_masks)(&p, "lanes", masks, slack);
            k->N(lanes_here)(SCREENED, p.x, depth, near, limits, &trials, here);
            N(check_masks)(&p, "lanes here", here, slack);
            near[1] = 0;
            k->N(lanes_here)(SCREENED, p.x, depth, near, limits, &trials, here);
            for (int j = 0; j < count; j++) CHECK(here[j * TW_SCREEN_GROUPS + 1] == 0, "rows that are not near");
            /* Limits that are no numbers hide nothing. */
            for (int i = 0; i < SCREENED_GROUPS * 16; i++) limits[i] = i % 2 ? NAN : INFINITY;
            k->N(lanes)(SCREENED, x, limits, &trials, masks);
            for (int i = 0; i < SCREENED; i++) CHECK(masks[i / 16] >> i % 16 & 1, "row %d without a limit is hidden", i);
            free(origin), free(slack), free(rough), free(p.x), free(p.c), free(p.gaps);
        }
}

/* A sum that rounds up with every addition: ones, and squares of a little more than half a unit. */
static void N(check_rounding)(const tw_screen_kernels *k) {
    for (int depth = 65; depth < 3000; depth = depth * 3 / 2) {
        const ptrdiff_t step = (depth + 15) / 16 * 16;
        S *x = buffer((size_t)depth * sizeof(S));
        float *c = buffer((size_t)step * 4), limit[16];
        double *origin = buffer((size_t)depth * 8), sum = 0;
        memset(c, 0, (size_t)step * 4);
        for (int l = 0; l < depth; l++) {
            x[l] = (S)(l ? (float)sqrt(1.02 * 0x1p-24) : 1);
            origin[l] = 0;
            sum += (double)x[l] * (double)x[l];
        }
        const S *rows[1] = {x};
        const float radius[1] = {tw_radius(nextafter(sum, INFINITY))};
        const tw_rough trials = {c, step, 1, depth, origin};
        uint16_t masks[TW_SCREEN_GROUPS];
        memset(limit, 0, sizeof limit);
        k->limits(1, NULL, NULL, radius, NULL, 0, (float)((1 + 0x1p-17) / (1 - (depth + 16) * 0x1p-23)), limit);
        k->N(lanes)(1, rows, limit, &trials, masks);
        CHECK(masks[0] == 1, "depth %d: a row is hidden by rounding", depth);
        free(x), free(c), free(origin);
    }
}

static void N(check_copy)(const tw_screen_kernels *k) {
    const double scales[] = {1, 1e-6, 1e9}, offsets[] = {0, 1e4, 1e6};
    for (int d = 0; d < N_DEPTHS; d++)
        for (int round = 0; round < 9; round++) {
            const int depth = DEPTHS[d], count = 1 + (d + 2 * round) % 16, steps = (depth + 3) / 4;
            const double scale = scales[round % 3], offset = offsets[round / 3], unit = scale / 2 / 127;
            const N(screened) p = N(screened_of)(depth, count, scale, offset);
            double *mean = buffer((size_t)depth * 8), *slack = buffer((size_t)(SCREENED * count) * 8);
            uint8_t *copied = buffer((size_t)(SCREENED_GROUPS * steps) * 64);
            int8_t *values = buffer((size_t)steps * 64);
            float radius[SCREENED_GROUPS * 16] = {0}, errors[SCREENED_GROUPS * 16] = {0}, halves[SCREENED_GROUPS * 16] = {0};
            int32_t bases[16];
            float own[16];
            uint16_t near[TW_SCREEN_GROUPS] = {0}, masks[16 * TW_SCREEN_GROUPS];
            for (int l = 0; l < depth; l++) mean[l] = (double)(S)(offset + scale * 0.1 * uniform());
            for (int first = 0; first < SCREENED; first += 16) {
                const S *x[16];
                const int some = SCREENED - first < 16 ? SCREENED - first : 16;
                for (int r = 0; r < some; r++) x[r] = p.x + (first + r) * depth;
                k->N(copy)(some, x, mean, unit, depth, copied + first * 4 * steps, errors + first, halves + first);
            }
            k->copy_trials(count, p.c, p.ldc, mean, unit, depth, values, bases, own);
            for (int i = 0; i < SCREENED; i++) {
                double left = 0, norm = 0;
                for (int l = 0; l < depth; l++) {
                    const int q = copied[i / 16 * steps * 64 + (l / 4 * 16 + i % 16) * 4 + l % 4] - 128;
                    const double rest = (double)p.x[i * depth + l] - mean[l] - q * unit;
                    left += rest * rest;
                    norm += (double)q * q;
                }
                CHECK(sqrt(left) <= (double)errors[i] && (double)errors[i] <= sqrt(left) * 1.0001 + unit * (1e-5 + 0x1p-22 * sqrt(norm)),
                      "depth %d, row %d: %g, not %g", depth, i, (double)errors[i], sqrt(left));
                CHECK((double)halves[i] <= norm / 2 && (double)halves[i] >= norm / 2 * (1 - 1e-5), "depth %d, row %d", depth, i);
                /* Whole units, half of them lost, without the rows that were clipped. */
                CHECK(i % 17 == 3 || (double)errors[i] <= unit * (0.51 * sqrt(depth)) + 0.2 * scale * sqrt(depth), "row %d", i);
                radius[i] = tw_radius(p.within[i]);
                near[i / 16] |= (uint16_t)(1 << i % 16);
                for (int j = 0; j < count; j++) slack[i * count + j] = 2 * ((double)errors[i] + (double)own[j]) + 1.1 * unit;
            }
            const tw_copied rows = {copied, radius, errors, halves, steps};
            const tw_candidates trials = {values, bases, own, (float)(sqrt(0.5) / unit * (1 + 0x1p-20)), count};
            memset(masks, 255, sizeof masks);
            k->compare(SCREENED_GROUPS, &rows, near, &trials, masks);
            N(check_masks)(&p, "copy", masks, slack);
            free(mean), free(slack), free(copied), free(values), free(p.x), free(p.c), free(p.gaps);
        }
}
