/* Squared distances of some rows to a centre of each, in float32 from direct differences: a look
 * that is cheap because the rows after are fetched meanwhile.
 *
 * x is (n) rows of `depth` floats; c is (k, ldc), padded with zeros to a multiple of sixteen; own
 * says which centre a row is measured from. A difference of two floats has a relative error of u,
 * no term is negative, and a term goes through fewer than depth / lanes + 8 additions: the result
 * errs by less than (depth / lanes + 16) 2^-23 of itself, but for squares that underflow.
 */
/* The sum of all lanes. */
TW_INLINE float total_f4(tw_f4 v) {
#if TW_VECTOR_BYTES >= 64
    v += TW_PICK_F4(TW_SWAPPED, v, v, 8);
#endif
#if TW_VECTOR_BYTES >= 32
    v += TW_PICK_F4(TW_SWAPPED, v, v, 4);
#endif
    v += TW_PICK_F4(TW_SWAPPED, v, v, 2);
    v += TW_PICK_F4(TW_SWAPPED, v, v, 1);
    return v[0];
}

enum { OWN_AHEAD = 8, OWN_AHEAD_BYTES = 1024 };

TW_INLINE float own_gap(const float *restrict x, const float *restrict c, int depth) {
    enum { N = TW_VECTOR_BYTES / 4 };
    tw_f4 sum[4] = {{0}};
    int l = 0;
    for (; l + 4 * N <= depth; l += 4 * N)
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            const tw_f4 gap = *(const tw_f4u *)(x + l + v * N) - *(const tw_f4u *)(c + l + v * N);
            sum[v] += gap * gap;
        }
    for (; l + N <= depth; l += N) {
        const tw_f4 gap = *(const tw_f4u *)(x + l) - *(const tw_f4u *)(c + l);
        sum[0] += gap * gap;
    }
    if (l < depth) {
        float part[N] __attribute__((aligned(TW_VECTOR_BYTES))) = {0};
        for (int i = 0; i < depth - l; i++) part[i] = x[l + i];
        const tw_f4 gap = *(const tw_f4 *)part - *(const tw_f4u *)(c + l);
        sum[1] += gap * gap;
    }
    return total_f4((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

static void own_gaps(int n, const float *const *x, const int32_t *own, const float *c, ptrdiff_t ldc, int depth,
                     float *out) {
    const ptrdiff_t bytes = depth < OWN_AHEAD_BYTES / 4 ? depth * 4 : OWN_AHEAD_BYTES;
    for (int r = 0; r < n; r++) {
        /* The processor finds the rest of a long row on its own. */
        if (r + OWN_AHEAD < n)
            for (ptrdiff_t at = 0; at < bytes; at += 64)
                __builtin_prefetch((const char *)x[r + OWN_AHEAD] + at);
        out[r] = own_gap(x[r], c + own[r] * ldc, depth);
    }
}
