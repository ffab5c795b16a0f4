/* The k closest of a few rows, for eight rows at a time, from all their canonical distances.
 *
 * gaps is (m, 8), m up to TW_BRUTE_FORCE_ROWS: rows in the lanes. distances and indices are (n_rows, k), sorted by
 * (distance, index): the place of a distance is how many come before it. As `form` asks, distances
 * are roots, and floats. Returns whether all distances are finite. */
#define TW_LANES ((int)(TW_VECTOR_BYTES / 8))

typedef float tw_half_vector __attribute__((vector_size(TW_VECTOR_BYTES / 2), may_alias));

/* n + 1 where a < b. */
#if defined(__AVX512F__)
TW_INLINE tw_i8 one_more(tw_i8 n, tw_f8 a, tw_f8 b) {
    return (tw_i8)_mm512_mask_sub_epi64((__m512i)n, _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LT_OQ), (__m512i)n,
                                        _mm512_set1_epi64(-1));
}
TW_INLINE tw_i8 one_less(tw_i8 n, tw_f8 a, tw_f8 b) {
    return (tw_i8)_mm512_mask_add_epi64((__m512i)n, _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LT_OQ), (__m512i)n,
                                        _mm512_set1_epi64(-1));
}
#else
TW_INLINE tw_i8 one_more(tw_i8 n, tw_f8 a, tw_f8 b) { return n - (tw_i8)(a < b); }
TW_INLINE tw_i8 one_less(tw_i8 n, tw_f8 a, tw_f8 b) { return n + (tw_i8)(a < b); }
#endif

/* Columns j to j + count of one vector meet each other and all before them: of two, the later one
 * comes first only if it is smaller. */
TW_INLINE void rank_some(const int count, int j, const double *restrict gaps, int64_t *restrict rank) {
    tw_f8 gap[4];
    tw_i8 own[4];
#pragma GCC unroll 4
    for (int t = 0; t < count; t++) {
        gap[t] = *(const tw_f8 *)(gaps + 8 * (j + t));
        own[t] = (j + t) - (tw_i8){0};
    }
#pragma GCC unroll 4
    for (int t = 1; t < count; t++)
#pragma GCC unroll 4
        for (int s = 0; s < t; s++) {
            own[s] = one_more(own[s], gap[t], gap[s]);
            own[t] = one_less(own[t], gap[t], gap[s]);
        }
    for (int i = 0; i < j; i++) {
        const tw_f8 before = *(const tw_f8 *)(gaps + 8 * i);
        tw_i8 other = *(const tw_i8 *)(rank + 8 * i);
#pragma GCC unroll 4
        for (int t = 0; t < count; t++) {
            other = one_more(other, gap[t], before);
            own[t] = one_less(own[t], gap[t], before);
        }
        *(tw_i8 *)(rank + 8 * i) = other;
    }
#pragma GCC unroll 4
    for (int t = 0; t < count; t++) *(tw_i8 *)(rank + 8 * (j + t)) = own[t];
}

/* rank (m, 8) is how many distances of a row come before each: smaller ones, and equal ones of lower index. */
TW_INLINE void rank_all(const double *restrict gaps, int m, int64_t *restrict rank) {
    for (int p = 0; p < 8; p += TW_LANES) {
        int j = 0;
        for (; j + 4 <= m; j += 4) rank_some(4, j, gaps + p, rank + p);
        switch (m - j) {
            case 1: rank_some(1, j, gaps + p, rank + p); break;
            case 2: rank_some(2, j, gaps + p, rank + p); break;
            case 3: rank_some(3, j, gaps + p, rank + p); break;
            default: break;
        }
    }
}

/* values (count) of `form`; whole vectors are read. */
TW_INLINE void finish_values(const int form, const double *restrict squares, int count, void *restrict values) {
    for (int i = 0; i < count; i += TW_LANES) {
        tw_f8 value = *(const tw_f8 *)(squares + i);
        if (form & TW_AS_ROOT) value = root_f8(value, i / TW_LANES);
        const size_t some = (size_t)(count - i < TW_LANES ? count - i : TW_LANES);
        if (form & TW_AS_FLOAT) {
            const tw_half_vector narrow = __builtin_convertvector(value, tw_half_vector);
            __builtin_memcpy((float *)values + i, &narrow, some * sizeof(float));
        } else {
            __builtin_memcpy((double *)values + i, &value, some * sizeof(double));
        }
    }
}

static void finish_form(int form, const double *restrict squares, int count, void *restrict values) {
    switch (form) {
        case TW_AS_ROOT | TW_AS_FLOAT: finish_values(TW_AS_ROOT | TW_AS_FLOAT, squares, count, values); break;
        case TW_AS_FLOAT: finish_values(TW_AS_FLOAT, squares, count, values); break;
        case TW_AS_ROOT: finish_values(TW_AS_ROOT, squares, count, values); break;
        default: finish_values(0, squares, count, values);
    }
}

/* Every value and its index to its place, rows k apart. Unless they are all (`whole`), places from k
 * on are cut to k, the first of the next row, which is filled later: there must be room for one
 * number more. */
#define PLACE_VALUES(NAME, T)                                                                                \
    TW_INLINE void NAME(const int whole, int n_rows, int m, int k, const T *restrict values,              \
                        const int64_t *restrict rank, T *restrict distances, int64_t *restrict indices) { \
        for (int r = 0; r < n_rows; r++, distances += k, indices += k)                                    \
            for (int j = 0; j < m; j++) {                                                                 \
                const int64_t place = rank[8 * j + r], at = whole || place < k ? place : k;               \
                distances[at] = values[8 * j + r];                                                        \
                indices[at] = j;                                                                          \
            }                                                                                             \
    }
PLACE_VALUES(place_f4, float)
PLACE_VALUES(place_f8, double)
#undef PLACE_VALUES

static int brute_force(const double *restrict gaps, int m, int k, int n_rows, int form, void *restrict distances,
                       int64_t *restrict indices) {
    int64_t rank[8 * TW_BRUTE_FORCE_ROWS] __attribute__((aligned(64)));
    const tw_f8 largest = __DBL_MAX__ - (tw_f8){0};
    tw_f8 sum = {0};
    int finite = 1;
    for (int j = 0; j < 8 * m; j += TW_LANES) sum += *(const tw_f8 *)(gaps + j);
    if (not_above_f8(sum, largest) != (1u << TW_LANES) - 1) {
        /* No term is below zero: a sum may have overflowed where none of them has. */
        for (int j = 0; j < 8 * m; j++) finite &= gaps[j] < __builtin_inf();
    }
    double sorted[8 * TW_BRUTE_FORCE_ROWS + 8] __attribute__((aligned(64)));
    int64_t order[8 * TW_BRUTE_FORCE_ROWS + 8] __attribute__((aligned(64)));
    if (k == 1) {
        for (int p = 0; p < 8; p += TW_LANES) {
            tw_f8 best = *(const tw_f8 *)(gaps + p);
            tw_i8 at = {0};
            for (int j = 1; j < m; j++) {
                const tw_f8 gap = *(const tw_f8 *)(gaps + 8 * j + p);
                at = less_select_f8(gap, best, j - (tw_i8){0}, at);
                best = min_f8(gap, best);
            }
            *(tw_f8 *)(sorted + p) = best;
            *(tw_i8 *)(order + p) = at;
        }
    } else {
        rank_all(gaps, m, rank);
        if (k == m) {
            double values[8 * TW_BRUTE_FORCE_ROWS] __attribute__((aligned(64)));
            finish_form(form, gaps, 8 * m, values);
            if (form & TW_AS_FLOAT)
                place_f4(1, n_rows, m, m, (const float *)values, rank, distances, indices);
            else
                place_f8(1, n_rows, m, m, values, rank, distances, indices);
            return finite;
        }
        place_f8(0, n_rows, m, k, gaps, rank, sorted, order);
    }
    finish_form(form, sorted, n_rows * k, distances);
    __builtin_memcpy(indices, order, (size_t)(n_rows * k) * sizeof *order);
    return finite;
}
#undef TW_LANES
