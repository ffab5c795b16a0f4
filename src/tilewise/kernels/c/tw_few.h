/* The k closest of a few rows, for eight rows at a time, from all their canonical distances.
 *
 * gaps is (m, 8), m up to TW_FEW: rows in the lanes. distances and indices are (n_rows, k), sorted by
 * (distance, index): the place of a distance is how many come before it. As `form` asks, distances
 * are roots, and floats. Returns whether all distances are finite. */
#define TW_LANES ((int)(TW_VECTOR_BYTES / 8))

TW_INLINE void hand_out(int form, const double *restrict from, int count, void *restrict distances, ptrdiff_t at) {
    double *wide = (double *)distances + at;
    float *narrow = (float *)distances + at;
    switch (form) {
        case TW_FEW_ROOT | TW_FEW_FLOAT:
            for (int p = 0; p < count; p++) narrow[p] = (float)__builtin_sqrt(from[p]);
            break;
        case TW_FEW_FLOAT:
            for (int p = 0; p < count; p++) narrow[p] = (float)from[p];
            break;
        case TW_FEW_ROOT:
            for (int p = 0; p < count; p++) wide[p] = __builtin_sqrt(from[p]);
            break;
        default:
            for (int p = 0; p < count; p++) wide[p] = from[p];
    }
}

/* rank (m, 8) is how many distances of a row come before each: smaller ones, and equal ones of lower index. */
TW_INLINE void rank_few(const double *restrict gaps, int m, int64_t *restrict rank) {
    for (int p = 0; p < 8; p += TW_LANES) {
        for (int j = 0; j < m; j++) {
            const tw_f8 gap = *(const tw_f8 *)(gaps + 8 * j + p);
            tw_i8 own = j - (tw_i8){0};
            for (int i = 0; i < j; i++) {
                const tw_i8 less = gap < *(const tw_f8 *)(gaps + 8 * i + p);
                *(tw_i8 *)(rank + 8 * i + p) -= less;
                own += less;
            }
            *(tw_i8 *)(rank + 8 * j + p) = own;
        }
    }
}

static int closest_few(const double *restrict gaps, int m, int k, int n_rows, int form, void *restrict distances,
                       int64_t *restrict indices) {
    double sorted[8 * TW_FEW] __attribute__((aligned(64)));
    int64_t rank[8 * TW_FEW] __attribute__((aligned(64)));
    double sum[8] = {0};
    int finite = 1;
    for (int j = 0; j < m; j++)
        for (int r = 0; r < 8; r++) sum[r] += gaps[8 * j + r] * 0.0;
    for (int r = 0; r < 8; r++) finite &= sum[r] == 0.0;
    if (k == 1) {
        for (int p = 0; p < 8; p += TW_LANES) {
            tw_f8 best = *(const tw_f8 *)(gaps + p);
            tw_i8 at = {0};
            for (int j = 1; j < m; j++) {
                const tw_f8 gap = *(const tw_f8 *)(gaps + 8 * j + p);
                at = tw_less_select_f8(gap, best, j - (tw_i8){0}, at);
                best = tw_min_f8(gap, best);
            }
            *(tw_f8 *)(sorted + p) = best;
            *(tw_i8 *)(rank + p) = at;
        }
        hand_out(form, sorted, n_rows, distances, 0);
        for (int r = 0; r < n_rows; r++) indices[r] = rank[r];
        return finite;
    }
    rank_few(gaps, m, rank);
    if (k == m) {
        for (int j = 0; j < m; j++)
            for (int r = 0; r < n_rows; r++) {
                sorted[r * m + rank[8 * j + r]] = gaps[8 * j + r];
                indices[r * m + rank[8 * j + r]] = j;
            }
        hand_out(form, sorted, n_rows * m, distances, 0);
        return finite;
    }
    int64_t order[8 * TW_FEW];
    for (int j = 0; j < m; j++)
        for (int r = 0; r < n_rows; r++) {
            sorted[r * m + rank[8 * j + r]] = gaps[8 * j + r];
            order[r * m + rank[8 * j + r]] = j;
        }
    for (int r = 0; r < n_rows; r++) {
        hand_out(form, sorted + r * m, k, distances, (ptrdiff_t)r * k);
        for (int p = 0; p < k; p++) indices[r * k + p] = order[r * m + p];
    }
    return finite;
}
#undef TW_LANES
