/* A nest of its own: rows have no tiles, since their entries stand in different columns, and panels
 * come first, so that one of them stays in L2 for all rows.
 *
 * Sparse rows against panels of dense ones in the lanes, from the stored entries alone: the
 * scores of K-Means (minus x.c), and the sums that distances are finished from.
 * Included once per use with T, V, F(name) and F(splat) defined, and TW_TERM, what an entry
 * adds, where that is not the product.
 */
#ifndef TW_TERM
#define TW_TERM(x, c) ((x) * (c))
#endif

#define LANES ((int)(TW_VECTOR_BYTES / sizeof(T)))
/* Entries after which running scores meet the total: one holds the rounding of at most so
 * many additions, half of it in each of two chains. */
#define TW_ENTRIES_BLOCK 64
/* In panels of more bytes than this, columns are fetched so many entries before they are met: they stand
 * anywhere. */
#define TW_CSR_LARGE (1 << 19)
#define TW_CSR_AHEAD 24

/* out (n_rows, ld) gets panel by panel the sums of terms; a panel is (depth, vectors * LANES).
 * Level: running scores in registers, the panel in L2 where it
 * fits, the entries of the chunk from L2. */
TW_INLINE void F(csr_width)(const int vectors, int n_rows, const int32_t *restrict starts,
                            const int32_t *restrict columns, const T *restrict values, ptrdiff_t depth,
                            const T *restrict panels, int n_panels, T *restrict out, ptrdiff_t ld) {
    const ptrdiff_t width = (ptrdiff_t)vectors * LANES;
    const int last = starts[n_rows], ahead = depth * width * (ptrdiff_t)sizeof(T) > TW_CSR_LARGE ? TW_CSR_AHEAD : 0;
    /* 1. panels (L2) */
    for (int p = 0; p < n_panels; p++, panels += depth * width, out += width) {
        /* 2. rows */
        for (int r = 0; r < n_rows; r++) {
            V total[4];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) total[v] = (V){0};
            /* 3. blocks of entries, two at a time */
            for (int e = starts[r]; e < starts[r + 1];) {
                const int stop = starts[r + 1] - e > TW_ENTRIES_BLOCK ? e + TW_ENTRIES_BLOCK : starts[r + 1];
                V even[4], odd[4];
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) even[v] = odd[v] = (V){0};
                for (; e + 2 <= stop; e += 2) {
                    const T *restrict a = panels + columns[e] * width, *restrict b = panels + columns[e + 1] * width;
                    const V x = F(splat)(values[e]), y = F(splat)(values[e + 1]);
                    if (ahead && e + ahead + 1 < last)
#pragma GCC unroll 4
                        for (int v = 0; v < vectors; v++) {
                            __builtin_prefetch(panels + columns[e + ahead] * width + v * LANES);
                            __builtin_prefetch(panels + columns[e + ahead + 1] * width + v * LANES);
                        }
#pragma GCC unroll 4
                    for (int v = 0; v < vectors; v++) {
                        even[v] += TW_TERM(x, *(const V *)(a + v * LANES));
                        odd[v] += TW_TERM(y, *(const V *)(b + v * LANES));
                    }
                }
                if (e < stop) {
                    const T *restrict a = panels + columns[e] * width;
                    const V x = F(splat)(values[e]);
#pragma GCC unroll 4
                    for (int v = 0; v < vectors; v++) even[v] += TW_TERM(x, *(const V *)(a + v * LANES));
                    e++;
                }
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) total[v] += even[v] + odd[v];
            }
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) *(V *)(out + r * ld + v * LANES) = total[v];
        }
    }
}

static void F(csr_scores)(int n_rows, const int32_t *starts, const int32_t *columns, const T *values, ptrdiff_t depth,
                          const T *panels, int n_panels, int panel_vectors, T *out, ptrdiff_t ld) {
    switch (panel_vectors) {
        case 1: F(csr_width)(1, n_rows, starts, columns, values, depth, panels, n_panels, out, ld); break;
        case 2: F(csr_width)(2, n_rows, starts, columns, values, depth, panels, n_panels, out, ld); break;
        default: F(csr_width)(4, n_rows, starts, columns, values, depth, panels, n_panels, out, ld); break;
    }
}

#undef LANES
