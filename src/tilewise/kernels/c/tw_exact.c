#include <math.h>

#include "tw_kernels.h"
#include "tw_root.h"
#include "tw_vector.h"

typedef double tw_eight __attribute__((vector_size(64)));
typedef double tw_four __attribute__((vector_size(32)));
typedef double tw_two __attribute__((vector_size(16)));
typedef float tw_row_f4 __attribute__((vector_size(32), aligned(4), may_alias));
typedef double tw_eight_u __attribute__((vector_size(64), aligned(8), may_alias));
typedef int64_t tw_bits __attribute__((vector_size(64)));

/* Turns eight vectors over: lane j of vector i goes to lane i of vector j. */
#if defined(__clang__)
#define TW_PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int64_t tw_eight_i __attribute__((vector_size(64)));
#define TW_PICK(a, b, ...) __builtin_shuffle(a, b, (tw_eight_i){__VA_ARGS__})
#endif
TW_INLINE void turn_over(tw_eight v[8]) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 2) {
        const tw_eight a = v[i], b = v[i + 1];
        v[i] = TW_PICK(a, b, 0, 8, 2, 10, 4, 12, 6, 14);
        v[i + 1] = TW_PICK(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        if (!(i & 2)) {
            const tw_eight a = v[i], b = v[i + 2];
            v[i] = TW_PICK(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
            v[i + 2] = TW_PICK(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
        }
#pragma GCC unroll 8
    for (int i = 0; i < 4; i++) {
        const tw_eight a = v[i], b = v[i + 4];
        v[i] = TW_PICK(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
        v[i + 4] = TW_PICK(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

#if defined(__AVX512F__)
TW_INLINE tw_eight widened_f4(const float *x) { return (tw_eight)_mm512_cvtps_pd(_mm256_loadu_ps(x)); }
TW_INLINE tw_eight some_widened_f4(const float *x, int n) {
    return (tw_eight)_mm512_cvtps_pd(_mm256_maskz_loadu_ps((__mmask8)((1 << n) - 1), x));
}
TW_INLINE tw_eight some_widened_f8(const double *x, int n) {
    return (tw_eight)_mm512_maskz_loadu_pd((__mmask8)((1 << n) - 1), x);
}
#else
TW_INLINE tw_eight some_widened_f4(const float *x, int n) {
    tw_eight out = {0};
    for (int i = 0; i < n; i++) out[i] = x[i];
    return out;
}
TW_INLINE tw_eight some_widened_f8(const double *x, int n) {
    tw_eight out = {0};
    for (int i = 0; i < n; i++) out[i] = x[i];
    return out;
}
TW_INLINE tw_eight widened_f4(const float *x) {
    return __builtin_convertvector(*(const tw_row_f4 *)x, tw_eight);
}
#endif
TW_INLINE tw_eight widened_f8(const double *x) { return *(const tw_eight_u *)x; }

#include "tw_sums_eight.h"

#define S float
#define E(name) name##_f4
#include "tw_exact.h"
#include "tw_sums_rows.h"
#undef S
#undef E
#define S double
#define E(name) name##_f8
#include "tw_exact.h"
#include "tw_sums_rows.h"

/* Lists those of count rows whose own seed is not so far from every candidate that none can be
 * closer: nearest is (seeds), the least squared distance of a candidate to each seed. A candidate
 * at more than twice the distance to the own seed cannot be closer (triangle inequality). The
 * canonical distance is within 2^-40 of the true one for any depth below 2^12 lanes of eight; a
 * margin of 2^-20 leaves no room for it to matter. Below 1e-280 rounding is no longer relative. */
static int near_rows(int count, int64_t first, const int32_t *restrict owner, const double *restrict closest,
                     const double *restrict nearest, int64_t *restrict ids) {
    enum { BLOCK = 256 };
    const double margin = 4.0 * (1.0 + 0x1p-20);
    uint8_t near[BLOCK];
    int n = 0;
    for (int start = 0; start < count; start += BLOCK) {
        const int stop = count - start < BLOCK ? count - start : BLOCK;
        const int32_t *own = owner + first + start;
        const double *m = closest + first + start;
        for (int r = 0; r < stop; r++)
            near[r] = !((nearest[own[r]] > margin * m[r]) & ((m[r] > 1e-280) | (m[r] == 0.0)));
        for (int r = 0; r < stop; r++) {
            ids[n] = first + start + r;
            n += near[r];
        }
    }
    return n;
}

/* gain (count, 2, 8) += weight * (closest - gap) of up to eight rows that are closer to candidate j than
 * to their seed, on two limbs of constants bigs; bit j of gained says which. gaps is (count, 8). */
static void add_gains(int n_rows, int count, const double *restrict gaps, const double *restrict closest,
                      const double *restrict weights, const double *restrict bigs, int64_t *restrict gain,
                      uint16_t *restrict gained) {
    tw_bits bits = {0};
    tw_eight own;
    for (int r = 0; r < 8; r++) own[r] = r < n_rows ? closest[r] : -1.0;
    const tw_eight weight = *(const tw_eight_u *)weights;
    for (int j = 0; j < count; j++, gaps += 8, gain += 16) {
        const tw_eight gap = *(const tw_eight_u *)gaps;
        const tw_bits closer = (tw_bits)(gap < own);
        tw_eight v = (tw_eight)((tw_bits)(weight * (own - gap)) & closer);
        bits |= closer & (1 << j);
        tw_eight t = v + bigs[0];
        *(tw_eight_w *)gain += (tw_bits)t - tw_bits_of(bigs[0]);
        v -= t - bigs[0];
        t = v + bigs[1];
        *(tw_eight_w *)(gain + 8) += (tw_bits)t - tw_bits_of(bigs[1]);
    }
    for (int r = 0; r < n_rows; r++) gained[r] = (uint16_t)bits[r];
}

/* How many numbers of x (depth) are not zero. */
static int nonzeros(const double *restrict x, int depth) {
    int n = 0;
    for (int l = 0; l < depth; l++) n += x[l] != 0;
    return n;
}

#include "tw_sparse.h"
#include "tw_within.h"
#include "tw_inertia.h"
#include "tw_thin.h"
#include "tw_few.h"

/* By name: two kernels of one type could change places without a word. */
#define TW_EXACT(SUFFIX)                                                                               \
    .distance_##SUFFIX = distance_##SUFFIX, .distances_##SUFFIX = distances_##SUFFIX,                  \
    .distances_picked_##SUFFIX = distances_picked_##SUFFIX,                                            \
    .distances_lanes_##SUFFIX = distances_lanes_##SUFFIX, .between_##SUFFIX = between_##SUFFIX,        \
    .add_row_##SUFFIX = add_row_##SUFFIX, .bin_rows_##SUFFIX = bin_rows_##SUFFIX,                      \
    .move_by_rows_##SUFFIX = move_by_rows_##SUFFIX, .moments_##SUFFIX = moments_##SUFFIX,              \
    .distances_pairs_##SUFFIX = distances_pairs_##SUFFIX, .finish_##SUFFIX = finish_##SUFFIX

const tw_exact_kernels TW_JOIN(tw_exact, TW_ISA) = {
    TW_EXACT(f4),
    TW_EXACT(f8),
    .near_rows = near_rows,
    .add_gains = add_gains,
    .nonzeros = nonzeros,
    .moved_by = moved_by,
    .carry_row = carry_row,
    .average_row = average_row,
    .bin_values = bin_values,
    .move_center = move_center,
    .csr_panels = csr_panels,
    .csr_index = csr_index,
    .merged = merged,
    .merged_four = merged_four,
    .not_above = not_above,
    .collect_within = collect_within,
    .squared_norm = squared_norm,
    .own_entries = own_entries,
    .closest_few = closest_few,
    .spread_distance = spread_distance,
    .gather_scores = gather_scores,
    .measure_center = measure_center,
    .fade = fade,
};
