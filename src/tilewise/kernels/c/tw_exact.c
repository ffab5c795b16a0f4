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
 * to their seed, on two limbs of constants bigs; bit j of gained says which. gaps is (count, 8). Gains
 * of infinite distances mean nothing: they wrap. */
static void add_gains(int n_rows, int count, const double *restrict gaps, const double *restrict closest,
                      const double *restrict weights, const double *restrict bigs, int64_t *restrict gain,
                      uint16_t *restrict gained) {
    tw_eight_i bits = {0};
    tw_eight own;
    for (int r = 0; r < 8; r++) own[r] = r < n_rows ? closest[r] : -1.0;
    const tw_eight weight = *(const tw_eight_u *)weights;
    for (int j = 0; j < count; j++, gaps += 8, gain += 16) {
        const tw_eight gap = *(const tw_eight_u *)gaps;
        const tw_eight_i closer = (tw_eight_i)(gap < own);
        tw_eight v = (tw_eight)((tw_eight_i)(weight * (own - gap)) & closer);
        bits |= closer & (1 << j);
        tw_eight t = v + bigs[0];
        *(tw_eight_m *)gain += (tw_eight_m)t - (uint64_t)tw_bits_of(bigs[0]);
        v -= t - bigs[0];
        t = v + bigs[1];
        *(tw_eight_m *)(gain + 8) += (tw_eight_m)t - (uint64_t)tw_bits_of(bigs[1]);
    }
    for (int r = 0; r < n_rows; r++) gained[r] = (uint16_t)bits[r];
}

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
