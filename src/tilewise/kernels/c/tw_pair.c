#include "tw_pair.h"

#include <math.h>

#include "tw_eight.h"
#include "tw_kernels.h"
#include "tw_vector.h"
#include "tw_root.h"

#define LANES_F4 (TW_VECTOR_BYTES / 4)
#define LANES_F8 (TW_VECTOR_BYTES / 8)
#define ALL_LANES_F4 ((uint32_t)((1ull << LANES_F4) - 1))
#define ALL_LANES_F8 ((uint32_t)((1ull << LANES_F8) - 1))

/* Rows of a register tile: as many sums as half to three quarters of the registers hold. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define TW_PAIR_ROWS_F4 12
#define TW_PAIR_ROWS_F8 2
#else
#define TW_PAIR_ROWS_F4 4
#define TW_PAIR_ROWS_F8 1
#endif

TW_INLINE tw_f4 splat_f4(float x) { return x - (tw_f4){0}; }
TW_INLINE tw_f8 splat_f8(double x) { return x - (tw_f8){0}; }
TW_INLINE tw_f4 abs_f4(tw_f4 x) { return (tw_f4)((tw_i4)x & INT32_MAX); }
TW_INLINE tw_f8 abs_f8(tw_f8 x) { return (tw_f8)((tw_i8)x & INT64_MAX); }
/* x where the mask is set, zero elsewhere. */
TW_INLINE tw_f8 only_f8(tw_i8 mask, tw_f8 x) { return (tw_f8)(mask & (tw_i8)x); }

/* a * b + c, rounded once. */
#if defined(__AVX512F__)
TW_INLINE tw_f4 fma_f4(tw_f4 a, tw_f4 b, tw_f4 c) { return (tw_f4)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
TW_INLINE tw_f8 fma_f8(tw_f8 a, tw_f8 b, tw_f8 c) { return (tw_f8)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
#elif defined(__AVX2__)
TW_INLINE tw_f4 fma_f4(tw_f4 a, tw_f4 b, tw_f4 c) { return (tw_f4)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
TW_INLINE tw_f8 fma_f8(tw_f8 a, tw_f8 b, tw_f8 c) { return (tw_f8)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
#elif defined(__aarch64__)
#include <arm_neon.h>
TW_INLINE tw_f4 fma_f4(tw_f4 a, tw_f4 b, tw_f4 c) {
    return (tw_f4)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
TW_INLINE tw_f8 fma_f8(tw_f8 a, tw_f8 b, tw_f8 c) {
    return (tw_f8)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
#else
/* Through float64: the product is exact, and the sum rounded to odd (Boldo and Melquiond 2008)
 * rounds to the same float32 as the exact one. */
typedef float tw_half_f4 __attribute__((vector_size(8)));
TW_INLINE tw_f8 sum_to_odd(tw_f8 a, tw_f8 b) {
    const tw_f8 sum = a + b, part = sum - a;
    const tw_f8 error = (a - (sum - part)) + (b - part);
    const tw_i8 inexact = (error > 0) | (error < 0);
    /* Truncate towards zero, then set the last bit. */
    const tw_i8 beyond = inexact & ((error > 0) ^ (sum > 0));
    return (tw_f8)(((tw_i8)sum + beyond) | (inexact & 1));
}
TW_INLINE tw_f4 fma_f4(tw_f4 a, tw_f4 b, tw_f4 c) {
    union { tw_f4 whole; tw_half_f4 half[2]; } x = {a}, y = {b}, z = {c}, out;
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        out.half[i] = __builtin_convertvector(
            sum_to_odd(__builtin_convertvector(x.half[i], tw_f8) * __builtin_convertvector(y.half[i], tw_f8),
                       __builtin_convertvector(z.half[i], tw_f8)), tw_half_f4);
    return out.whole;
}
/* The algorithm of the paper in float64: the product and two sums without error, their small parts
 * met by a sum rounded to odd. Right as long as nothing underflows or overflows. */
TW_INLINE void halve_f8(tw_f8 a, tw_f8 *high, tw_f8 *low) {
    const tw_f8 shifted = a * 0x1.0000002p27;
    *high = shifted - (shifted - a);
    *low = a - *high;
}
TW_INLINE tw_f8 sum_of_two_f8(tw_f8 a, tw_f8 b, tw_f8 *error) {
    const tw_f8 sum = a + b, part = sum - a;
    *error = (a - (sum - part)) + (b - part);
    return sum;
}
TW_INLINE tw_f8 fma_f8(tw_f8 a, tw_f8 b, tw_f8 c) {
    tw_f8 a_high, a_low, b_high, b_low, low, lower;
    halve_f8(a, &a_high, &a_low);
    halve_f8(b, &b_high, &b_low);
    const tw_f8 product = a * b;
    const tw_f8 rest = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
    const tw_f8 middle = sum_of_two_f8(c, rest, &lower);
    const tw_f8 high = sum_of_two_f8(product, middle, &low);
    return high + sum_to_odd(lower, low);
}
#endif

/* The largest number of float64. */
#define HIGHEST_F8 0x1.fffffffffffffp1023

TW_INLINE int has_weights(const int kind) { return tw_pair_steps[kind].weights != TW_PLAIN; }

/* One vector past the caches, to an address that is a multiple of its size. */
TW_INLINE void stream(char *to, const char *from) {
#if defined(__AVX512F__)
    _mm512_stream_si512((void *)to, _mm512_loadu_si512(from));
#elif defined(__AVX2__)
    _mm256_stream_si256((__m256i *)to, _mm256_loadu_si256((const __m256i *)from));
#elif defined(__SSE2__)
    _mm_stream_si128((__m128i *)to, _mm_loadu_si128((const __m128i *)from));
#else
    __builtin_memcpy(to, from, TW_VECTOR_BYTES);
#endif
}

/* Whole cache lines past the caches, the ragged ends as usual. */
TW_INLINE void store_bytes(int streaming, char *to, const char *from, ptrdiff_t bytes) {
    if (!streaming) {
        __builtin_memcpy(to, from, (size_t)bytes);
        return;
    }
    const ptrdiff_t head = -(intptr_t)to & 63;
    if (bytes < head + 64) {
        __builtin_memcpy(to, from, (size_t)bytes);
        return;
    }
    __builtin_memcpy(to, from, (size_t)head);
    ptrdiff_t at = head;
    for (; at + 64 <= bytes; at += 64)
#pragma GCC unroll 4
        for (int part = 0; part < 64; part += TW_VECTOR_BYTES) stream(to + at + part, from + at + part);
    __builtin_memcpy(to + at, from + at, (size_t)(bytes - at));
}

#define TW_SCORE 4
#include "tw_score.h"
#include "tw_pair_f4.h"
#define TW_SCORE 8
#include "tw_score.h"
#include "tw_pair_f8.h"

static void roots_f4(int count, const float *squares, float *out) {
    for (int i = 0; i < count; i += LANES_F4)
        *(tw_f4u *)(out + i) = root_f4(*(const tw_f4u *)(squares + i), i / LANES_F4);
}
static void roots_f8(int count, const double *squares, double *out) {
    for (int i = 0; i < count; i += LANES_F8)
        *(tw_f8u *)(out + i) = root_f8(*(const tw_f8u *)(squares + i), i / LANES_F8);
}

const tw_pair_kernels TW_JOIN(tw_pair, TW_ISA) = {
    .vector_bytes = TW_VECTOR_BYTES,
    .pack_f4 = pack_f4, .pack_f8 = pack_f8,
    .fill_f4 = fill_f4, .fill_f8 = fill_f8,
    .normalize_f8 = normalize_f8,
    .roots_f4 = roots_f4, .roots_f8 = roots_f8,
};
