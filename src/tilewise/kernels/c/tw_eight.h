/* Eight running sums of float64 in the canonical order (tw_order.h): one vector, whatever the
 * instruction set. Whoever includes it compiles with -ffp-contract=off. */
#ifndef TW_EIGHT_H
#define TW_EIGHT_H

#include "tw_order.h"
#include "tw_vector.h"

typedef double tw_eight __attribute__((vector_size(64)));
typedef int64_t tw_eight_i __attribute__((vector_size(64)));
typedef double tw_eight_u __attribute__((vector_size(64), aligned(8), may_alias));
typedef float tw_eight_f4u __attribute__((vector_size(32), aligned(4), may_alias));

TW_INLINE tw_eight abs_eight(tw_eight x) { return (tw_eight)((tw_eight_i)x & INT64_MAX); }

/* some_: the first n < 8 numbers, and zeros. */
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
    return __builtin_convertvector(*(const tw_eight_f4u *)x, tw_eight);
}
#endif
TW_INLINE tw_eight widened_f8(const double *x) { return *(const tw_eight_u *)x; }

/* One vector of them. */
typedef float tw_half_f4u __attribute__((vector_size(TW_VECTOR_BYTES / 2), aligned(4), may_alias));
TW_INLINE tw_f8 widened_vector_f4(const float *x) { return __builtin_convertvector(*(const tw_half_f4u *)x, tw_f8); }
TW_INLINE tw_f8 widened_vector_f8(const double *x) { return *(const tw_f8u *)x; }

/* The first eight of the `rest` numbers of a row, or all of them and zeros. */
TW_INLINE tw_eight first_eight_f4(const float *x, int rest) {
    if (rest >= 8) return __builtin_convertvector(*(const tw_eight_f4u *)x, tw_eight);
    tw_eight out = {0};
    for (int i = 0; i < rest; i++) out[i] = x[i];
    return out;
}

/* TW_MEET, half of what is left at a time. */
TW_INLINE double meet_eight(const tw_eight a) {
    typedef double tw_four __attribute__((vector_size(32)));
    typedef double tw_two __attribute__((vector_size(16)));
    union { tw_eight eight; tw_four four[2]; } whole = {a};
    union { tw_four four; tw_two two[2]; } half = {whole.four[0] + whole.four[1]};
    const tw_two last = half.two[0] + half.two[1];
    return last[0] + last[1];
}

/* Lane i is TW_MEET of v[i]: two of eight vectors at a time are halved together. */
#define TW_PICK_EIGHT(WHICH, a, b, k) TW_PICK(tw_eight_i, 8, WHICH, a, b, k)
#define TW_HALVED(a, b, k) (TW_PICK_EIGHT(TW_LOW, a, b, k) + TW_PICK_EIGHT(TW_HIGH, a, b, k))
TW_INLINE tw_eight meet_eights(const tw_eight v[8]) {
    const tw_eight even = TW_HALVED(TW_HALVED(v[0], v[4], 4), TW_HALVED(v[2], v[6], 4), 2);
    const tw_eight odd = TW_HALVED(TW_HALVED(v[1], v[5], 4), TW_HALVED(v[3], v[7], 4), 2);
    return TW_HALVED(even, odd, 1);
}

/* The same of eight sums in as many vectors as they take. */
TW_INLINE double meet_vectors(const tw_f8 *a) {
#if TW_VECTOR_BYTES == 64
    return meet_eight((tw_eight)*a);
#else
    typedef double tw_two __attribute__((vector_size(16)));
#if TW_VECTOR_BYTES == 32
    union { tw_f8 four; tw_two two[2]; } half = {a[0] + a[1]};
    const tw_two last = half.two[0] + half.two[1];
#else
    const tw_two last = (a[0] + a[2]) + (a[1] + a[3]);
#endif
    return last[0] + last[1];
#endif
}

#endif
