/* The vector of one compilation: its width and the few operations that plain
 * GNU vector arithmetic does not spell well. Every kernel is written once on
 * top of this page and compiled once per instruction set.
 *
 * min(a, b) is "a < b ? a : b": with a NaN in a it keeps b on x86, so a NaN
 * score never becomes a best score unnoticed; where it propagates (NEON), the
 * certificate in tw_tile.h fails, which is as safe.
 */
#ifndef TW_VECTOR_H
#define TW_VECTOR_H

#include <stdint.h>
#include <stddef.h>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define TW_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define TW_VECTOR_BYTES 32
#else
#define TW_VECTOR_BYTES 16
#endif

#define TW_INLINE static inline __attribute__((always_inline))

typedef float tw_f4 __attribute__((vector_size(TW_VECTOR_BYTES)));
typedef double tw_f8 __attribute__((vector_size(TW_VECTOR_BYTES)));
typedef int32_t tw_i4 __attribute__((vector_size(TW_VECTOR_BYTES)));
typedef int64_t tw_i8 __attribute__((vector_size(TW_VECTOR_BYTES)));

/* The same vectors at any address. */
typedef float tw_f4u __attribute__((vector_size(TW_VECTOR_BYTES), aligned(4), may_alias));
typedef double tw_f8u __attribute__((vector_size(TW_VECTOR_BYTES), aligned(8), may_alias));

#if defined(__AVX512F__)

TW_INLINE tw_f4 min_f4(tw_f4 a, tw_f4 b) { return (tw_f4)_mm512_min_ps((__m512)a, (__m512)b); }
TW_INLINE tw_f4 max_f4(tw_f4 a, tw_f4 b) { return (tw_f4)_mm512_max_ps((__m512)a, (__m512)b); }
TW_INLINE tw_f8 min_f8(tw_f8 a, tw_f8 b) { return (tw_f8)_mm512_min_pd((__m512d)a, (__m512d)b); }
TW_INLINE tw_f8 max_f8(tw_f8 a, tw_f8 b) { return (tw_f8)_mm512_max_pd((__m512d)a, (__m512d)b); }
TW_INLINE tw_i4 less_select_f4(tw_f4 a, tw_f4 b, tw_i4 x, tw_i4 y) {
    return (tw_i4)_mm512_mask_mov_epi32((__m512i)y, _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ), (__m512i)x);
}
TW_INLINE tw_i8 less_select_f8(tw_f8 a, tw_f8 b, tw_i8 x, tw_i8 y) {
    return (tw_i8)_mm512_mask_mov_epi64((__m512i)y, _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LT_OQ), (__m512i)x);
}
TW_INLINE uint32_t not_above_f4(tw_f4 a, tw_f4 b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LE_OQ); }
TW_INLINE uint32_t not_above_f8(tw_f8 a, tw_f8 b) { return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LE_OQ); }
/* Puts the lanes of s and i whose bits are set side by side; whole vectors are written. */
TW_INLINE void keep_f4(float *scores, int32_t *indices, tw_f4 s, tw_i4 i, uint32_t bits) {
    _mm512_storeu_ps(scores, _mm512_maskz_compress_ps((__mmask16)bits, (__m512)s));
    _mm512_storeu_si512(indices, _mm512_maskz_compress_epi32((__mmask16)bits, (__m512i)i));
}
TW_INLINE void keep_f8(double *scores, int64_t *indices, tw_f8 s, tw_i8 i, uint32_t bits) {
    _mm512_storeu_pd(scores, _mm512_maskz_compress_pd((__mmask8)bits, (__m512d)s));
    _mm512_storeu_si512(indices, _mm512_maskz_compress_epi64((__mmask8)bits, (__m512i)i));
}

#elif defined(__AVX2__)

TW_INLINE tw_f4 min_f4(tw_f4 a, tw_f4 b) { return (tw_f4)_mm256_min_ps((__m256)a, (__m256)b); }
TW_INLINE tw_f4 max_f4(tw_f4 a, tw_f4 b) { return (tw_f4)_mm256_max_ps((__m256)a, (__m256)b); }
TW_INLINE tw_f8 min_f8(tw_f8 a, tw_f8 b) { return (tw_f8)_mm256_min_pd((__m256d)a, (__m256d)b); }
TW_INLINE tw_f8 max_f8(tw_f8 a, tw_f8 b) { return (tw_f8)_mm256_max_pd((__m256d)a, (__m256d)b); }
TW_INLINE tw_i4 less_select_f4(tw_f4 a, tw_f4 b, tw_i4 x, tw_i4 y) {
    return (tw_i4)_mm256_blendv_ps((__m256)y, (__m256)x, _mm256_cmp_ps((__m256)a, (__m256)b, _CMP_LT_OQ));
}
TW_INLINE tw_i8 less_select_f8(tw_f8 a, tw_f8 b, tw_i8 x, tw_i8 y) {
    return (tw_i8)_mm256_blendv_pd((__m256d)y, (__m256d)x, _mm256_cmp_pd((__m256d)a, (__m256d)b, _CMP_LT_OQ));
}
TW_INLINE uint32_t not_above_f4(tw_f4 a, tw_f4 b) {
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_LE_OQ));
}
TW_INLINE uint32_t not_above_f8(tw_f8 a, tw_f8 b) {
    return (uint32_t)_mm256_movemask_pd(_mm256_cmp_pd((__m256d)a, (__m256d)b, _CMP_LE_OQ));
}

#else

TW_INLINE tw_i4 select_i4(tw_i4 mask, tw_i4 x, tw_i4 y) { return (mask & x) | (~mask & y); }
TW_INLINE tw_i8 select_i8(tw_i8 mask, tw_i8 x, tw_i8 y) { return (mask & x) | (~mask & y); }
#if defined(__SSE2__)
TW_INLINE tw_f4 min_f4(tw_f4 a, tw_f4 b) { return (tw_f4)_mm_min_ps((__m128)a, (__m128)b); }
TW_INLINE tw_f4 max_f4(tw_f4 a, tw_f4 b) { return (tw_f4)_mm_max_ps((__m128)a, (__m128)b); }
TW_INLINE tw_f8 min_f8(tw_f8 a, tw_f8 b) { return (tw_f8)_mm_min_pd((__m128d)a, (__m128d)b); }
TW_INLINE tw_f8 max_f8(tw_f8 a, tw_f8 b) { return (tw_f8)_mm_max_pd((__m128d)a, (__m128d)b); }
#else
TW_INLINE tw_f4 min_f4(tw_f4 a, tw_f4 b) { return (tw_f4)select_i4(a < b, (tw_i4)a, (tw_i4)b); }
TW_INLINE tw_f4 max_f4(tw_f4 a, tw_f4 b) { return (tw_f4)select_i4(a > b, (tw_i4)a, (tw_i4)b); }
TW_INLINE tw_f8 min_f8(tw_f8 a, tw_f8 b) { return (tw_f8)select_i8(a < b, (tw_i8)a, (tw_i8)b); }
TW_INLINE tw_f8 max_f8(tw_f8 a, tw_f8 b) { return (tw_f8)select_i8(a > b, (tw_i8)a, (tw_i8)b); }
#endif
TW_INLINE tw_i4 less_select_f4(tw_f4 a, tw_f4 b, tw_i4 x, tw_i4 y) { return select_i4(a < b, x, y); }
TW_INLINE tw_i8 less_select_f8(tw_f8 a, tw_f8 b, tw_i8 x, tw_i8 y) { return select_i8(a < b, x, y); }
TW_INLINE uint32_t not_above_f4(tw_f4 a, tw_f4 b) {
    tw_i4 le = a <= b;
    return (uint32_t)((le[0] & 1) | (le[1] & 2) | (le[2] & 4) | (le[3] & 8));
}
TW_INLINE uint32_t not_above_f8(tw_f8 a, tw_f8 b) {
    tw_i8 le = a <= b;
    return (uint32_t)((le[0] & 1) | (le[1] & 2));
}

#endif

#if TW_VECTOR_BYTES < 64
TW_INLINE void keep_f4(float *scores, int32_t *indices, tw_f4 s, tw_i4 i, uint32_t bits) {
    for (; bits; bits &= bits - 1) {
        *scores++ = s[__builtin_ctz(bits)];
        *indices++ = i[__builtin_ctz(bits)];
    }
}
TW_INLINE void keep_f8(double *scores, int64_t *indices, tw_f8 s, tw_i8 i, uint32_t bits) {
    for (; bits; bits &= bits - 1) {
        *scores++ = s[__builtin_ctz(bits)];
        *indices++ = i[__builtin_ctz(bits)];
    }
}
#endif

/* Shuffles of two vectors of N lanes, and of one: lane i of the result is that lane of a and b side by
 * side which the page below says, k being a power of two. */
#define TW_LANES_2(WHICH, N, k) WHICH(0, N, k), WHICH(1, N, k)
#define TW_LANES_4(WHICH, N, k) TW_LANES_2(WHICH, N, k), WHICH(2, N, k), WHICH(3, N, k)
#define TW_LANES_8(WHICH, N, k) \
    TW_LANES_4(WHICH, N, k), WHICH(4, N, k), WHICH(5, N, k), WHICH(6, N, k), WHICH(7, N, k)
#define TW_LANES_16(WHICH, N, k)                                                                      \
    TW_LANES_8(WHICH, N, k), WHICH(8, N, k), WHICH(9, N, k), WHICH(10, N, k), WHICH(11, N, k),        \
        WHICH(12, N, k), WHICH(13, N, k), WHICH(14, N, k), WHICH(15, N, k)
/* a alone: lanes change places with those k away */
#define TW_SWAPPED(i, N, k) ((i) ^ (k))
/* the lanes without bit k: of a, then of b in the places of the others; the lanes with it */
#define TW_LOW(i, N, k) ((i) & (k) ? (N) + ((i) ^ (k)) : (i))
#define TW_HIGH(i, N, k) ((i) & (k) ? (N) + (i) : (i) ^ (k))
/* a without bit k and b with it, each in its place; what is left of both */
#define TW_EVEN(i, N, k) ((i) & (k) ? (N) + (i) : (i))
#define TW_ODD(i, N, k) ((i) & (k) ? (N) + ((i) ^ (k)) : (i) ^ (k))
#if defined(__clang__)
#define TW_PICK(I, N, WHICH, a, b, k) __builtin_shufflevector(a, b, TW_LANES_##N(WHICH, N, k))
#else
#define TW_PICK(I, N, WHICH, a, b, k) __builtin_shuffle(a, b, (I){TW_LANES_##N(WHICH, N, k)})
#endif
#if TW_VECTOR_BYTES == 64
#define TW_PICK_F4(WHICH, a, b, k) TW_PICK(tw_i4, 16, WHICH, a, b, k)
#define TW_PICK_F8(WHICH, a, b, k) TW_PICK(tw_i8, 8, WHICH, a, b, k)
#elif TW_VECTOR_BYTES == 32
#define TW_PICK_F4(WHICH, a, b, k) TW_PICK(tw_i4, 8, WHICH, a, b, k)
#define TW_PICK_F8(WHICH, a, b, k) TW_PICK(tw_i8, 4, WHICH, a, b, k)
#else
#define TW_PICK_F4(WHICH, a, b, k) TW_PICK(tw_i4, 4, WHICH, a, b, k)
#define TW_PICK_F8(WHICH, a, b, k) TW_PICK(tw_i8, 2, WHICH, a, b, k)
#endif

/* One step of turning a square of n vectors over, for bit k of the lane number: after all of them,
 * lane j of vector i has gone to lane i of vector j. */
#define TW_TURN(V, PICK, v, n, k)                                         \
    _Pragma("GCC unroll 16") for (int i = 0; i < (n); i++) if (!(i & (k))) { \
        const V a = (v)[i], b = (v)[i + (k)];                             \
        (v)[i] = PICK(TW_LOW, a, b, k);                                   \
        (v)[i + (k)] = PICK(TW_HIGH, a, b, k);                            \
    }

/* Smallest lane, in every lane. */
TW_INLINE tw_f4 lowest_f4(tw_f4 v) {
#if TW_VECTOR_BYTES >= 64
    v = min_f4(v, TW_PICK_F4(TW_SWAPPED, v, v, 8));
#endif
#if TW_VECTOR_BYTES >= 32
    v = min_f4(v, TW_PICK_F4(TW_SWAPPED, v, v, 4));
#endif
    v = min_f4(v, TW_PICK_F4(TW_SWAPPED, v, v, 2));
    return min_f4(v, TW_PICK_F4(TW_SWAPPED, v, v, 1));
}
TW_INLINE tw_f8 lowest_f8(tw_f8 v) {
#if TW_VECTOR_BYTES >= 64
    v = min_f8(v, TW_PICK_F8(TW_SWAPPED, v, v, 4));
#endif
#if TW_VECTOR_BYTES >= 32
    v = min_f8(v, TW_PICK_F8(TW_SWAPPED, v, v, 2));
#endif
    return min_f8(v, TW_PICK_F8(TW_SWAPPED, v, v, 1));
}

#endif
