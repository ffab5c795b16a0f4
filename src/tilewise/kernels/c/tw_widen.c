#include "tw_widen.h"

#include "tw_half.h"
#include "tw_vector.h"

/* Numbers that are made floats on the way to doubles at a time: four lines of the cache. */
#define BLOCK 64

/* from is (count) at any address, to is (count). */
#define WIDEN(NAME, IN, OUT, VALUE)                                       \
    static void NAME(const char *from, int count, void *to) {             \
        OUT *restrict out = to;                                           \
        for (int i = 0; i < count; i++) {                                 \
            IN x;                                                         \
            memcpy(&x, from + (ptrdiff_t)i * (ptrdiff_t)sizeof x, sizeof x); \
            out[i] = (OUT)(VALUE);                                        \
        }                                                                 \
    }
#define BOTH(NAME, IN, VALUE)        \
    WIDEN(NAME##_f4, IN, float, VALUE) \
    WIDEN(NAME##_f8, IN, double, VALUE)

BOTH(i1, int8_t, x)
BOTH(i2, int16_t, x)
BOTH(u1, uint8_t, x)
BOTH(u2, uint16_t, x)
BOTH(bf2, uint16_t, tw_bfloat_to_float(x))
WIDEN(i4_f8, int32_t, double, x)
WIDEN(i8_f8, int64_t, double, x)
WIDEN(u4_f8, uint32_t, double, x)
WIDEN(u8_f8, uint64_t, double, x)
WIDEN(f4_f8, float, double, x)

WIDEN(plain_f2_f4, uint16_t, float, tw_half_to_float(x))

#if defined(__AVX512F__)
#define HALVES 16
#define HALVES_TO_FLOATS(from) (tw_f4)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(from)))
#elif defined(__F16C__)
#define HALVES 8
#define HALVES_TO_FLOATS(from) (tw_f4)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from)))
#endif

static void f2_f4(const char *from, int count, void *to) {
    int i = 0;
#ifdef HALVES
    for (; i + HALVES <= count; i += HALVES) *(tw_f4u *)((float *)to + i) = HALVES_TO_FLOATS(from + 2 * (ptrdiff_t)i);
#endif
    plain_f2_f4(from + 2 * (ptrdiff_t)i, count - i, (float *)to + i);
}

static void f2_f8(const char *from, int count, void *to) {
    float block[BLOCK];
    for (int i = 0; i < count; i += BLOCK) {
        const int some = count - i < BLOCK ? count - i : BLOCK;
        f2_f4(from + 2 * (ptrdiff_t)i, some, block);
        for (int j = 0; j < some; j++) ((double *)to)[i + j] = block[j];
    }
}

const tw_widen_kernels TW_JOIN(tw_widen, TW_ISA) = {
    .of = {
        [TW_F2] = {f2_f4, f2_f8}, [TW_F4] = {0, f4_f8},     [TW_I1] = {i1_f4, i1_f8},
        [TW_I2] = {i2_f4, i2_f8}, [TW_I4] = {0, i4_f8},     [TW_I8] = {0, i8_f8},
        [TW_U1] = {u1_f4, u1_f8}, [TW_U2] = {u2_f4, u2_f8}, [TW_U4] = {0, u4_f8},
        [TW_U8] = {0, u8_f8},     [TW_BF2] = {bf2_f4, bf2_f8},
    },
};
