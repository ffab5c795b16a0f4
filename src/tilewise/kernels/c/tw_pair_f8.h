/* The tile body of float64: one or two rows against one vector of others, eight running sums
 * each, kept in registers. A metric is a line in `step`. */

/* One element: `sum` is the running sum, `second` what braycurtis and nan_euclidean count beside. */
TW_INLINE void step_f8(const int kind, tw_f8 x, tw_f8 y, double weight, double power, tw_f8 *sum, tw_f8 *second) {
    const tw_f8 w = splat_f8(weight);
    const tw_f8 gap = x - y;
    switch (kind) {
        case TW_SQUARES: *sum += gap * gap; break;
        case TW_PRODUCTS: *sum += x * y; break;
        case TW_GAPS: *sum += abs_f8(gap); break;
        case TW_LARGEST: *sum = max_f8(abs_f8(gap), *sum); break;
        case TW_WEIGHTED_SQUARES: *sum += w * (gap * gap); break;
        case TW_WEIGHTED_GAPS: *sum += w * abs_f8(gap); break;
        case TW_WEIGHTED_LARGEST: *sum = max_f8(w * abs_f8(gap), *sum); break;
        case TW_CANBERRA: {
            const tw_f8 size = abs_f8(x) + abs_f8(y), half = splat_f8(0.5);
            /* Where that overflows, halves have the same ratio. */
            const tw_i8 beyond = size > splat_f8(HIGHEST_F8);
            const tw_f8 top = only_f8(~beyond, abs_f8(gap)) + only_f8(beyond, abs_f8(x * half - y * half));
            const tw_f8 bottom = only_f8(~beyond, size) + only_f8(beyond, abs_f8(x * half) + abs_f8(y * half));
            *sum += w * only_f8(size != 0, top / bottom);
            break;
        }
        case TW_BRAYCURTIS:
            *sum += w * abs_f8(gap);
            *second += w * abs_f8(x + y);
            break;
        case TW_UNEQUAL: *sum += only_f8(x != y, w); break;
        case TW_KNOWN_SQUARES:
            *sum += only_f8(gap == gap, gap * gap);
            *second += only_f8(gap == gap, splat_f8(1.0));
            break;
        case TW_WHOLE_POWERS: {
            tw_f8 factor = abs_f8(gap), product = w;
            for (int rest = (int)power; rest; rest >>= 1) {
                if (rest & 1) product *= factor;
                factor *= factor;
            }
            *sum += product;
            break;
        }
        default: {
            tw_f8 size = abs_f8(gap);
            for (int i = 0; i < LANES_F8; i++) size[i] = pow(size[i], power);
            *sum += w * size;
        }
    }
}

TW_INLINE tw_f8 meet_f8(const int kind, const tw_f8 a[8]) {
    return kind == TW_LARGEST || kind == TW_WEIGHTED_LARGEST ? TW_MEET_BY(max_f8, a) : TW_MEET(a);
}

TW_INLINE int takes_root(const int kind) {
    return kind == TW_SQUARES || kind == TW_WEIGHTED_SQUARES || kind == TW_KNOWN_SQUARES;
}

/* out is (rows, lanes), out_step apart. Level: sums in registers, the panel in L1. */
TW_INLINE void tile_f8(const int kind, const int rows, const tw_pair_job *job,
                       const double *x, const double *panel, int turn, double *out, ptrdiff_t out_step) {
    const int depth = job->depth;
    const ptrdiff_t row_step = job->row_step;
    const double *weights = job->weights;
    const double power = job->power;
    tw_f8 sum[TW_PAIR_ROWS_F8][8], second[TW_PAIR_ROWS_F8][8];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) sum[r][i] = second[r][i] = (tw_f8){0};
    int l = 0;
    for (; l + 8 <= depth; l += 8, panel += 8 * LANES_F8) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            const tw_f8 y = *(const tw_f8 *)(panel + i * LANES_F8);
            const double w = has_weights(kind) ? weights[l + i] : 1.0;
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++)
                step_f8(kind, splat_f8(x[r * row_step + l + i]), y, w, power, &sum[r][i], &second[r][i]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < 7; i++) {
        if (l + i >= depth) break;
        const tw_f8 y = *(const tw_f8 *)(panel + i * LANES_F8);
        const double w = has_weights(kind) ? weights[l + i] : 1.0;
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++)
            step_f8(kind, splat_f8(x[r * row_step + l + i]), y, w, power, &sum[r][i], &second[r][i]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        tw_f8 all = meet_f8(kind, sum[r]);
        if (kind == TW_BRAYCURTIS) {
            const tw_f8 together = meet_f8(kind, second[r]);
            /* What is infinite makes it no number, which is then seen. */
            all = all / together + (together - together);
        }
        if (kind == TW_KNOWN_SQUARES) all = all / meet_f8(kind, second[r]) * splat_f8(depth);
        /* Here, and not in `finish`, so that it runs beside the sums of the next tile. */
        if (takes_root(kind) && job->finish == TW_ROOT) all = root_f8(all, turn + r);
        *(tw_f8 *)(out + r * out_step) = all;
    }
}

/* The same as tile_f8 for short rows of squares or gaps. */
TW_INLINE void short_f8(const int kind, const int rows, const int depth, const tw_pair_job *job, const double *x,
                        const double *panel, double *out, ptrdiff_t out_step) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        tw_f8 term[8];
#pragma GCC unroll 8
        for (int l = 0; l < depth; l++) {
            const tw_f8 gap = splat_f8(x[r * job->row_step + l]) - *(const tw_f8 *)(panel + l * LANES_F8);
            term[l] = kind == TW_SQUARES ? gap * gap : abs_f8(gap);
        }
        tw_f8 all = TW_MEET_FIRST(depth, term);
        if (kind == TW_SQUARES && job->finish == TW_ROOT) all = root_f8(all, r);
        *(tw_f8 *)(out + r * out_step) = all;
    }
}

TW_INLINE void cover_short_f8(const int kind, const int depth, const tw_pair_job *job, const double *x, int count) {
    const int vectors = (job->n_columns + LANES_F8 - 1) / LANES_F8;
    const ptrdiff_t panel_step = (ptrdiff_t)depth * LANES_F8, step = (ptrdiff_t)vectors * LANES_F8;
    for (int v = 0; v < vectors; v++) {
        const double *panel = (const double *)job->panels + v * panel_step;
        double *out = (double *)job->scratch + v * LANES_F8;
        int r = 0;
        for (; r + 3 <= count; r += 3) short_f8(kind, 3, depth, job, x + r * job->row_step, panel, out + r * step, step);
        for (; r < count; r++) short_f8(kind, 1, depth, job, x + r * job->row_step, panel, out + r * step, step);
    }
}

/* scratch is (count, whole vectors): panels outside (L2), so that each meets all rows from L1. */
TW_INLINE void cover_f8(const int kind, const tw_pair_job *job, const double *x, int count) {
    const int vectors = (job->n_columns + LANES_F8 - 1) / LANES_F8;
    const int rows = kind == TW_BRAYCURTIS || kind == TW_KNOWN_SQUARES || kind == TW_POWERS ? 1 : TW_PAIR_ROWS_F8;
    const ptrdiff_t panel_step = (ptrdiff_t)job->depth * LANES_F8, step = (ptrdiff_t)vectors * LANES_F8;
    for (int v = 0; v < vectors; v++) {
        const double *panel = (const double *)job->panels + v * panel_step;
        double *out = (double *)job->scratch + v * LANES_F8;
        int r = 0;
        for (; r + rows <= count; r += rows)
            tile_f8(kind, rows, job, x + r * job->row_step, panel, v + r, out + r * step, step);
        for (; r < count; r++) tile_f8(kind, 1, job, x + r * job->row_step, panel, v + r, out + r * step, step);
    }
}

#define COVER_KIND(KIND)                                                                        \
    static void cover_##KIND##_f8(const tw_pair_job *job, const double *x, int count) {         \
        cover_f8(KIND, job, x, count);                                                          \
    }
/* The metrics whose short rows run as fast as memory takes the results. */
#define COVER_SHORT(KIND)                                                                       \
    static void cover_##KIND##_f8(const tw_pair_job *job, const double *x, int count) {         \
        switch (job->depth) {                                                                   \
            case 1: cover_short_f8(KIND, 1, job, x, count); break;                              \
            case 2: cover_short_f8(KIND, 2, job, x, count); break;                              \
            case 3: cover_short_f8(KIND, 3, job, x, count); break;                              \
            case 4: cover_short_f8(KIND, 4, job, x, count); break;                              \
            case 5: cover_short_f8(KIND, 5, job, x, count); break;                              \
            case 6: cover_short_f8(KIND, 6, job, x, count); break;                              \
            case 7: cover_short_f8(KIND, 7, job, x, count); break;                              \
            case 8: cover_short_f8(KIND, 8, job, x, count); break;                              \
            default: cover_f8(KIND, job, x, count);                                             \
        }                                                                                       \
    }
COVER_SHORT(TW_SQUARES)
COVER_SHORT(TW_GAPS)
COVER_KIND(TW_PRODUCTS)
COVER_KIND(TW_LARGEST)
COVER_KIND(TW_WEIGHTED_SQUARES)
COVER_KIND(TW_WEIGHTED_GAPS)
COVER_KIND(TW_WEIGHTED_LARGEST)
COVER_KIND(TW_CANBERRA)
COVER_KIND(TW_BRAYCURTIS)
COVER_KIND(TW_UNEQUAL)
COVER_KIND(TW_KNOWN_SQUARES)
COVER_KIND(TW_WHOLE_POWERS)
COVER_KIND(TW_POWERS)
#undef COVER_KIND
#undef COVER_SHORT

static void (*const covers_f8[TW_PAIR_KINDS])(const tw_pair_job *, const double *, int) = {
    [TW_SQUARES] = cover_TW_SQUARES_f8,
    [TW_PRODUCTS] = cover_TW_PRODUCTS_f8,
    [TW_GAPS] = cover_TW_GAPS_f8,
    [TW_LARGEST] = cover_TW_LARGEST_f8,
    [TW_WEIGHTED_SQUARES] = cover_TW_WEIGHTED_SQUARES_f8,
    [TW_WEIGHTED_GAPS] = cover_TW_WEIGHTED_GAPS_f8,
    [TW_WEIGHTED_LARGEST] = cover_TW_WEIGHTED_LARGEST_f8,
    [TW_CANBERRA] = cover_TW_CANBERRA_f8,
    [TW_BRAYCURTIS] = cover_TW_BRAYCURTIS_f8,
    [TW_UNEQUAL] = cover_TW_UNEQUAL_f8,
    [TW_KNOWN_SQUARES] = cover_TW_KNOWN_SQUARES_f8,
    [TW_WHOLE_POWERS] = cover_TW_WHOLE_POWERS_f8,
    [TW_POWERS] = cover_TW_POWERS_f8,
};

/* x is the row, row (n_columns) its sums, which become results. */
static void finish_f8(const tw_pair_job *job, const double *x, double *row) {
    const int count = job->n_columns;
    double low;
    if (needs_care_f8(job, &low)) {
        finish_with_care_f8(job, x, low, row);
        return;
    }
    switch (job->finish) {
        case TW_DIVIDED:
            for (int j = 0; j < count; j++) row[j] /= job->divisor;
            break;
        case TW_HALF_TO_TWO:
            for (int j = 0; j < count; j++) row[j] = row[j] * 0.5 < 2 ? row[j] * 0.5 : 2;
            break;
        default: break;
    }
}

static void fill_f8(const tw_pair_job *job) {
    const double *x = job->rows;
    const ptrdiff_t step = (job->n_columns + LANES_F8 - 1) / LANES_F8 * LANES_F8;
    double *const scratch = job->scratch;
    float *const narrow = (float *)(scratch + job->group * step);
    for (int first = 0; first < job->n_rows; first += job->group) {
        const int count = job->n_rows - first < job->group ? job->n_rows - first : job->group;
        (job->origin ? cover_products_f8 : covers_f8[job->kind])(job, x + first * job->row_step, count);
        for (int r = 0; r < count; r++) {
            double *row = scratch + r * step;
            if (job->origin)
                finish_products_f8(job, x + (first + r) * job->row_step, row);
            else
                finish_f8(job, x + (first + r) * job->row_step, row);
            if (job->turned) continue;
            if (job->out_double) {
                store_f8(job, (double *)job->out + (first + r) * job->out_step, row);
            } else {
                for (int j = 0; j < job->n_columns; j++) narrow[j] = (float)row[j];
                store_f4(job, (float *)job->out + (first + r) * job->out_step, narrow);
            }
        }
        if (!job->turned) continue;
        for (int j = 0; j < job->n_columns; j++) {
            const ptrdiff_t at = j * job->out_step + first;
            if (job->out_double)
                for (int r = 0; r < count; r++) ((double *)job->out)[at + r] = scratch[r * step + j];
            else
                for (int r = 0; r < count; r++) ((float *)job->out)[at + r] = (float)scratch[r * step + j];
        }
    }
    settle(job);
}

static double length_f8(const double *x, int depth, double scale) {
    double sum[8] = {0};
    for (int l = 0; l < depth; l++) sum[l % 8] += x[l] * scale * (x[l] * scale);
    return __builtin_sqrt(tw_meet(sum));
}

static void normalize_f8(int count, int depth, double *rows, ptrdiff_t step, char *is_zero) {
    for (int r = 0; r < count; r++, rows += step) {
        double length = length_f8(rows, depth, 1), scale = 1;
        if (!(length > 0x1p-400 && length < 0x1p400)) {
            /* Squares may leave the range: a power of two brings the largest value near one. */
            double largest = 0;
            for (int l = 0; l < depth; l++) largest = fabs(rows[l]) > largest ? fabs(rows[l]) : largest;
            if (largest > 0 && largest < __builtin_inf()) {
                int exponent;
                frexp(largest, &exponent);
                scale = ldexp(1.0, exponent > 1000 ? -1000 : exponent < -1000 ? 1000 : -exponent);
                length = length_f8(rows, depth, scale);
            }
        }
        is_zero[r] = length == 0;
        if (length == 0) continue;
        for (int l = 0; l < depth; l++) rows[l] = rows[l] * scale / length;
    }
}
