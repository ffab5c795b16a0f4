/* Canonical distances of the pairs that the screen of k-means++ leaves open, and what they gain. Included
 * once per type of the data with S, E(name) defined; compiled with -ffp-contract=off. */

/* out (8): distances of eight rows, of which count are different, to the candidate at c. */
TW_INLINE void E(open_distances)(const S *const *x, int count, const double *c, int depth, double *out) {
    const double *const same[4] = {c, c, c, c};
    if (depth <= TW_LANES_DEPTH) {
        E(distances_lanes)(x, c, 0, 1, depth, out);
        return;
    }
    for (int r = 0; r < count; r += 4) E(distances_pairs)(x + r, same, count - r < 4 ? count - r : 4, depth, out + r);
}

/* The same of rows up to seven long, `items` (8) apart from x. */
TW_INLINE void E(gathered_distances)(const S *x, const int32_t *items, const double *c, int depth, double *out) {
    tw_eight sum[8] = {{0}};
#pragma GCC unroll 8
    for (int l = 0; l < 7; l++)
        if (l < depth) {
            const tw_eight gap = E(gathered)(x + l, items) - c[l];
            sum[l] = gap * gap;
        }
    *(tw_eight_u *)out = TW_MEET(sum);
}

/* The gains of n pairs of a row and candidate t. What has no room is noted in `gained`: number
 * 16 g + t has the rows of group g. */
static void E(measure_open)(const tw_open *b, int t, int n, const uint16_t *places) {
    const double *c = b->trials + t * b->ldc;
    int64_t *gain = b->gain + 16 * t, kept = *b->n_kept;
    const ptrdiff_t step = b->row_stride / (ptrdiff_t)sizeof(S);
    const int here = !b->pointers && b->depth < 8 && step < 1 << 20 && step > -(1 << 20);
    for (int start = 0; start < n; start += 8) {
        const int count = n - start < 8 ? n - start : 8;
        const S *x[8];
        double gaps[8] = {0};
        int32_t at[8], items[8];
        for (int r = 0; r < 8; r++) {
            const int place = places[start + (r < count ? r : 0)];
            at[r] = b->places ? b->places[place] : place;
            items[r] = place * (int32_t)step;
            x[r] = b->pointers ? (const S *)b->pointers[place] : (const S *)(b->data + place * b->row_stride);
        }
        if (here)
            E(gathered_distances)((const S *)b->data, items, c, b->depth, gaps);
        else
            E(open_distances)(x, count, c, b->depth, gaps);
        const tw_eight weights = b->weights ? gathered_f8(b->weights, at) : 1.0 - (tw_eight){0};
        uint32_t bits = add_gain_eight(*(const tw_eight_u *)gaps, gathered_f8(b->closest, at), weights, b->bigs,
                                       (1u << count) - 1, gain);
        if (kept + 8 <= b->room) {
            for (; bits; bits &= bits - 1) {
                const int r = __builtin_ctz(bits);
                b->gaps[kept] = gaps[r];
                b->kept[kept++] = (b->offset + (uint32_t)at[r]) | (uint32_t)t << TW_PLACE_BITS;
            }
            continue;
        }
        if (bits) *b->lost = 1;
        for (; bits; bits &= bits - 1) {
            const int i = at[__builtin_ctz(bits)];
            b->gained[(i & ~15) + t] |= (uint16_t)(1u << (i & 15));
        }
    }
    *b->n_kept = kept;
}

/* out (n): distances of rows to one candidate. */
static void E(distances_same)(const S *const *x, int n, const double *c, int depth, double *out) {
    for (int start = 0; start < n; start += 8) {
        const int count = n - start < 8 ? n - start : 8;
        const S *eight[8];
        double gaps[8];
        for (int r = 0; r < 8; r++) eight[r] = x[start + (r < count ? r : 0)];
        E(open_distances)(eight, count, c, depth, gaps);
        for (int r = 0; r < count; r++) out[start + r] = gaps[r];
    }
}
