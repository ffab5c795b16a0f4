/* Register tiles by register file: rows x vectors of running scores, plus the vectors
 * of one step of the depth and one broadcast, must fit.
 *   32 registers (AVX-512, NEON): 12 x 2 + 2 + 1 = 27;   16 registers: 6 x 2 + 2 + 1 = 15. */
#include "tw_kernels.h"
#include "tw_vector.h"

#if defined(__AVX512F__)
#define TW_TILE_ROWS 12
#define TW_ROW_PANEL_VECTORS 4
#define TW_GROUP 4
#elif defined(__aarch64__)
#define TW_TILE_ROWS 12
#define TW_ROW_PANEL_VECTORS 4
#define TW_GROUP 4
#else
#define TW_TILE_ROWS 6
#define TW_ROW_PANEL_VECTORS 2
#define TW_GROUP 4
#endif
#define TW_PANEL_VECTORS 2

#define T float
#define I int32_t
#define V tw_f4
#define VI tw_i4
#define VU tw_f4u
#define F(name) F4_##name
#define F4_min tw_min_f4
#define F4_max tw_max_f4
#define F4_less_select tw_less_select_f4
#define F4_not_above tw_not_above_f4
#define F4_lowest tw_lowest_f4
#define F4_root __builtin_sqrtf
#include "tw_tile.h"
#undef T
#undef I
#undef V
#undef VI
#undef VU
#undef F

#define T double
#define I int64_t
#define V tw_f8
#define VI tw_i8
#define VU tw_f8u
#define F(name) F8_##name
#define F8_min tw_min_f8
#define F8_max tw_max_f8
#define F8_less_select tw_less_select_f8
#define F8_not_above tw_not_above_f8
#define F8_lowest tw_lowest_f8
#define F8_root __builtin_sqrt
#include "tw_tile.h"
#undef T
#undef I
#undef V
#undef VI
#undef VU
#undef F

#define S float
#define T float
#define W float
#define P(name) name##_f4f4
#include "tw_pack.h"
#undef S
#undef T
#undef W
#undef P
#define S float
#define T double
#define W double
#define P(name) name##_f4f8
#include "tw_pack.h"
#undef S
#undef T
#undef W
#undef P
#define S double
#define T float
#define W double
#define P(name) name##_f8f4
#include "tw_pack.h"
#undef S
#undef T
#undef W
#undef P
#define S double
#define T double
#define W double
#define P(name) name##_f8f8
#include "tw_pack.h"
#undef S
#undef T
#undef W
#undef P

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

/* Sum of the lanes. */
TW_INLINE float total(tw_f4 v) {
    enum { N = TW_VECTOR_BYTES / 16 };
    typedef float four __attribute__((vector_size(16)));
    union { tw_f4 all; four part[N]; } u = {v};
    for (int step = N / 2; step; step /= 2)
        for (int i = 0; i < step; i++) u.part[i] += u.part[i + step];
    const four last = u.part[0];
    return (last[0] + last[2]) + (last[1] + last[3]);
}

TW_INLINE void rough_some(const int count, const float *restrict x, const float *const *c, int depth,
                          float *restrict out) {
    enum { N = TW_VECTOR_BYTES / 4 };
    tw_f4 sum[4] = {{0}};
    int l = 0;
    for (; l + N <= depth; l += N) {
        const tw_f4 v = *(const tw_f4u *)(x + l);
#pragma GCC unroll 4
        for (int j = 0; j < count; j++) {
            const tw_f4 gap = v - *(const tw_f4u *)(c[j] + l);
            sum[j] += gap * gap;
        }
    }
    if (l < depth) {
        float part[N] = {0};
        for (int i = 0; i < depth - l; i++) part[i] = x[l + i];
        const tw_f4 v = *(const tw_f4u *)part;
#pragma GCC unroll 4
        for (int j = 0; j < count; j++) {
            const tw_f4 gap = v - *(const tw_f4u *)(c[j] + l);
            sum[j] += gap * gap;
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < count; j++) out[j] = total(sum[j]);
}

/* out is (count): squared distances in float from x (depth) to the rows picks[j] of c,
 * which are padded with zeros to a multiple of sixteen. Differences of floats have a small
 * relative error, so the result has one too: (depth / lanes + 16) 2^-23 is more than it. */
static void rough_distances(const float *x, const float *c, ptrdiff_t ldc, const int *picks, int count,
                            int depth, float *out) {
    for (int j = 0; j < count; j += 4, picks += 4, out += 4) {
        const float *at[4] = {c, c, c, c};
        const int left = count - j;
        for (int i = 0; i < 4 && i < left; i++) at[i] = c + picks[i] * ldc;
        switch (left) {
            case 1: rough_some(1, x, at, depth, out); break;
            case 2: rough_some(2, x, at, depth, out); break;
            case 3: rough_some(3, x, at, depth, out); break;
            default: rough_some(4, x, at, depth, out); break;
        }
    }
}

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
    TW_VECTOR_BYTES, TW_TILE_ROWS, TW_PANEL_VECTORS, TW_ROW_PANEL_VECTORS, TW_GROUP,
    F4_assign, F4_certify, F4_assign_lanes, F4_certify_lanes, F4_bands, F4_renew, F4_scan,
    F8_assign, F8_certify, F8_assign_lanes, F8_certify_lanes, F8_bands, F8_renew, F8_scan,
    pack_f4f4, pack_lanes_f4f4, pack_f4f8, pack_lanes_f4f8,
    pack_f8f4, pack_lanes_f8f4, pack_f8f8, pack_lanes_f8f8,
    open_rows, rough_distances, multiply_adds_f4, multiply_adds_f8,
};
