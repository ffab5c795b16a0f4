/* Correctly rounded square roots: the hardware's, and with AVX-512 some from multiplications, which
 * are faster (measured per vector: 2.6 against 3.4 ns in float32, 3.1 against 6.9 in float64), and they run
 * beside them. Taking turns gives 1.9 and 2.4 ns: one by one in float32, one of three by the
 * hardware in float64.
 *
 * From y, 1 / sqrt(a) to 2^-14, come g near sqrt(a) and h near 1 / (2 sqrt(a)). One step
 * g + (a - g g) h, in float64 after one more for both, leaves g within one unit in the last place:
 * the relative error e of g and h before the step becomes 1.5 e^2 < 2^-26 (2^-53.5), and rounding
 * adds half a unit. So the root is g or one of its neighbours. Let u be the unit at g. As g and u
 * are whole multiples of u and a of u^2, the root is below g - u / 2 just if a <= g (g - u), and
 * above g + u / 2 just if a > g (g + u) (Tuckerman's test; P. Markstein, "Computation of elementary
 * functions on the IBM RISC System/6000 processor", IBM J. Res. Dev. 34, 1990). Both signs come
 * exactly from one fused multiply-add each, as long as u^2 does not underflow.
 *
 * Whatever is out of range, zeros, infinities and what is no number included, goes to the
 * hardware.
 */
#ifndef TW_ROOT_H
#define TW_ROOT_H

#include "tw_vector.h"

#if defined(__AVX512F__)

#define LOWEST_ROOT_F4 0x1p-80f
#define LOWEST_ROOT_F8 0x1p-900

/* Of numbers from LOWEST_ROOT on that are finite. */
TW_INLINE __m512 plain_root_f4(__m512 a) {
    const __m512 y = _mm512_rsqrt14_ps(a);
    const __m512 near = _mm512_mul_ps(a, y), half = _mm512_mul_ps(y, _mm512_set1_ps(0.5f));
    __m512 g = _mm512_fmadd_ps(_mm512_fnmadd_ps(near, near, a), half, near);
    const __m512 below = _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_castps_si512(g), _mm512_set1_epi32(1)));
    const __m512 above = _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(g), _mm512_set1_epi32(1)));
    const __mmask16 less = _mm512_cmp_ps_mask(_mm512_fnmadd_ps(g, below, a), _mm512_setzero_ps(), _CMP_LE_OQ);
    const __mmask16 more = _mm512_cmp_ps_mask(_mm512_fnmadd_ps(g, above, a), _mm512_setzero_ps(), _CMP_GT_OQ);
    g = _mm512_mask_mov_ps(g, less, below);
    return _mm512_mask_mov_ps(g, more, above);
}

TW_INLINE __m512d plain_root_f8(__m512d a) {
    const __m512d y = _mm512_rsqrt14_pd(a);
    __m512d near = _mm512_mul_pd(a, y), half = _mm512_mul_pd(y, _mm512_set1_pd(0.5));
    const __m512d rest = _mm512_fnmadd_pd(near, half, _mm512_set1_pd(0.5));
    near = _mm512_fmadd_pd(near, rest, near);
    half = _mm512_fmadd_pd(half, rest, half);
    __m512d g = _mm512_fmadd_pd(_mm512_fnmadd_pd(near, near, a), half, near);
    const __m512d below = _mm512_castsi512_pd(_mm512_sub_epi64(_mm512_castpd_si512(g), _mm512_set1_epi64(1)));
    const __m512d above = _mm512_castsi512_pd(_mm512_add_epi64(_mm512_castpd_si512(g), _mm512_set1_epi64(1)));
    const __mmask8 less = _mm512_cmp_pd_mask(_mm512_fnmadd_pd(g, below, a), _mm512_setzero_pd(), _CMP_LE_OQ);
    const __mmask8 more = _mm512_cmp_pd_mask(_mm512_fnmadd_pd(g, above, a), _mm512_setzero_pd(), _CMP_GT_OQ);
    g = _mm512_mask_mov_pd(g, less, below);
    return _mm512_mask_mov_pd(g, more, above);
}

/* Whether all are in range. */
TW_INLINE int has_plain_roots_f4(__m512 a) {
    const __mmask16 high = _mm512_cmp_ps_mask(a, _mm512_set1_ps(LOWEST_ROOT_F4), _CMP_GE_OQ);
    return _mm512_mask_cmp_ps_mask(high, a, _mm512_set1_ps(0x1.fffffep127f), _CMP_LE_OQ) == 0xffff;
}
TW_INLINE int has_plain_roots_f8(__m512d a) {
    const __mmask8 high = _mm512_cmp_pd_mask(a, _mm512_set1_pd(LOWEST_ROOT_F8), _CMP_GE_OQ);
    return _mm512_mask_cmp_pd_mask(high, a, _mm512_set1_pd(0x1.fffffffffffffp1023), _CMP_LE_OQ) == 0xff;
}

/* The root of the vector with this number in its row: taking turns. */
TW_INLINE tw_f4 root_f4(tw_f4 a, int turn) {
    if (turn & 1 && __builtin_expect(has_plain_roots_f4((__m512)a), 1)) return (tw_f4)plain_root_f4((__m512)a);
    return (tw_f4)_mm512_sqrt_ps((__m512)a);
}
TW_INLINE tw_f8 root_f8(tw_f8 a, int turn) {
    if (turn % 3 && __builtin_expect(has_plain_roots_f8((__m512d)a), 1)) return (tw_f8)plain_root_f8((__m512d)a);
    return (tw_f8)_mm512_sqrt_pd((__m512d)a);
}

#elif defined(__AVX2__)
TW_INLINE tw_f4 root_f4(tw_f4 a, int turn) { return (void)turn, (tw_f4)_mm256_sqrt_ps((__m256)a); }
TW_INLINE tw_f8 root_f8(tw_f8 a, int turn) { return (void)turn, (tw_f8)_mm256_sqrt_pd((__m256d)a); }
#elif defined(__SSE2__)
TW_INLINE tw_f4 root_f4(tw_f4 a, int turn) { return (void)turn, (tw_f4)_mm_sqrt_ps((__m128)a); }
TW_INLINE tw_f8 root_f8(tw_f8 a, int turn) { return (void)turn, (tw_f8)_mm_sqrt_pd((__m128d)a); }
#elif defined(__aarch64__)
#include <arm_neon.h>
TW_INLINE tw_f4 root_f4(tw_f4 a, int turn) { return (void)turn, (tw_f4)vsqrtq_f32((float32x4_t)a); }
TW_INLINE tw_f8 root_f8(tw_f8 a, int turn) { return (void)turn, (tw_f8)vsqrtq_f64((float64x2_t)a); }
#else
TW_INLINE tw_f4 root_f4(tw_f4 a, int turn) {
    (void)turn;
    for (int i = 0; i < (int)(TW_VECTOR_BYTES / 4); i++) a[i] = __builtin_sqrtf(a[i]);
    return a;
}
TW_INLINE tw_f8 root_f8(tw_f8 a, int turn) {
    (void)turn;
    for (int i = 0; i < (int)(TW_VECTOR_BYTES / 8); i++) a[i] = __builtin_sqrt(a[i]);
    return a;
}
#endif
#endif
