/* The tile body of float32: several rows against two vectors of others, one running sum each,
 * kept in registers. A metric is a line in `step`, and one in `careful` for the pairs whose sum
 * float32 does not hold well. */

TW_INLINE tw_f4 step_f4(const int kind, tw_f4 x, tw_f4 y, tw_f4 sum) {
    const tw_f4 gap = x - y;
    switch (kind) {
        case TW_SQUARES: return fma_f4(gap, gap, sum);
        case TW_GAPS: return sum + abs_f4(gap);
        default: return max_f4(abs_f4(gap), sum);
    }
}

/* out is (rows, vectors * lanes), out_step apart: sums over `length` elements, joined to what
 * stands there unless they are the first. Level: sums in registers, rows and panels of
 * this block of the depth in L1. */
TW_INLINE void tile_f4(const int kind, const int rows, const int vectors, const float *restrict x,
                       ptrdiff_t row_step, const float *restrict panels, int length, int first,
                       float *restrict out, ptrdiff_t out_step) {
    const ptrdiff_t panel_step = (ptrdiff_t)length * LANES_F4;
    tw_f4 sum[TW_PAIR_ROWS_F4][2];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sum[r][v] = (tw_f4){0};
    for (int l = 0; l < length; l++) {
        tw_f4 y[2];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) y[v] = *(const tw_f4 *)(panels + v * panel_step + (ptrdiff_t)l * LANES_F4);
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            const tw_f4 value = splat_f4(x[r * row_step + l]);
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) sum[r][v] = step_f4(kind, value, y[v], sum[r][v]);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            tw_f4 *to = (tw_f4 *)(out + r * out_step + v * LANES_F4);
            *to = first ? sum[r][v] : kind == TW_LARGEST ? max_f4(*to, sum[r][v]) : *to + sum[r][v];
        }
}

TW_INLINE void cover_rows_f4(const int kind, const int vectors, const float *x, ptrdiff_t row_step, int count,
                             const float *panels, int length, int first, float *out, ptrdiff_t step) {
    int r = 0;
    for (; r + TW_PAIR_ROWS_F4 <= count; r += TW_PAIR_ROWS_F4)
        tile_f4(kind, TW_PAIR_ROWS_F4, vectors, x + r * row_step, row_step, panels, length, first, out + r * step, step);
#if TW_PAIR_ROWS_F4 > 4
    for (; r + 4 <= count; r += 4)
        tile_f4(kind, 4, vectors, x + r * row_step, row_step, panels, length, first, out + r * step, step);
#endif
    for (; r < count; r++)
        tile_f4(kind, 1, vectors, x + r * row_step, row_step, panels, length, first, out + r * step, step);
}

TW_INLINE void cover_f4(const int kind, const tw_pair_job *job, const float *x, int count) {
    const int vectors = (job->n_columns + LANES_F4 - 1) / LANES_F4, depth = job->depth;
    const ptrdiff_t step = (ptrdiff_t)vectors * LANES_F4;
    /* 1. blocks of the depth: sums rest in scratch (L1 or L2) */
    for (int start = 0; start == 0 || start < depth; start += TW_PAIR_DEPTH) {
        const int length = depth - start < TW_PAIR_DEPTH ? depth - start : TW_PAIR_DEPTH;
        const float *panels = (const float *)job->panels + start * step;
        float *out = job->scratch;
        /* 2. panels (from L2), each of which meets all rows (L1) */
        for (int v = 0; v < vectors; v += 2, panels += 2 * LANES_F4 * length, out += 2 * LANES_F4)
            if (v + 1 < vectors)
                cover_rows_f4(kind, 2, x + start, job->row_step, count, panels, length, start == 0, out, step);
            else
                cover_rows_f4(kind, 1, x + start, job->row_step, count, panels, length, start == 0, out, step);
    }
}

static void cover_squares_f4(const tw_pair_job *job, const float *x, int count) { cover_f4(TW_SQUARES, job, x, count); }
static void cover_gaps_f4(const tw_pair_job *job, const float *x, int count) { cover_f4(TW_GAPS, job, x, count); }
static void cover_largest_f4(const tw_pair_job *job, const float *x, int count) { cover_f4(TW_LARGEST, job, x, count); }

/* Rows for products, less the origin: element (r, l) goes to tile r / 12, at
 * (l / lanes * 12 + r % 12) * lanes + l % lanes, so that one register walks through a tile. */
static void pack_tiles_f4(const float *x, ptrdiff_t row_step, int count, int depth, const float *origin, float *to) {
    const ptrdiff_t tile = (ptrdiff_t)((depth + LANES_F4 - 1) / LANES_F4 * LANES_F4) * TW_PAIR_TILE;
    for (int r = 0; r < count; r++, x += row_step) {
        float *segment = to + r / TW_PAIR_TILE * tile + r % TW_PAIR_TILE * LANES_F4;
        int l = 0;
        for (; l + LANES_F4 <= depth; l += LANES_F4, segment += TW_PAIR_TILE * LANES_F4) {
            tw_f4 value = *(const tw_f4u *)(x + l);
            if (origin) value -= *(const tw_f4u *)(origin + l);
            *(tw_f4 *)segment = value;
        }
        for (int i = 0; l + i < depth; i++) segment[i] = x[l + i] - (origin ? origin[l + i] : 0);
    }
}

TW_INLINE void multiply_step_f4(const int rows, const int vectors, const float *restrict x,
                                const float *restrict panels, ptrdiff_t panel_step,
                                tw_f4 sum[TW_PAIR_ROWS_F4][2]) {
    tw_f4 y[2];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) y[v] = *(const tw_f4 *)(panels + v * panel_step);
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
        const tw_f4 value = splat_f4(x[r * LANES_F4]);
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sum[r][v] = fma_f4(value, y[v], sum[r][v]);
    }
}

/* out is (rows, vectors * lanes): products of `length` elements, as in tile_f4. */
TW_INLINE void multiply_f4(const int rows, const int vectors, const float *restrict x, const float *restrict panels,
                           ptrdiff_t panel_step, int length, int first, float *restrict out, ptrdiff_t out_step) {
    tw_f4 sum[TW_PAIR_ROWS_F4][2];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sum[r][v] = (tw_f4){0};
    for (; length >= LANES_F4; length -= LANES_F4, x += TW_PAIR_TILE * LANES_F4)
#pragma GCC unroll 2
        for (int l = 0; l < LANES_F4; l++, panels += LANES_F4)
            multiply_step_f4(rows, vectors, x + l, panels, panel_step, sum);
    for (int l = 0; l < length; l++, panels += LANES_F4)
        multiply_step_f4(rows, vectors, x + l, panels, panel_step, sum);
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            tw_f4 *to = (tw_f4 *)(out + r * out_step + v * LANES_F4);
            *to = first ? sum[r][v] : *to + sum[r][v];
        }
}

/* scratch holds whole tiles of rows: those beyond count are of no meaning. */
static void cover_products_f4(const tw_pair_job *job, const float *x, int count) {
    const int vectors = (job->n_columns + LANES_F4 - 1) / LANES_F4, depth = job->depth;
    const ptrdiff_t step = (ptrdiff_t)vectors * LANES_F4;
    const ptrdiff_t tile = (ptrdiff_t)((depth + LANES_F4 - 1) / LANES_F4 * LANES_F4) * TW_PAIR_TILE;
    float *scratch = job->scratch;
    pack_tiles_f4(x, job->row_step, count, depth, job->origin, job->packed);
    /* 1. blocks of the depth */
    for (int start = 0; start == 0 || start < depth; start += TW_PAIR_DEPTH) {
        const int length = depth - start < TW_PAIR_DEPTH ? depth - start : TW_PAIR_DEPTH;
        const ptrdiff_t panel_step = (ptrdiff_t)length * LANES_F4;
        /* 2. panels (from L2) */
        for (int v = 0; v < vectors; v += 2) {
            const float *panels = (const float *)job->panels + start * step + v * panel_step;
            /* 3. tiles of rows (L1) */
            for (int r = 0; r < count; r += TW_PAIR_ROWS_F4) {
                const float *rows = (const float *)job->packed + r / TW_PAIR_TILE * tile +
                                    r % TW_PAIR_TILE * LANES_F4 + (ptrdiff_t)start * TW_PAIR_TILE;
                float *out = scratch + r * step + v * LANES_F4;
                if (v + 1 < vectors)
                    multiply_f4(TW_PAIR_ROWS_F4, 2, rows, panels, panel_step, length, start == 0, out, step);
                else
                    multiply_f4(TW_PAIR_ROWS_F4, 1, rows, panels, panel_step, length, start == 0, out, step);
            }
        }
    }
}

static void (*const covers_f4[])(const tw_pair_job *, const float *, int) = {
    [TW_SQUARES] = cover_squares_f4,
    [TW_PRODUCTS] = cover_products_f4,
    [TW_GAPS] = cover_gaps_f4,
    [TW_LARGEST] = cover_largest_f4,
};

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

/* The same where row holds products: squares are |x|^2 + |y|^2 - 2 x.y where nothing cancels. */
static void finish_products_f4(const tw_pair_job *job, const float *x, float *restrict row) {
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

static void fill_f4(const tw_pair_job *job) {
    const float *x = job->rows;
    const ptrdiff_t step = (job->n_columns + LANES_F4 - 1) / LANES_F4 * LANES_F4;
    float *const scratch = job->scratch;
    for (int first = 0; first < job->n_rows; first += job->group) {
        const int count = job->n_rows - first < job->group ? job->n_rows - first : job->group;
        covers_f4[job->origin ? TW_PRODUCTS : job->kind](job, x + first * job->row_step, count);
        for (int r = 0; r < count; r++) {
            (job->origin ? finish_products_f4 : finish_f4)(job, x + (first + r) * job->row_step, scratch + r * step);
            if (!job->turned) store_f4(job, (float *)job->out + (first + r) * job->out_step, scratch + r * step);
        }
        if (job->turned)
            for (int j = 0; j < job->n_columns; j++) {
                float *to = (float *)job->out + j * job->out_step + first;
                for (int r = 0; r < count; r++) to[r] = scratch[r * step + j];
            }
    }
    settle(job);
}
