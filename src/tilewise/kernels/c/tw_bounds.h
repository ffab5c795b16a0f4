/* Bounds of rows and groups of centres: which rows, and which groups of a row, they leave open. bounds is
 * (n, n_groups) and has room for one vector more; drift is (n_groups), filled up to whole vectors with
 * minus infinity, which hides what stands behind the groups of a row. */
TW_INLINE float least_bound(const float *restrict bounds, const float *restrict drift, int n_groups) {
    enum { N = TW_VECTOR_BYTES / 4 };
    tw_f4 least = splat_f4(__builtin_inff());
    for (int g = 0; g < n_groups; g += N)
        least = min_f4(*(const tw_f4u *)(bounds + g) - *(const tw_f4u *)(drift + g), least);
    return lowest_f4(least)[0];
}

/* Keeps those of n rows whose bounds of all groups do not settle their label; renews the bound of every
 * other centre. Returns how many. */
static int open_by_groups(int n, int64_t *ids, const float *bounds, const float *drift, int n_groups,
                          const float *upper, float *lower) {
    int kept = 0;
    for (int r = 0; r < n; r++) {
        const int64_t i = ids[r];
        const float least = least_bound(bounds + i * n_groups, drift, n_groups);
        lower[i] = least > 0 ? least : 0;
        ids[kept] = i;
        kept += !(upper[i] < least);
    }
    return kept;
}

/* Lists the groups of a row that may hold a centre within `limit`, and its own; all if the limit is not
 * finite. Returns how many. */
static int near_groups(const float *bounds, const float *drift, int n_groups, float limit, int32_t own,
                       int32_t *groups) {
    enum { N = TW_VECTOR_BYTES / 4 };
    int n = 0;
    if (!(limit < 3e38f)) {
        for (int g = 0; g < n_groups; g++) groups[g] = g;
        return n_groups;
    }
    for (int g = 0; g < n_groups; g += N) {
        uint32_t bits = not_above_f4(*(const tw_f4u *)(bounds + g) - *(const tw_f4u *)(drift + g), splat_f4(limit));
        if ((uint32_t)(own - g) < N) bits |= 1u << (own - g);
        for (; bits; bits &= bits - 1) groups[n++] = g + __builtin_ctz(bits);
    }
    return n;
}
