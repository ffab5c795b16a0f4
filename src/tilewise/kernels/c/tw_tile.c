#include "tw_kernels.h"
#include "tw_shape.h"
#include "tw_vector.h"

#define TW_SCORE 4
#include "tw_score.h"
#include "tw_tile.h"
#include "tw_near.h"
#include "tw_csr.h"
#include "tw_bounds.h"
#include "tw_groups.h"
#define TW_SCORE 8
#include "tw_score.h"
#include "tw_tile.h"
#include "tw_near.h"
#include "tw_csr.h"
#include "tw_groups.h"
#undef T

#if TW_VECTOR_BYTES >= 32
TW_INLINE void transpose_f4(tw_f4 *v) {
    enum { N = TW_VECTOR_BYTES / 4 };
    TW_TURN(tw_f4, TW_PICK_F4, v, N, 1)
    TW_TURN(tw_f4, TW_PICK_F4, v, N, 2)
    TW_TURN(tw_f4, TW_PICK_F4, v, N, 4)
#if TW_VECTOR_BYTES == 64
    TW_TURN(tw_f4, TW_PICK_F4, v, N, 8)
#endif
}
#endif

#if TW_VECTOR_BYTES >= 32
#define TURNED
#endif
#define S float
#define T float
#define W float
#define PLAIN
#define P(name) name##_f4f4
#include "tw_pack.h"
#define S double
#define T float
#define W double
#define P(name) name##_f8f4
#include "tw_pack.h"
#undef TURNED
#define S float
#define T double
#define W double
#define P(name) name##_f4f8
#include "tw_pack.h"
#define S double
#define T double
#define W double
#define P(name) name##_f8f8
#include "tw_pack.h"

/* Moves the bounds of count rows with their centres and lists the rows whose label they no
 * longer settle. moves is (k): how far each centre went; largest and runner_up the two
 * largest of them, mover the centre that went farthest. */
static int open_rows(int count, int64_t first, const int32_t *restrict labels, float *restrict upper,
                     float *restrict lower, const float *restrict moves, float largest, float runner_up,
                     int32_t mover, int64_t *restrict ids) {
    enum { BLOCK = 256 };
    uint8_t open[BLOCK];
    int n = 0;
    for (int start = 0; start < count; start += BLOCK) {
        const int stop = count - start < BLOCK ? count - start : BLOCK;
        const int32_t *own = labels + first + start;
        float *up = upper + first + start, *low = lower + first + start;
        for (int r = 0; r < stop; r++) {
            /* Rounded outwards: 2.4e-7 is more than the rounding of two operations. */
            const float u = (up[r] + moves[own[r]]) * (1 + 2.4e-7f) + 1e-37f;
            const float l = low[r] * (1 - 2.4e-7f) - (own[r] == mover ? runner_up : largest) * (1 + 2.4e-7f);
            up[r] = u;
            low[r] = l > 0 ? l : 0;
            open[r] = !(u < l);
        }
        for (int r = 0; r < stop; r++) {
            ids[n] = first + start + r;
            n += open[r];
        }
    }
    return n;
}

/* Lane j of the result is the sum of the lanes of v[j], for eight vectors: each step adds
 * neighbours and halves the number of vectors. */
TW_INLINE uint32_t within_limit(const tw_f4 v[8], float limit) {
#if TW_VECTOR_BYTES >= 32
    tw_f4 pair[4], four[2];
    for (int j = 0; j < 4; j++)
        pair[j] = TW_PICK_F4(TW_EVEN, v[2 * j], v[2 * j + 1], 1) + TW_PICK_F4(TW_ODD, v[2 * j], v[2 * j + 1], 1);
    for (int j = 0; j < 2; j++)
        four[j] = TW_PICK_F4(TW_EVEN, pair[2 * j], pair[2 * j + 1], 2) +
                  TW_PICK_F4(TW_ODD, pair[2 * j], pair[2 * j + 1], 2);
    tw_f4 all = TW_PICK_F4(TW_EVEN, four[0], four[1], 4) + TW_PICK_F4(TW_ODD, four[0], four[1], 4);
#if TW_VECTOR_BYTES == 64
    all += TW_PICK_F4(TW_SWAPPED, all, all, 8);
#endif
    return not_above_f4(all, splat_f4(limit)) & 255;
#else
    uint32_t bits = 0;
    for (int j = 0; j < 8; j++) {
        float sum = 0;
        for (int l = 0; l < TW_VECTOR_BYTES / 4; l++) sum += v[j][l];
        bits |= (uint32_t)(sum <= limit) << j;
    }
    return bits;
#endif
}

TW_INLINE uint32_t rough_some(const int count, const float *restrict x, const float *restrict c, ptrdiff_t ldc,
                              int depth, float limit) {
    enum { N = TW_VECTOR_BYTES / 4 };
    tw_f4 sum[8] = {{0}};
    int l = 0;
    for (; l + N <= depth; l += N) {
        const tw_f4 v = *(const tw_f4u *)(x + l);
#pragma GCC unroll 8
        for (int j = 0; j < count; j++) {
            const tw_f4 gap = v - *(const tw_f4u *)(c + j * ldc + l);
            sum[j] += gap * gap;
        }
    }
    if (l < depth) {
        float part[N] = {0};
        for (int i = 0; i < depth - l; i++) part[i] = x[l + i];
        const tw_f4 v = *(const tw_f4u *)part;
#pragma GCC unroll 8
        for (int j = 0; j < count; j++) {
            const tw_f4 gap = v - *(const tw_f4u *)(c + j * ldc + l);
            sum[j] += gap * gap;
        }
    }
    return within_limit(sum, limit) & ((1u << count) - 1);
}

/* picks lists those of count candidates c (count, ldc), padded with zeros to a multiple of
 * sixteen, that may lie within a squared distance of x (depth); returns how many. Measured
 * in float: differences of floats have a small relative error, so the result has one too,
 * and (depth / lanes + 16) 2^-23 is more than it. A sum that overflows is
 * above every finite limit here. */
static int plausible(const float *x, const float *c, ptrdiff_t ldc, int count, int depth, double within,
                     int *picks) {
    const double error = (depth * 4 / TW_VECTOR_BYTES + 16) * 0x1p-23;
    /* No float is above a limit of infinity. */
    /* Rows of tens of millions of numbers: no use. */
    const double raised = error < 0.5 ? within / (1 - error) * (1 + 0x1p-20) : __builtin_inf();
    const float limit = raised < 3e38 ? (float)raised + 1e-37f : __builtin_inff();
    int kept = 0;
    for (int start = 0; start < count; start += 8, c += 8 * ldc) {
        uint32_t bits;
        switch (count - start) {
            case 1: bits = rough_some(1, x, c, ldc, depth, limit); break;
            case 2: bits = rough_some(2, x, c, ldc, depth, limit); break;
            case 3: bits = rough_some(3, x, c, ldc, depth, limit); break;
            case 4: bits = rough_some(4, x, c, ldc, depth, limit); break;
            case 5: bits = rough_some(5, x, c, ldc, depth, limit); break;
            case 6: bits = rough_some(6, x, c, ldc, depth, limit); break;
            case 7: bits = rough_some(7, x, c, ldc, depth, limit); break;
            default: bits = rough_some(8, x, c, ldc, depth, limit); break;
        }
        for (; bits; bits &= bits - 1) picks[kept++] = start + __builtin_ctz(bits);
    }
    return kept;
}

/* out is (depth): x - origin in float, for `plausible`. */
static void narrow(const double *restrict x, const double *restrict origin, int depth, float *restrict out) {
    for (int l = 0; l < depth; l++) out[l] = (float)(x[l] - origin[l]);
}

#include "tw_single.h"
#include "tw_own.h"

/* Peak of multiply-add: twelve independent chains of registers, nothing else. */
#define TW_PROBE(NAME, T, V)                                                     \
    static double NAME(long repeats) {                                           \
        V sum[12], a = (V){0} + (T)0.999999, b = (V){0} + (T)1e-6;               \
        for (int j = 0; j < 12; j++) sum[j] = a + (T)j;                          \
        for (long i = 0; i < repeats; i++) {                                     \
            _Pragma("GCC unroll 12") for (int j = 0; j < 12; j++) sum[j] = sum[j] * a + b; \
        }                                                                        \
        double total = 0;                                                        \
        for (int j = 0; j < 12; j++) total += (double)sum[j][0];                 \
        return total;                                                            \
    }
TW_PROBE(multiply_adds_f4, float, tw_f4)
TW_PROBE(multiply_adds_f8, double, tw_f8)

const tw_tile_kernels TW_JOIN(tw_tile, TW_ISA) = {
    .vector_bytes = TW_VECTOR_BYTES,
    .tile_rows = TW_TILE_ROWS,
    .panel_vectors = TW_PANEL_VECTORS,
    .row_panel_vectors = TW_ROW_PANEL_VECTORS,
    .group = TW_GROUP,
    TW_TILE_KERNELS(TW_ENTRY)
};
