/* Rows against groups of TW_GROUP_CENTRES centres each, where a lower bound per row and group tells which
 * groups a row has to meet. Included once per type of the scores.
 *
 * An entry is one row that meets one group. Entries stand row after row; `places` says where each of them
 * stands when they are sorted by group. What a group leaves of a row stands in that second order: `low` the
 * least score, `where` the slot of its centre (-1: no score is a number), `next` the least of the others.
 */

#define LANES ((int)(TW_VECTOR_BYTES / sizeof(T)))

/* Lanes of v, but for one of them, which is infinite. */
TW_INLINE V F(without)(V v, int lane) {
    VI lanes;
    for (int l = 0; l < LANES; l++) lanes[l] = l;
    const VI mine = lanes == F(splat_index)((I)lane);
    return (V)(((VI)v & ~mine) | ((VI)F(splat)((T)__builtin_inf()) & mine));
}

/* acc is (ROWS, VECTORS): scores of ROWS rows, wherever they stand, against one panel, in the blocks of the
 * depth of F(walk), so that their error bound is the same. */
TW_INLINE void F(score_rows)(const T *const *rows, const T *restrict panel, int depth, int depth_block,
                             V acc[TW_TILE_ROWS][TW_PANEL_VECTORS]) {
    enum { WIDTH = TW_PANEL_VECTORS * LANES };
    const T *x[TW_TILE_ROWS];
    V partial[TW_TILE_ROWS][TW_PANEL_VECTORS];
#pragma GCC unroll 16
    for (int r = 0; r < TW_TILE_ROWS; r++) x[r] = rows[r];
    ptrdiff_t l = 0;
    do {
        const ptrdiff_t stop = depth - l > depth_block ? l + depth_block : depth;
        const int later = l > 0, last = stop == depth;
#pragma GCC unroll 16
        for (int r = 0; r < TW_TILE_ROWS; r++)
#pragma GCC unroll 4
            for (int v = 0; v < TW_PANEL_VECTORS; v++) acc[r][v] = later ? (V){0} : *(const V *)(panel + v * LANES);
        for (; l < stop; l++) {
            V c[TW_PANEL_VECTORS];
#pragma GCC unroll 4
            for (int v = 0; v < TW_PANEL_VECTORS; v++) c[v] = *(const V *)(panel + (l + 1) * WIDTH + v * LANES);
#pragma GCC unroll 16
            for (int r = 0; r < TW_TILE_ROWS; r++) {
                const V broadcast = F(splat)(x[r][l]);
#pragma GCC unroll 4
                for (int v = 0; v < TW_PANEL_VECTORS; v++) acc[r][v] += broadcast * c[v];
            }
        }
        if (later || !last)
#pragma GCC unroll 16
            for (int r = 0; r < TW_TILE_ROWS; r++)
#pragma GCC unroll 4
                for (int v = 0; v < TW_PANEL_VECTORS; v++) {
                    if (later) acc[r][v] += partial[r][v];
                    partial[r][v] = acc[r][v];
                }
    } while (l < depth);
}

/* n rows against the panels of one group, the first slot of which is `first`. low, next, where are (n). */
static void F(meet_group)(int n, const T *const *rows, int depth, int depth_block, const T *panels, int n_panels,
                          int first, T *restrict low, T *restrict next, int32_t *restrict where) {
    const ptrdiff_t panel_step = (ptrdiff_t)(depth + 1) * TW_PANEL_VECTORS * LANES;
    /* 1. tiles of rows; the last is filled up with its last row */
    for (int at = 0; at < n; at += TW_TILE_ROWS) {
        const int count = n - at < TW_TILE_ROWS ? n - at : TW_TILE_ROWS;
        const T *x[TW_TILE_ROWS];
        V best[TW_TILE_ROWS], second[TW_TILE_ROWS];
        VI ordinal[TW_TILE_ROWS];
        for (int r = 0; r < TW_TILE_ROWS; r++) {
            x[r] = rows[at + (r < count ? r : count - 1)];
            best[r] = second[r] = F(splat)((T)__builtin_inf());
            ordinal[r] = F(splat_index)(-1);
        }
        /* 2. panels (L2) */
        for (int p = 0; p < n_panels; p++) {
            V acc[TW_TILE_ROWS][TW_PANEL_VECTORS];
            F(score_rows)(x, panels + p * panel_step, depth, depth_block, acc);
#pragma GCC unroll 16
            for (int r = 0; r < TW_TILE_ROWS; r++)
#pragma GCC unroll 4
                for (int v = 0; v < TW_PANEL_VECTORS; v++)
                    F(fold)(acc[r][v], F(splat_index)(p * TW_PANEL_VECTORS + v), &best[r], &second[r], &ordinal[r]);
        }
        for (int r = 0; r < count; r++) {
            const V least = F(lowest)(best[r]);
            const uint32_t bits = F(not_above)(best[r], least);
            const int lane = bits ? __builtin_ctz(bits) : 0;
            const I which = ordinal[r][lane];
            low[at + r] = least[0];
            next[at + r] = F(lowest)(F(min)(F(without)(best[r], lane), second[r]))[0];
            where[at + r] = which < 0 ? -1 : (int32_t)(first + which * LANES + lane);
        }
    }
}

/* slot is (rows): that of the one centre within band of the lowest score among all that the row met, or -1;
 * lowest and second_lowest the two least scores. The entries of row r begin at starts[r]. */
static void F(certify_groups)(int n_rows, const int32_t *restrict starts, const int32_t *restrict places,
                              const T *restrict low, const T *restrict next, const int32_t *restrict where,
                              const T *restrict band, int32_t *restrict slot, T *restrict lowest,
                              T *restrict second_lowest) {
    for (int r = 0; r < n_rows; r++) {
        T best = (T)__builtin_inf(), second = best;
        int32_t at = -1;
        for (int e = starts[r]; e < starts[r + 1]; e++) {
            const T l = low[places[e]];
            if (l < best) {
                const T other = next[places[e]];
                second = other < best ? other : best;
                best = l;
                at = where[places[e]];
            } else if (l < second) {
                second = l;
            }
        }
        lowest[r] = best;
        second_lowest[r] = second;
        slot[r] = second > best + band[r] ? at : -1;
    }
}

/* Renews the bounds of the groups that the rows ids (n_rows) met, and their bound of every other centre.
 * slot is (n_rows), that of their label; bounds (n, n_groups). A bound is kept with the drift of its group
 * so far, below[g] at most, and read with above[g] at least: see docs/exact-labels.md. */
static void F(renew_groups)(int n_rows, const int64_t *restrict ids, const int32_t *restrict starts,
                            const int32_t *restrict groups, const int32_t *restrict places, const T *restrict low,
                            const T *restrict next, const int32_t *restrict where, const int32_t *restrict slot,
                            const T *restrict norms, const T *restrict band, T norm_error, double unscale,
                            const float *restrict below, const float *restrict above, int n_groups,
                            float *restrict bounds, float *restrict lower) {
    for (int r = 0; r < n_rows; r++) {
        float *restrict own = bounds + ids[r] * n_groups;
        const T error = band[r] + norm_error * norms[r];
        for (int e = starts[r]; e < starts[r + 1]; e++) {
            const int32_t at = places[e], g = groups[e];
            const T score = where[at] == slot[r] ? next[at] : low[at];
            const T square = norms[r] + 2 * score - error;
            const double size = (double)ROOT(square > 0 ? square : 0) * unscale * (1 - 1.2e-6) + below[g];
            const double kept = size - __builtin_fabs(size) * 0x1p-23;
            own[g] = (float)(kept < 3e38 ? kept : 3e38);
        }
        const float least = least_bound(own, above, n_groups);
        lower[ids[r]] = least > 0 ? least : 0;
    }
}

#undef LANES
