/* Rows split into parts: (x - origin) * scale in float32, with squared norms. Included once per
 * type S of the data with P(name) defined. */

#if defined(__AVX512BF16__)
TW_INLINE __m512 P(sixteen)(const S *x, const S *origin, S scale, __mmask16 mask) {
    if (sizeof(S) == 4) {
        const __m512 gap = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x), _mm512_maskz_loadu_ps(mask, origin));
        return _mm512_mul_ps(gap, _mm512_set1_ps((float)scale));
    }
    const __m512d by = _mm512_set1_pd((double)scale);
    const __mmask8 low = (__mmask8)mask, high = (__mmask8)(mask >> 8);
    const double *from = (const double *)x, *base = (const double *)origin;
    const __m512d a = _mm512_mul_pd(_mm512_sub_pd(_mm512_maskz_loadu_pd(low, from), _mm512_maskz_loadu_pd(low, base)), by);
    const __m512d b =
        _mm512_mul_pd(_mm512_sub_pd(_mm512_maskz_loadu_pd(high, from + 8), _mm512_maskz_loadu_pd(high, base + 8)), by);
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(a)), _mm512_cvtpd_ps(b), 1);
}
#endif

TW_INLINE void P(pack_parts)(int n_rows, int depth, const int parts, const S *const *rows, const S *origin, S scale,
                             uint16_t *out, float *norms, float *second_norms, float *rest_norms) {
    const int steps = (depth + STEP - 1) / STEP;
    const ptrdiff_t step = (ptrdiff_t)parts * 2 * TILE;
    for (int r = 0; r < n_rows; r++) {
        const S *x = rows[r];
        uint16_t *to = out + r / ROWS * steps * step + r % ROWS / 16 * TILE + r % 16 * STEP;
#if defined(__AVX512BF16__)
        square_sums sums = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
        int start = 0;
        for (; start + STEP <= depth; start += STEP, to += step)
            split_step(P(sixteen)(x + start, origin + start, scale, 0xffff),
                       P(sixteen)(x + start + 16, origin + start + 16, scale, 0xffff), parts, to, 2 * TILE, &sums);
        if (start < depth) {
            const uint32_t mask = (1u << (depth - start)) - 1;
            split_step(P(sixteen)(x + start, origin + start, scale, (__mmask16)mask),
                       P(sixteen)(x + start + 16, origin + start + 16, scale, (__mmask16)(mask >> 16)), parts, to,
                       2 * TILE, &sums);
        }
        add_up(&sums, norms + r, second_norms + r, rest_norms + r);
#else
        square_sums sums = {{0}, {0}, {0}};
        for (int start = 0; start < depth; start += STEP, to += step) {
            float part[STEP];
            for (int l = 0; l < STEP; l++)
                part[l] = start + l < depth ? (float)((x[start + l] - origin[start + l]) * scale) : 0;
            split_step(part, parts, to, 2 * TILE, &sums);
        }
        norms[r] = added_up(sums.norm);
        second_norms[r] = added_up(sums.second);
        rest_norms[r] = added_up(sums.rest);
#endif
    }
}

static void P(pack)(int n_rows, int depth, int parts, const S *const *rows, const S *origin, S scale, uint16_t *out,
                    float *norms, float *second_norms, float *rest_norms) {
    if (parts == 2)
        P(pack_parts)(n_rows, depth, 2, rows, origin, scale, out, norms, second_norms, rest_norms);
    else
        P(pack_parts)(n_rows, depth, 3, rows, origin, scale, out, norms, second_norms, rest_norms);
}
