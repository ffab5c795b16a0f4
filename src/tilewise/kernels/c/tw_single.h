/* One row against rows as they lie in memory, without a packed copy of them: squared distances in
 * float32, by direct differences. A difference of two floats has a relative error of u = 2^-24 at any
 * distance from the origin, and no term of the sum is negative, so that a sum of d squares, at least
 * four at a time, is right to (d / 4 + 8) u of itself. Included in tw_tile.c.
 */
enum { SINGLE_LANES = TW_VECTOR_BYTES / 4 };

/* The last n numbers of a row, and zeros. */
TW_INLINE tw_f4 last_f4(const float *x, int n) {
#if defined(__AVX512F__)
    return (tw_f4)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), x);
#else
    tw_f4 out = {0};
    for (int i = 0; i < n; i++) out[i] = x[i];
    return out;
#endif
}

/* sum[i] is one vector of squares of x - rows[i]. */
TW_INLINE void square_rows(const int count, const float *restrict x, const tw_f4 end, const float *rows, int depth,
                           tw_f4 *restrict sum) {
    tw_f4 own[4] = {{0}};
    int l = 0;
    for (; l + SINGLE_LANES <= depth; l += SINGLE_LANES) {
        const tw_f4 v = *(const tw_f4u *)(x + l);
#pragma GCC unroll 4
        for (int i = 0; i < count; i++) {
            const tw_f4 gap = v - *(const tw_f4u *)(rows + (ptrdiff_t)i * depth + l);
            own[i] += gap * gap;
        }
    }
    if (l < depth) {
#pragma GCC unroll 4
        for (int i = 0; i < count; i++) {
            const tw_f4 gap = end - last_f4(rows + (ptrdiff_t)i * depth + l, depth - l);
            own[i] += gap * gap;
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) sum[i] = own[i];
}

/* gaps (count, rounded up to sixteen): the squared distance of x (depth) to each of rows (count, depth), and
 * infinity behind the last one. Returns the least, infinity if none is finite. */
static float rough_gaps(const float *restrict x, const float *restrict rows, int count, int depth,
                        float *restrict gaps) {
    enum { N = SINGLE_LANES };
    const tw_f4 end = last_f4(x + depth / N * N, depth % N);
    tw_f4 least = __builtin_inff() - (tw_f4){0};
    for (int j = 0; j < count; j += N, rows += (ptrdiff_t)N * depth) {
        tw_f4 sum[N];
        const int some = count - j < N ? count - j : N;
        int i = 0;
        for (; i + 4 <= some; i += 4) square_rows(4, x, end, rows + (ptrdiff_t)i * depth, depth, sum + i);
        for (; i < some; i++) square_rows(1, x, end, rows + (ptrdiff_t)i * depth, depth, sum + i);
        for (; i < N; i++) sum[i] = __builtin_inff() - (tw_f4){0};
        /* Lane i becomes the sum of vector i: half of them take in the others at each step. */
#define TAKE_IN(k)                                                      \
    _Pragma("GCC unroll 16") for (int a = 0; a < (k); a++)              \
        sum[a] = TW_PICK_F4(TW_LOW, sum[a], sum[a + (k)], k) + TW_PICK_F4(TW_HIGH, sum[a], sum[a + (k)], k);
#if TW_VECTOR_BYTES >= 64
        TAKE_IN(8)
#endif
#if TW_VECTOR_BYTES >= 32
        TAKE_IN(4)
#endif
        TAKE_IN(2)
        TAKE_IN(1)
#undef TAKE_IN
        *(tw_f4u *)(gaps + j) = sum[0];
        least = min_f4(sum[0], least);
    }
    return lowest_f4(least)[0];
}

/* picks lists those of count gaps that are at most the limit; returns how many. Whole vectors are read. */
static int rough_picks(const float *gaps, int count, float limit, int *restrict picks) {
    int n = 0;
    for (int j = 0; j < count; j += SINGLE_LANES) {
        uint32_t bits = not_above_f4(*(const tw_f4u *)(gaps + j), splat_f4(limit));
        for (; bits; bits &= bits - 1) picks[n++] = j + __builtin_ctz(bits);
    }
    return n;
}
