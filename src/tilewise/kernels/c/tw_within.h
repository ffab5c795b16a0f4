/* Values that do not exceed a limit; NaN always does. Nothing is written behind the last one taken:
 * what stands there may belong to another thread. */

static int64_t not_above(const double *restrict values, int count, double limit) {
    int64_t found = 0;
    int j = 0;
#if defined(__AVX512F__)
    const __m512d bound = _mm512_set1_pd(limit);
    for (; j + 32 <= count; j += 32) {
        uint32_t bits = 0;
        for (int v = 0; v < 4; v++)
            bits |= (uint32_t)_mm512_cmp_pd_mask(_mm512_loadu_pd(values + j + 8 * v), bound, _CMP_LE_OQ) << 8 * v;
        found += __builtin_popcount(bits);
    }
#endif
    for (; j < count; j++) found += values[j] <= limit;
    return found;
}

/* out and places get them in order, and where they stand, the first value being at place `first`;
 * returns how many there are. */
static int64_t collect_within(const double *restrict values, int count, double limit, int64_t first,
                              double *restrict out, int64_t *restrict places) {
    int64_t n = 0;
    int j = 0;
#if defined(__AVX512F__)
    const __m512d bound = _mm512_set1_pd(limit);
    const __m512i lane = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
    for (; j + 8 <= count; j += 8) {
        const __m512d v = _mm512_loadu_pd(values + j);
        const __mmask8 bits = _mm512_cmp_pd_mask(v, bound, _CMP_LE_OQ);
        if (!bits) continue;
        const int some = __builtin_popcount(bits);
        const __mmask8 kept = (__mmask8)((1u << some) - 1);
        /* Compressing in a register and storing that is fast on every processor. */
        _mm512_mask_storeu_pd(out + n, kept, _mm512_maskz_compress_pd(bits, v));
        _mm512_mask_storeu_epi64(places + n, kept,
                                 _mm512_maskz_compress_epi64(bits, _mm512_add_epi64(lane, _mm512_set1_epi64(first + j))));
        n += some;
    }
#else
    enum { LOOK = 16 }; /* values that are looked at together */
    for (; j + LOOK <= count; j += LOOK) {
        int some = 0;
        for (int l = 0; l < LOOK; l++) some |= values[j + l] <= limit;
        if (!some) continue;
        for (int l = 0; l < LOOK; l++)
            if (values[j + l] <= limit) {
                out[n] = values[j + l];
                places[n++] = first + j + l;
            }
    }
#endif
    for (; j < count; j++)
        if (values[j] <= limit) {
            out[n] = values[j];
            places[n++] = first + j;
        }
    return n;
}
