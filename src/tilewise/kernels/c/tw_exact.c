#include <math.h>

#include "tw_eight.h"
#include "tw_kernels.h"
#include "tw_root.h"
#include "tw_vector.h"

TW_INLINE void turn_over(tw_eight v[8]) {
    TW_TURN(tw_eight, TW_PICK_EIGHT, v, 8, 1)
    TW_TURN(tw_eight, TW_PICK_EIGHT, v, 8, 2)
    TW_TURN(tw_eight, TW_PICK_EIGHT, v, 8, 4)
}

#include "tw_sums_eight.h"

/* Numbers at eight places, in double. */
#if defined(__AVX512F__)
TW_INLINE tw_eight gathered_f4(const float *x, const int32_t *at) {
    return (tw_eight)_mm512_cvtps_pd(_mm256_i32gather_ps(x, _mm256_loadu_si256((const __m256i *)at), 4));
}
TW_INLINE tw_eight gathered_f8(const double *x, const int32_t *at) {
    return (tw_eight)_mm512_i32gather_pd(_mm256_loadu_si256((const __m256i *)at), x, 8);
}
#else
TW_INLINE tw_eight gathered_f4(const float *x, const int32_t *at) {
    tw_eight out;
    for (int r = 0; r < 8; r++) out[r] = x[at[r]];
    return out;
}
TW_INLINE tw_eight gathered_f8(const double *x, const int32_t *at) {
    tw_eight out;
    for (int r = 0; r < 8; r++) out[r] = x[at[r]];
    return out;
}
#endif

/* gain (2, 8) += weight * (closest - gap) of those of eight rows, a bit each, that are closer to a candidate
 * than to their seed, on two limbs of constants bigs; returns which they are. Gains of infinite distances
 * mean nothing: they wrap. */
TW_INLINE uint32_t add_gain_eight(tw_eight gap, tw_eight closest, tw_eight weight, const double *bigs, uint32_t rows,
                                  int64_t *gain) {
#if defined(__AVX512F__)
    const uint32_t bits = _mm512_cmp_pd_mask((__m512d)gap, (__m512d)closest, _CMP_LT_OQ) & rows;
    tw_eight v = (tw_eight)_mm512_maskz_mov_pd((__mmask8)bits, (__m512d)(weight * (closest - gap)));
#else
    tw_eight_i closer = (tw_eight_i)(gap < closest);
    for (int r = 0; r < 8; r++) closer[r] &= -(int64_t)(rows >> r & 1);
    tw_eight v = (tw_eight)((tw_eight_i)(weight * (closest - gap)) & closer);
    uint32_t bits = 0;
    for (int r = 0; r < 8; r++) bits |= (uint32_t)(closer[r] & 1) << r;
#endif
    tw_eight t = v + bigs[0];
    *(tw_eight_m *)gain += (tw_eight_m)t - (uint64_t)tw_bits_of(bigs[0]);
    v -= t - bigs[0];
    t = v + bigs[1];
    *(tw_eight_m *)(gain + 8) += (tw_eight_m)t - (uint64_t)tw_bits_of(bigs[1]);
    return bits;
}

/* gain (count, 2, 8) += the same of up to eight rows and every candidate; gaps is (count, 8). */
static void add_gains(int n_rows, int count, const double *restrict gaps, const double *restrict closest,
                      const double *restrict weights, const double *restrict bigs, int64_t *restrict gain) {
    const uint32_t rows = (1u << n_rows) - 1;
    tw_eight own;
    for (int r = 0; r < 8; r++) own[r] = r < n_rows ? closest[r] : 0.0;
    for (int j = 0; j < count; j++, gaps += 8, gain += 16)
        add_gain_eight(*(const tw_eight_u *)gaps, own, *(const tw_eight_u *)weights, bigs, rows, gain);
}

#define S float
#define E(name) name##_f4
#include "tw_exact.h"
#include "tw_open.h"
#include "tw_sums_rows.h"
#undef S
#undef E
#define S double
#define E(name) name##_f8
#include "tw_exact.h"
#include "tw_open.h"
#include "tw_sums_rows.h"

/* How many numbers of x (depth) are not zero. */
static int nonzeros(const double *restrict x, int depth) {
    int n = 0;
    for (int l = 0; l < depth; l++) n += x[l] != 0;
    return n;
}

/* Where the first of the least of count values is, or -1 if none is below infinity. */
static int first_least(const double *restrict values, int count, double *restrict least) {
    enum { N = TW_VECTOR_BYTES / 8 };
    tw_f8 low = __builtin_inf() - (tw_f8){0};
    int j = 0;
    for (; j + N <= count; j += N) low = min_f8(*(const tw_f8u *)(values + j), low);
    double own = lowest_f8(low)[0];
    for (; j < count; j++) own = values[j] < own ? values[j] : own;
    *least = own;
    if (!(own < __builtin_inf())) return -1;
    for (j = 0; values[j] != own;) j++;
    return j;
}

#include "tw_sparse.h"
#include "tw_within.h"
#include "tw_inertia.h"
#include "tw_thin.h"
#include "tw_brute_force.h"

const tw_exact_kernels TW_JOIN(tw_exact, TW_ISA) = {TW_EXACT_KERNELS(TW_ENTRY)};
