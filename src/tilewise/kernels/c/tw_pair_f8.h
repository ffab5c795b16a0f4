/* Distances of float64: one or two rows against one vector of others, eight running sums each, kept
 * in registers. TW_PAIR_STEPS of tw_pair.h lists the metrics. */
#include "tw_pair_careful_f8.h"
#include "tw_pair_products_f8.h"

#define LANES LANES_F8
#define BLOCKED 0
#define PRODUCT_BLOCK (4 * TW_PAIR_CHAIN)
#define PRODUCT_CHAIN TW_PAIR_CHAIN
#include "tw_pair_walk.h"

/* |x - y| / (|x| + |y|), 0 for 0 / 0. */
TW_INLINE tw_f8 canberra_f8(tw_f8 x, tw_f8 y, tw_f8 gap) {
    const tw_f8 size = abs_f8(x) + abs_f8(y), half = splat_f8(0.5);
    /* Where that overflows, halves have the same ratio. */
    const tw_i8 beyond = size > splat_f8(HIGHEST_F8);
    const tw_f8 top = only_f8(~beyond, abs_f8(gap)) + only_f8(beyond, abs_f8(x * half - y * half));
    const tw_f8 bottom = only_f8(~beyond, size) + only_f8(beyond, abs_f8(x * half) + abs_f8(y * half));
    return only_f8(size != 0, top / bottom);
}

TW_INLINE tw_f8 power_f8(tw_f8 size, double power) {
    for (int i = 0; i < LANES_F8; i++) size[i] = pow(size[i], power);
    return size;
}

/* w times the power. */
TW_INLINE tw_f8 whole_power_f8(tw_f8 factor, int power, tw_f8 w) {
    for (; power; power >>= 1) {
        if (power & 1) w *= factor;
        factor *= factor;
    }
    return w;
}

/* One element: see TW_PAIR_STEPS. */
TW_INLINE void step_f8(const int kind, tw_f8 x, tw_f8 y, double weight, double power, tw_f8 *sum, tw_f8 *second) {
    const tw_f8 w = splat_f8(weight);
    const tw_f8 gap = x - y;
#define STEP(KIND, KERNEL, WEIGHTS, FINISH, COVER, ...) \
    case KIND: __VA_ARGS__; break;
    switch (kind) { TW_PAIR_STEPS(STEP) }
#undef STEP
}

TW_INLINE tw_f8 meet_f8(const int kind, const tw_f8 a[8]) {
    return kind == TW_LARGEST || kind == TW_WEIGHTED_LARGEST ? TW_MEET_BY(max_f8, a) : TW_MEET(a);
}

TW_INLINE int takes_root(const int kind) {
    return kind == TW_SQUARES || kind == TW_WEIGHTED_SQUARES || kind == TW_KNOWN_SQUARES;
}

/* Level: sums in registers, the panel in L1. */
TW_INLINE void tile_f8(const int kind, const int rows, const int vectors, const meeting_f8 *m) {
    (void)vectors;
    const int depth = m->length;
    const ptrdiff_t row_step = m->row_step;
    const double *x = m->x, *panel = m->panels, *weights = m->job->weights;
    const double power = m->job->power;
    tw_f8 sum[TW_PAIR_ROWS_F8][8], second[TW_PAIR_ROWS_F8][8];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) sum[r][i] = second[r][i] = (tw_f8){0};
    int l = 0;
    for (; l + 8 <= depth; l += 8, panel += 8 * LANES) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            const tw_f8 y = *(const tw_f8 *)(panel + i * LANES);
            const double w = has_weights(kind) ? weights[l + i] : 1.0;
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++)
                step_f8(kind, splat_f8(x[r * row_step + l + i]), y, w, power, &sum[r][i], &second[r][i]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < 7; i++) {
        if (l + i >= depth) break;
        const tw_f8 y = *(const tw_f8 *)(panel + i * LANES);
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
        if (takes_root(kind) && m->job->finish == TW_ROOT) all = root_f8(all, m->turn + r);
        *(tw_f8 *)(m->out + r * m->out_step) = all;
    }
}

/* The same for rows of up to eight squares or gaps. */
TW_INLINE void short_f8(const int kind, const int rows, const int vectors, const meeting_f8 *m) {
    (void)vectors;
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        const double *x = m->x + r * m->row_step;
        tw_f8 term[8];
#pragma GCC unroll 8
        for (int l = 0; l < m->length; l++) {
            const tw_f8 gap = splat_f8(x[l]) - *(const tw_f8 *)(m->panels + l * LANES);
            term[l] = kind == TW_SQUARES ? gap * gap : abs_f8(gap);
        }
        tw_f8 all = TW_MEET_FIRST(m->length, term);
        if (kind == TW_SQUARES && m->job->finish == TW_ROOT) all = root_f8(all, r);
        *(tw_f8 *)(m->out + r * m->out_step) = all;
    }
}

TW_INLINE void cover_tiles_f8(const int kind, const int rows, const tw_pair_job *job, const double *x, int count) {
    const shape_f8 shape = {.rows = rows, .vectors = 1, .block = INT32_MAX};
    cover_f8(tile_f8, kind, shape, job->depth, job, x, count);
}

TW_INLINE void cover_whole_f8(const int kind, const tw_pair_job *job, const double *x, int count) {
    cover_tiles_f8(kind, TW_PAIR_ROWS_F8, job, x, count);
}

/* For sums that need the registers of two rows. */
TW_INLINE void cover_single_f8(const int kind, const tw_pair_job *job, const double *x, int count) {
    cover_tiles_f8(kind, 1, job, x, count);
}

TW_INLINE void cover_short_f8(const int kind, const int depth, const tw_pair_job *job, const double *x, int count) {
    const shape_f8 shape = {.rows = 3, .vectors = 1, .block = 8};
    cover_f8(short_f8, kind, shape, depth, job, x, count);
}

/* The metrics whose short rows run as fast as memory takes the results. */
TW_INLINE void cover_depths_f8(const int kind, const tw_pair_job *job, const double *x, int count) {
    switch (job->depth) {
        case 1: cover_short_f8(kind, 1, job, x, count); break;
        case 2: cover_short_f8(kind, 2, job, x, count); break;
        case 3: cover_short_f8(kind, 3, job, x, count); break;
        case 4: cover_short_f8(kind, 4, job, x, count); break;
        case 5: cover_short_f8(kind, 5, job, x, count); break;
        case 6: cover_short_f8(kind, 6, job, x, count); break;
        case 7: cover_short_f8(kind, 7, job, x, count); break;
        case 8: cover_short_f8(kind, 8, job, x, count); break;
        default: cover_whole_f8(kind, job, x, count);
    }
}

#define COVER(KIND, KERNEL, WEIGHTS, FINISH, COVER, ...)                                \
    static void cover_##KIND##_f8(const tw_pair_job *job, const double *x, int count) { \
        cover_##COVER##_f8(KIND, job, x, count);                                        \
    }
TW_PAIR_STEPS(COVER)
#undef COVER

#define COVER(KIND, ...) cover_##KIND##_f8,
static void (*const covers_f8[])(const tw_pair_job *, const double *, int) = {TW_PAIR_STEPS(COVER)};
#undef COVER

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

#include "tw_pair_fill.h"
#undef LANES
#undef BLOCKED
#undef PRODUCT_BLOCK
#undef PRODUCT_CHAIN
