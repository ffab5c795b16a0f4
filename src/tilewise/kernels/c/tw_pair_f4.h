/* Distances of float32: several rows against two vectors of others, one running sum each, kept in
 * registers. A metric is a row of STEPS, and a line in `careful` for the pairs whose sum float32 does
 * not hold well. */

/* The squared norm of x - origin as float32 holds it. */
static float norm_f4(const float *x, const float *origin, int depth) {
    tw_eight sum[4] = {{0}};
    int l = 0;
    for (; l + 32 <= depth; l += 32)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const tw_eight value = __builtin_convertvector(
                *(const tw_eight_f4u *)(x + l + 8 * i) - *(const tw_eight_f4u *)(origin + l + 8 * i), tw_eight);
            sum[i] += value * value;
        }
    double rest = 0;
    for (; l < depth; l++) {
        const float value = x[l] - origin[l];
        rest += (double)value * value;
    }
    const tw_eight all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    return (float)(rest + meet_eight(all));
}

TW_INLINE float centred_f4(float x, float origin) { return x - origin; }
TW_INLINE tw_f4 centred_all_f4(tw_f4 x, tw_f4 origin) { return x - origin; }

#define LANES LANES_F4
#define BLOCKED 1
#define PRODUCT_BLOCK TW_PAIR_DEPTH
#define PRODUCT_CHAIN TW_PAIR_DEPTH
#include "tw_pair_walk.h"

/* One element of those sums that have a kernel of float32, products apart. */
#define STEPS(K)                         \
    K(TW_SQUARES, fma_f4(gap, gap, sum)) \
    K(TW_GAPS, sum + abs_f4(gap))        \
    K(TW_LARGEST, max_f4(abs_f4(gap), sum))

TW_INLINE tw_f4 step_f4(const int kind, tw_f4 x, tw_f4 y, tw_f4 sum) {
    const tw_f4 gap = x - y;
#define STEP(KIND, SUM) \
    case KIND: return SUM;
    switch (kind) { STEPS(STEP) }
#undef STEP
    return sum;
}

/* Level: sums in registers, rows and panels of this block of the depth in L1. */
TW_INLINE void tile_f4(const int kind, const int rows, const int vectors, const meeting_f4 *m) {
    const float *restrict x = m->x, *restrict panels = m->panels;
    tw_f4 sum[TW_PAIR_ROWS_F4][2];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sum[r][v] = (tw_f4){0};
    for (int l = 0; l < m->length; l++) {
        tw_f4 y[2];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) y[v] = *(const tw_f4 *)(panels + v * m->panel_step + (ptrdiff_t)l * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            const tw_f4 value = splat_f4(x[r * m->row_step + l]);
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) sum[r][v] = step_f4(kind, value, y[v], sum[r][v]);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            tw_f4 *to = (tw_f4 *)(m->out + r * m->out_step + v * LANES);
            *to = m->first ? sum[r][v] : kind == TW_LARGEST ? max_f4(*to, sum[r][v]) : *to + sum[r][v];
        }
}

#define COVER(KIND, SUM)                                                                                     \
    static void cover_##KIND##_f4(const tw_pair_job *job, const float *x, int count) {                       \
        const shape_f4 shape = {.rows = TW_PAIR_ROWS_F4, .fewer = TW_PAIR_ROWS_F4 > 4 ? 4 : 1, .vectors = 2, \
                                .block = TW_PAIR_DEPTH};                                                     \
        cover_f4(tile_f4, KIND, shape, job->depth, job, x, count);                                           \
    }
STEPS(COVER)
#undef COVER

#define COVER(KIND, SUM) [KIND] = cover_##KIND##_f4,
static void (*const covers_f4[])(const tw_pair_job *, const float *, int) = {
    STEPS(COVER)[TW_PRODUCTS] = cover_products_f4,
};
#undef COVER
#undef STEPS

/* The same sum of one pair in float64, eight running sums: sums of squares are canonical. */
static double careful_f4(const int kind, const float *x, const float *y, int depth) {
    tw_eight sum = {0};
    for (int l = 0; l < depth; l += 8) {
        const tw_eight a = first_eight_f4(x + l, depth - l), b = first_eight_f4(y + l, depth - l);
        const tw_eight gap = a - b;
        if (kind == TW_SQUARES)
            sum += gap * gap;
        else if (kind == TW_PRODUCTS)
            sum += a * b;
        else
            sum += abs_eight(gap);
    }
    return meet_eight(sum);
}

/* Looks at a vector first: rows that differ mostly do so at once. */
static int equal_f4(const float *x, const float *y, int depth) {
    tw_i4 differ = {0};
    int l = 0;
    for (; l + LANES_F4 <= depth; l += LANES_F4) {
        differ |= *(const tw_f4u *)(x + l) != *(const tw_f4u *)(y + l);
        if (l == 0 && not_above_f4((tw_f4)differ, splat_f4(0)) != ALL_LANES_F4) return 0;
    }
    /* A lane that differs is all ones, which is not a number. */
    int unequal = not_above_f4((tw_f4)differ, splat_f4(0)) != ALL_LANES_F4;
    for (; l < depth; l++) unequal |= x[l] != y[l];
    return !unequal;
}

#include "tw_pair_cosine.h"

/* Sums of squares in here have lost nothing to underflow: below, terms under 2^-126 could
 * weigh; above, a term may have overflowed. Sums of up to 2^22 terms are meant. */
#define LOWEST_SQUARES 0x1p-80f
#define HIGHEST_SUM 0x1p126f

/* Replace the sums of one vector, at row[start], that float32 does not hold well. */
static void mend_f4(const tw_pair_job *job, const float *x, int start, uint32_t within, float *row) {
    const int last = job->n_columns - start < LANES_F4 ? job->n_columns - start : LANES_F4;
    for (int i = 0; i < last; i++) {
        if (within >> i & 1) continue;
        const float *other = (const float *)job->others + (start + i) * job->other_step;
        if (job->kind == TW_SQUARES && equal_f4(x, other, job->depth)) {
            row[start + i] = 0;
            continue;
        }
        const double all = careful_f4(job->kind, x, other, job->depth);
        row[start + i] = (float)(job->finish == TW_ROOT ? __builtin_sqrt(all) : all);
    }
}

/* The same for cosines, from rows (count) as they were before they had length one. */
static void mend_cosines_f4(const tw_pair_job *job, ptrdiff_t at, int start, uint32_t within, float *row) {
    const int last = job->n_columns - start < LANES_F4 ? job->n_columns - start : LANES_F4;
    const float *x = job->own_rows + at * job->own_row_step;
    for (int i = 0; i < last; i++)
        if (!(within >> i & 1))
            row[start + i] = (float)cosine_f4(x, job->own_others + (start + i) * job->own_other_step, job->depth);
}

/* x is the row, row (n_columns) its sums, which become results. */
static void finish_f4(const tw_pair_job *job, const float *x, float *restrict row) {
    const int kind = job->kind, root = job->finish == TW_ROOT;
    const float low = kind == TW_SQUARES ? LOWEST_SQUARES : -HIGHEST_SUM;
    if (kind == TW_LARGEST) return;
    for (int start = 0; start < job->n_columns; start += LANES_F4) {
        const tw_f4 sum = *(const tw_f4 *)(row + start);
        const uint32_t within = not_above_f4(splat_f4(low), sum) & not_above_f4(sum, splat_f4(HIGHEST_SUM));
        if (root) *(tw_f4 *)(row + start) = root_f4(sum, start / LANES_F4);
        if (__builtin_expect(within != ALL_LANES_F4, 0)) mend_f4(job, x, start, within, row);
    }
}

/* The same where row holds products: squares are |x|^2 + |y|^2 - 2 x.y where nothing cancels. Not
 * inlined: beside the other finish it lacks registers, and rows of 8 numbers take 7% longer. */
static __attribute__((noinline)) void finish_products_f4(const tw_pair_job *job, const float *x, float *restrict row) {
    const int root = job->finish == TW_ROOT, cosine = job->finish == TW_HALF_TO_TWO;
    const tw_f4 norm = splat_f4(norm_f4(x, job->origin, job->depth));
    const tw_f4 trusted = splat_f4((float)job->trusted), minus_two = splat_f4(-2);
    const tw_f4 low = splat_f4(cosine ? (float)job->lowest : LOWEST_SQUARES);
    for (int start = 0; start < job->n_columns; start += LANES_F4) {
        const tw_f4 both = norm + *(const tw_f4u *)((const float *)job->norms + start);
        const tw_f4 sum = fma_f4(minus_two, *(const tw_f4 *)(row + start), both);
        const uint32_t within = not_above_f4(max_f4(trusted * both, low), sum) &
                                not_above_f4(both, splat_f4(HIGHEST_SUM));
        *(tw_f4 *)(row + start) = root     ? root_f4(sum, start / LANES_F4)
                                  : cosine ? min_f4(sum * splat_f4(0.5f), splat_f4(2))
                                           : sum;
        if (__builtin_expect(within == ALL_LANES_F4, 1)) continue;
        if (cosine)
            mend_cosines_f4(job, (x - (const float *)job->rows) / job->row_step, start, within, row);
        else
            mend_f4(job, x, start, within, row);
    }
}

#include "tw_pair_fill.h"
#undef LANES
#undef BLOCKED
#undef PRODUCT_BLOCK
#undef PRODUCT_CHAIN
