#include "tw_screen.h"

#include <math.h>

#include "tw_vector.h"

enum { N = TW_VECTOR_BYTES / 4, V = TW_SCREEN_GROUP / N, COLUMNS = 64 };

/* Bits of the lanes where a is not above b: those that compare with nothing, too. */
TW_INLINE uint32_t unless_above(tw_f4 a, tw_f4 b) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_NGT_UQ);
#elif defined(__AVX2__)
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_NGT_UQ));
#elif defined(__SSE2__)
    return (uint32_t)_mm_movemask_ps(_mm_cmpngt_ps((__m128)a, (__m128)b));
#else
    const tw_i4 above = a > b;
    return (uint32_t)((~above[0] & 1) | (~above[1] & 2) | (~above[2] & 4) | (~above[3] & 8));
#endif
}

/* near (groups of 16): rows whose seed is not farther from every candidate than twice the row is from it.
 * halves is (seeds): at most half the distance to the nearest candidate. */
static void near_rows(int count, const int32_t *restrict owner, const float *restrict radius,
                      const float *restrict halves, uint16_t *restrict near) {
    int i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= count; i += 16)
        near[i / 16] = (uint16_t)_mm512_cmp_ps_mask(_mm512_i32gather_ps(_mm512_loadu_si512(owner + i), halves, 4),
                                                    _mm512_loadu_ps(radius + i), _CMP_NGT_UQ);
#endif
    for (; i < count; i += 16) {
        uint32_t bits = 0;
        for (int r = 0; r < 16 && i + r < count; r++) bits |= (uint32_t)!(halves[owner[i + r]] > radius[i + r]) << r;
        near[i / 16] = (uint16_t)bits;
    }
}

/* places (TW_SCREEN_PLACES) lists the bits of n_groups masks; returns how many. */
static int list_bits(int n_groups, const uint16_t *restrict masks, uint16_t *restrict places) {
    int n = 0;
    for (int g = 0; g < n_groups; g++) {
#if defined(__AVX512F__)
        /* Without a branch: which rows are open cannot be foreseen. */
        const __m512i rows = _mm512_add_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                              _mm512_set1_epi32(g * 16));
        _mm256_storeu_si256((__m256i *)(places + n), _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(masks[g], rows)));
        n += __builtin_popcount(masks[g]);
#else
        for (uint32_t bits = masks[g]; bits; bits &= bits - 1) places[n++] = (uint16_t)(g * 16 + __builtin_ctz(bits));
#endif
    }
    return n;
}

/* What a sum of squares in float may be for the rows at these places, NULL for the first n_rows: their radius, and for rows less
 * an origin the rounding of that, squared, and `grow` times as much. reaches (seeds) is how far each seed
 * is from the origin, or NULL; beyond is what the candidates err by. */
static void limits(int n_rows, const uint16_t *restrict places, const int32_t *restrict owner,
                   const float *restrict radius, const float *restrict reaches, float beyond, float grow,
                   float *restrict out) {
    for (int r = 0; r < n_rows; r++) {
        const int place = places ? places[r] : r;
        float within = radius[place];
        if (reaches) within += 0x1.06p-24f * (within + reaches[owner[place]]) + beyond;
        out[r] = within * within * grow + 1e-37f;
    }
}

/* ---------------------------------------------------------------- in float, rows in the lanes */

TW_INLINE void turn_over(tw_f4 *v) {
    TW_TURN(tw_f4, TW_PICK_F4, v, N, 1)
    TW_TURN(tw_f4, TW_PICK_F4, v, N, 2)
#if TW_VECTOR_BYTES >= 32
    TW_TURN(tw_f4, TW_PICK_F4, v, N, 4)
#endif
#if TW_VECTOR_BYTES == 64
    TW_TURN(tw_f4, TW_PICK_F4, v, N, 8)
#endif
}

/* turned is (width, 16), sums (count, V): adds the squared differences of sixteen rows to candidates c. */
TW_INLINE void add_squares(const int count, const float *restrict turned, int width, const float *restrict c,
                           ptrdiff_t ldt, tw_f4 *restrict sums) {
    tw_f4 own[8 * V];
#pragma GCC unroll 32
    for (int i = 0; i < count * V; i++) own[i] = sums[i];
    for (int l = 0; l < width; l++)
#pragma GCC unroll 4
        for (int p = 0; p < V; p++) {
            const tw_f4 v = *(const tw_f4 *)(turned + l * 16 + p * N);
#pragma GCC unroll 8
            for (int j = 0; j < count; j++) {
                const tw_f4 gap = v - (c[j * ldt + l] - (tw_f4){0});
                own[j * V + p] += gap * gap;
            }
        }
#pragma GCC unroll 32
    for (int i = 0; i < count * V; i++) sums[i] = own[i];
}

/* Candidates whose sums stay in registers. */
enum { AT_ONCE = TW_VECTOR_BYTES == 64 ? 8 : TW_VECTOR_BYTES == 32 ? 4 : 2 };

TW_INLINE void add_all_squares(int count, const float *turned, int width, const float *c, ptrdiff_t ldt, tw_f4 *sums) {
    for (; count > 0; count -= AT_ONCE, c += AT_ONCE * ldt, sums += AT_ONCE * V)
        switch (count < AT_ONCE ? count : AT_ONCE) {
            case 1: add_squares(1, turned, width, c, ldt, sums); break;
            case 2: add_squares(2, turned, width, c, ldt, sums); break;
#if TW_VECTOR_BYTES >= 32
            case 3: add_squares(3, turned, width, c, ldt, sums); break;
            case 4: add_squares(4, turned, width, c, ldt, sums); break;
#endif
#if TW_VECTOR_BYTES == 64
            case 5: add_squares(5, turned, width, c, ldt, sums); break;
            case 6: add_squares(6, turned, width, c, ldt, sums); break;
            case 7: add_squares(7, turned, width, c, ldt, sums); break;
            default: add_squares(8, turned, width, c, ldt, sums); break;
#endif
        }
}

#if TW_VECTOR_BYTES >= 64
#define ADD_HALVES_64(v) v += TW_PICK_F4(TW_SWAPPED, v, v, 8);
#else
#define ADD_HALVES_64(v)
#endif
#if TW_VECTOR_BYTES >= 32
#define ADD_HALVES_32(v) v += TW_PICK_F4(TW_SWAPPED, v, v, 4);
#else
#define ADD_HALVES_32(v)
#endif
#define SUM_LANES(v) \
    ADD_HALVES_64(v) ADD_HALVES_32(v) v += TW_PICK_F4(TW_SWAPPED, v, v, 2); v += TW_PICK_F4(TW_SWAPPED, v, v, 1)
TW_INLINE float sum_lanes_f4(tw_f4 v) {
    SUM_LANES(v);
    return v[0];
}
TW_INLINE int32_t sum_lanes_i4(tw_i4 v) {
    SUM_LANES(v);
    return v[0];
}

TW_INLINE tw_f4 all_lanes(float x) { return x - (tw_f4){0}; }

typedef double tw_wide __attribute__((vector_size(2 * TW_VECTOR_BYTES), aligned(8), may_alias));

/* A unit that brings the largest column of a row or centre to `most`: one that float32 can divide by. */
TW_INLINE double look_unit(float largest, int most) { return (largest > 1e-30f ? largest : 1e-30f) / (double)most; }

/* The mean in the type of the rows; where that is float, it is rounded so. */
TW_INLINE const float *own_mean_f4(const double *mean, int depth, float *room) {
    for (int l = 0; l < depth; l++) room[l] = (float)mean[l];
    return room;
}
TW_INLINE const double *own_mean_f8(const double *mean, int depth, double *room) {
    (void)depth;
    (void)room;
    return mean;
}

#define S float
#define P(name) name##_f4
#define OWN_ROOM TW_SCREEN_DEPTH
#define COLUMNS_OF(x, mean, scale) ((*(const tw_f4u *)(x) - *(const tw_f4u *)(mean)) * (scale))
#define LESS(x, l) ((x)[l])
#if defined(__AVX512F__)
/* Column l of sixteen rows at x, which stand so many items apart. */
TW_INLINE tw_f4 gather_f4(const float *x, __m512i items, int l, const double *origin) {
    (void)origin;
    return (tw_f4)_mm512_i32gather_ps(items, x + l, 4);
}
TW_INLINE tw_f4 gather_f8(const double *x, __m512i items, int l, const double *origin) {
    const __m512d low = _mm512_i32gather_pd(_mm512_castsi512_si256(items), x + l, 8);
    const __m512d high = _mm512_i32gather_pd(_mm512_extracti64x4_epi64(items, 1), x + l, 8);
    const __m512d less = _mm512_set1_pd(origin[l]);
    return (tw_f4)_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(_mm512_sub_pd(low, less))),
                                     _mm512_cvtpd_ps(_mm512_sub_pd(high, less)), 1);
}
#endif
#define VECTOR(x, l) (*(const tw_f4u *)((x) + (l)))
#include "tw_screen_rows.h"
#undef S
#undef P
#undef LESS
#undef VECTOR
#undef OWN_ROOM
#undef COLUMNS_OF
#define S double
#define P(name) name##_f8
#define OWN_ROOM 1
#define COLUMNS_OF(x, mean, scale) \
    __builtin_convertvector((*(const tw_wide *)(x) - *(const tw_wide *)(mean)) * (scale), tw_f4)
#define LESS(x, l) ((float)((x)[l] - origin[l]))
#define VECTOR(x, l) __builtin_convertvector(*(const tw_wide *)((x) + (l)) - *(const tw_wide *)(origin + (l)), tw_f4)
#include "tw_screen_rows.h"
#undef S
#undef P
#undef LESS
#undef VECTOR

/* ---------------------------------------------------------------- the copy */

/* Sums of products of four columns of N rows, 0 to 255, and one candidate, added to sum. Without VNNI two
 * neighbours add up in 16 bits: 2 * 255 * 63 fits. */
#if defined(__AVX512VNNI__)
enum { COARSE = 1, MOST = 127 };
TW_INLINE tw_i4 add_products(tw_i4 sum, const uint8_t *x, int32_t c) {
    return (tw_i4)_mm512_dpbusd_epi32((__m512i)sum, _mm512_load_si512(x), _mm512_set1_epi32(c));
}
#elif defined(__AVX512F__)
enum { COARSE = 2, MOST = 63 };
TW_INLINE tw_i4 add_products(tw_i4 sum, const uint8_t *x, int32_t c) {
    const __m512i pairs = _mm512_maddubs_epi16(_mm512_load_si512(x), _mm512_set1_epi32(c));
    return sum + (tw_i4)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
}
#elif defined(__AVX2__)
enum { COARSE = 2, MOST = 63 };
TW_INLINE tw_i4 add_products(tw_i4 sum, const uint8_t *x, int32_t c) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_load_si256((const __m256i *)x), _mm256_set1_epi32(c));
    return sum + (tw_i4)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}
#elif defined(__SSE2__)
enum { COARSE = 1, MOST = 127 };
TW_INLINE tw_i4 add_products(tw_i4 sum, const uint8_t *x, int32_t c) {
    const __m128i zero = _mm_setzero_si128(), v = _mm_load_si128((const __m128i *)x), four = _mm_set1_epi32(c);
    const __m128i w = _mm_srai_epi16(_mm_unpacklo_epi8(zero, four), 8);
    const __m128 low = _mm_castsi128_ps(_mm_madd_epi16(_mm_unpacklo_epi8(v, zero), w));
    const __m128 high = _mm_castsi128_ps(_mm_madd_epi16(_mm_unpackhi_epi8(v, zero), w));
    return sum + (tw_i4)_mm_castps_si128(_mm_shuffle_ps(low, high, 0x88)) +
           (tw_i4)_mm_castps_si128(_mm_shuffle_ps(low, high, 0xdd));
}
#else
enum { COARSE = 1, MOST = 127 };
TW_INLINE tw_i4 add_products(tw_i4 sum, const uint8_t *x, int32_t c) {
    const int8_t *w = (const int8_t *)&c;
    for (int r = 0; r < N; r++)
        for (int l = 0; l < 4; l++) sum[r] += x[4 * r + l] * w[l];
    return sum;
}
#endif

static void copy_trials(int count, const double *points, ptrdiff_t ldc, const double *mean, double unit, int depth,
                        int8_t *values, int32_t *bases, float *errors) {
    const int steps = (depth + 3) / 4;
    uint8_t bytes[TW_SCREEN_DEPTH];
    memset(values, 0, (size_t)steps * 64);
    for (int j = 0; j < count; j++) {
        double norm;
        errors[j] = (float)(copy_row_f8(points + j * ldc, mean, 1, unit * COARSE, MOST, depth, bytes, &norm) * (1 + 0x1p-22)) +
                    1e-37f;
        int32_t sum = 0;
        for (int l = 0; l < depth; l++) {
            const int32_t v = bytes[l] - 128;
            values[(l / 4 * 16 + j) * 4 + l % 4] = (int8_t)-v;
            sum += v;
        }
        /* Half of coarse times the squared norm, and what 128 too much in every byte of a row adds. */
        bases[j] = (int32_t)((int64_t)norm * COARSE / 2) + 128 * sum;
    }
}

/* Bytes of copies between their prefetch and their use: several groups of short rows. Copies are read faster
 * than the processor foresees them where groups are left out (measured at 200,000 x 64 and 50,000 x 256: k-means++
 * takes 0.75 to 0.85 times as long). */
enum { AHEAD = 4096 };

/* With q and p the whole numbers of a row and a candidate, half the square of |q - coarse p| is |q|^2 / 2 +
 * coarse (bases - products); a pair is open unless that is above half the square of what it may be. */
TW_INLINE void compare_some(const int count, int n_groups, const tw_copied *copied, const uint16_t *near,
                            const tw_candidates *trials, int first, uint16_t *masks) {
    const int steps = copied->steps, ahead = (AHEAD + steps * 64 - 1) / (steps * 64);
    const uint8_t *x = copied->rows;
    for (int g = 0; g < n_groups; g++, x += steps * 64) {
        uint32_t bits[8] = {0};
        /* Behind the last group lies the next block. */
        const uint8_t *later = g + ahead >= n_groups || near[g + ahead] ? x + ahead * steps * 64 : x;
        if (near[g])
#pragma GCC unroll 4
            for (int p = 0; p < V; p++) {
                tw_i4 sums[8];
#pragma GCC unroll 8
                for (int j = 0; j < count; j++) sums[j] = trials->bases[first + j] - (tw_i4){0};
                const int32_t *c = (const int32_t *)trials->values + first;
                for (int l = 0; l < steps; l++, c += 16) {
                    if (p == 0) __builtin_prefetch(later + l * 64);
#pragma GCC unroll 8
                    for (int j = 0; j < count; j++) sums[j] = add_products(sums[j], x + l * 64 + p * 4 * N, c[j]);
                }
                const int at = g * 16 + p * N;
                const tw_f4 within = *(const tw_f4u *)(copied->radius + at) + *(const tw_f4u *)(copied->errors + at);
                const tw_f4 half = *(const tw_f4u *)(copied->halves + at);
#pragma GCC unroll 8
                for (int j = 0; j < count; j++) {
                    const tw_f4 most = (within + trials->errors[first + j]) * trials->inverse;
                    const tw_f4 products = __builtin_convertvector(sums[j], tw_f4) * (float)COARSE;
                    bits[j] |= unless_above(products, most * most - half) << p * N;
                }
            }
        for (int j = 0; j < count; j++) masks[(first + j) * TW_SCREEN_GROUPS + g] = (uint16_t)(bits[j] & near[g]);
    }
}

static void compare(int n_groups, const tw_copied *copied, const uint16_t *near, const tw_candidates *trials,
                    uint16_t *masks) {
    for (int j = 0; j < trials->count; j += 8)
        switch (trials->count - j) {
            case 1: compare_some(1, n_groups, copied, near, trials, j, masks); break;
            case 2: compare_some(2, n_groups, copied, near, trials, j, masks); break;
            case 3: compare_some(3, n_groups, copied, near, trials, j, masks); break;
            case 4: compare_some(4, n_groups, copied, near, trials, j, masks); break;
            case 5: compare_some(5, n_groups, copied, near, trials, j, masks); break;
            case 6: compare_some(6, n_groups, copied, near, trials, j, masks); break;
            case 7: compare_some(7, n_groups, copied, near, trials, j, masks); break;
            default: compare_some(8, n_groups, copied, near, trials, j, masks); break;
        }
}

#include "tw_look.h"

const tw_screen_kernels TW_JOIN(tw_screen, TW_ISA) = {.coarse = COARSE, TW_SCREEN_KERNELS(TW_ENTRY)};
