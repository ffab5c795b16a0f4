/* The tile body: scores of a few packed rows against one panel of centres, kept in
 * registers, folded at once into best and second best per lane. Included once per
 * score type with T, I, V, VI, VU and F(name) defined.
 */

#define LANES ((int)(TW_VECTOR_BYTES / sizeof(T)))

TW_INLINE V F(splat)(T x) { return x - (V){0}; }
TW_INLINE VI F(splat_index)(I x) { return x - (VI){0}; }

TW_INLINE void F(step)(const int vectors, const T *restrict x, const T *restrict panel,
                       V acc[TW_TILE_ROWS][TW_PANEL_VECTORS]) {
    V c[TW_PANEL_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) c[v] = *(const V *)(panel + v * LANES);
#pragma GCC unroll 16
    for (int r = 0; r < TW_TILE_ROWS; r++) {
        const V broadcast = F(splat)(x[r * LANES]);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) acc[r][v] += broadcast * c[v];
    }
}

/* acc is (ROWS, vectors): acc += rows (ROWS, depth) x panel (depth, vectors * LANES).
 * ahead, if given, holds as many rows of data that will be packed next: they are fetched a
 * segment at a time, from byte `at` on, while the multiplier is busy.
 * Level: acc and one row of the panel in registers; the row tile in L1; the panel
 * streams from L2 (or L1 where it fits). */
TW_INLINE void F(multiply)(const int vectors, const T *restrict x, const T *restrict panel, int depth,
                           const char *const *ahead, ptrdiff_t at, ptrdiff_t bytes,
                           V acc[TW_TILE_ROWS][TW_PANEL_VECTORS]) {
    /* 1. segments of the depth, one vector wide in the packed rows */
    for (; depth >= LANES; depth -= LANES) {
        if (ahead) {
            for (ptrdiff_t end = at + bytes; at < end; at += 64)
                for (int r = 0; r < TW_TILE_ROWS; r++) __builtin_prefetch(ahead[r] + at, 0, 2);
        }
        /* 2. one step of the depth */
#pragma GCC unroll 2
        for (int l = 0; l < LANES; l++) F(step)(vectors, x + l, panel + l * (vectors * LANES), acc);
        panel += vectors * LANES * LANES;
        x += TW_TILE_ROWS * LANES;
    }
    for (int l = 0; l < depth; l++, panel += vectors * LANES) F(step)(vectors, x + l, panel, acc);
}

TW_INLINE void F(fold)(V score, VI ordinal, V *best, V *second, VI *index) {
    *second = F(min)(*second, F(max)(*best, score));
    *index = F(less_select)(score, *best, ordinal, *index);
    *best = F(min)(score, *best);
}

/* Packed rows and panels that meet, as in tw_kernels.h. scratch is (n_panels, ROWS, width), used where
 * there are several blocks of the depth. */
typedef struct {
    const T *tiles, *panels;
    int n_tiles, depth, depth_block, n_panels;
    T *scratch;
    const char *const *ahead;
    int ahead_item;
} F(meeting);

/* What becomes of the scores of one tile and one panel: acc is (ROWS, vectors). */
typedef void (*F(consumer))(const int vectors, V acc[TW_TILE_ROWS][TW_PANEL_VECTORS], int tile, int panel,
                            const void *what);

/* The tiles from `tile` on against every panel: `look` gets the scores while they stand in registers.
 * With `full` it is asked of every tile whether to stop behind it. Returns the tile to go on with. */
TW_INLINE int F(walk)(const int vectors, const F(meeting) *m, int tile, const F(consumer) look, const void *what,
                      int (*const full)(const void *what, int tile)) {
    const int width = vectors * LANES, depth = m->depth;
    const ptrdiff_t panel_step = (ptrdiff_t)(depth + 1) * width;
    const ptrdiff_t tile_step = (ptrdiff_t)((depth + LANES - 1) / LANES) * LANES * TW_TILE_ROWS;

    /* 1. row tiles (L1) */
    for (; tile < m->n_tiles; tile++) {
        const T *x = m->tiles + tile * tile_step;
        int start = 0;
        /* 2. blocks of the depth: one, unless a row is long */
        do {
            const int stop = depth - start > m->depth_block ? start + m->depth_block : depth;
            /* 3. panels (from L2) */
            for (int p = 0; p < m->n_panels; p++) {
                const T *panel = m->panels + p * panel_step;
                V *partial = (V *)(m->scratch + (ptrdiff_t)p * TW_TILE_ROWS * width);
                V acc[TW_TILE_ROWS][TW_PANEL_VECTORS];
                V from[TW_PANEL_VECTORS];
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) from[v] = start == 0 ? *(const V *)(panel + v * LANES) : (V){0};
#pragma GCC unroll 16
                for (int r = 0; r < TW_TILE_ROWS; r++)
#pragma GCC unroll 4
                    for (int v = 0; v < vectors; v++) acc[r][v] = from[v];
                F(multiply)(vectors, x + (ptrdiff_t)start * TW_TILE_ROWS, panel + (ptrdiff_t)(start + 1) * width,
                            stop - start, m->ahead && p == 0 ? m->ahead + tile * TW_TILE_ROWS : NULL,
                            (ptrdiff_t)start * m->ahead_item, LANES * m->ahead_item, acc);
                if (start > 0 || stop < depth) {
#pragma GCC unroll 16
                    for (int r = 0; r < TW_TILE_ROWS; r++)
#pragma GCC unroll 4
                        for (int v = 0; v < vectors; v++) {
                            if (start) acc[r][v] += partial[r * vectors + v];
                            if (stop < depth) partial[r * vectors + v] = acc[r][v];
                        }
                }
                if (stop == depth) look(vectors, acc, tile, p, what);
            }
            start = stop;
        } while (start < depth);
        if (full && full(what, tile)) return tile + 1;
    }
    return tile;
}

/* Where scores are folded: see tw_kernels.h. */
typedef struct {
    int first; /* ordinal of the first vector */
    T *best, *second;
    I *ordinal;
} F(folding);

TW_INLINE void F(fold_tile)(const int vectors, V acc[TW_TILE_ROWS][TW_PANEL_VECTORS], int tile, int panel,
                            const void *what) {
    const F(folding) *f = what;
    const ptrdiff_t start = (ptrdiff_t)tile * TW_TILE_ROWS * LANES;
    T *restrict best = f->best + start, *restrict second = f->second + start;
    I *restrict ordinal = f->ordinal + start;
    VI which[TW_PANEL_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) which[v] = F(splat_index)(f->first + panel * vectors + v);
#pragma GCC unroll 16
    for (int r = 0; r < TW_TILE_ROWS; r++) {
        V b = *(V *)(best + r * LANES), s = *(V *)(second + r * LANES);
        VI o = *(VI *)(ordinal + r * LANES);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) F(fold)(acc[r][v], which[v], &b, &s, &o);
        *(V *)(best + r * LANES) = b;
        *(V *)(second + r * LANES) = s;
        *(VI *)(ordinal + r * LANES) = o;
    }
}

static void F(assign)(const T *tiles, int n_tiles, int depth, int depth_block,
                      const T *panels, int n_panels, int panel_vectors, int first_ordinal,
                      T *best, T *second, I *ordinal, T *scratch,
                      const void *const *ahead, int ahead_item) {
    const F(meeting) m = {tiles, panels, n_tiles, depth, depth_block, n_panels, scratch,
                          (const char *const *)ahead, ahead_item};
    const F(folding) f = {first_ordinal, best, second, ordinal};
    if (panel_vectors == 1)
        F(walk)(1, &m, 0, F(fold_tile), &f, NULL);
    else
        F(walk)(TW_PANEL_VECTORS, &m, 0, F(fold_tile), &f, NULL);
}

/* A nest of its own: a few rows, eight vectors of panels at a time. A whole tile of the walk takes as
 * long as six such rows (k = 1000, d = 100: 14.5 us against 2.6 us for one row, 13.3 us for six), and
 * there is mostly one; row after row, six take 1.19 times as long.
 *
 * Scores some packed rows against every panel again and lists, for each, the centres at or
 * below its limit: for rows where a lane holds more than its best within the band. The same
 * blocks of the depth keep the same error bound. candidates is (n_rows, room); counts is (n_rows),
 * -1 for a row with more than room. Several rows share each fetch of the panels. */
static void F(collect)(int n_rows, const T *const *rows, const T *limits, int depth, int depth_block,
                       const T *panels, int n_panels, int panel_vectors, int32_t *candidates, int *counts, int room) {
    const ptrdiff_t width = panel_vectors * LANES, panel_step = (ptrdiff_t)(depth + 1) * width;
    const int n_vectors = n_panels * panel_vectors;
    for (int r = 0; r < n_rows; r++) counts[r] = 0;
    /* 1. eight vectors of centres at a time (L2): enough chains to hide the latency of an addition */
    for (int start = 0; start < n_vectors; start += 8) {
        const T *c[8];
        for (int v = 0; v < 8; v++) {
            const int vector = start + v < n_vectors ? start + v : n_vectors - 1;
            c[v] = panels + vector / panel_vectors * panel_step + vector % panel_vectors * LANES;
        }
        /* 2. rows */
        for (int r = 0; r < n_rows; r++) {
            const T *x = rows[r];
            V acc[8], rest[8];
            for (int v = 0; v < 8; v++) acc[v] = *(const V *)c[v];
            /* 3. blocks of the depth */
            for (int from = 0; from < depth; from += depth_block) {
                const int to = from + depth_block < depth ? from + depth_block : depth;
                for (int v = 0; v < 8; v++) rest[v] = from ? (V){0} : acc[v];
                for (int l = from; l < to; l++) {
                    const V broadcast = F(splat)(x[l / LANES * (TW_TILE_ROWS * LANES) + l % LANES]);
#pragma GCC unroll 8
                    for (int v = 0; v < 8; v++) rest[v] += broadcast * *(const V *)(c[v] + (l + 1) * width);
                }
                for (int v = 0; v < 8; v++) acc[v] = from ? acc[v] + rest[v] : rest[v];
            }
            for (int v = 0; v < 8 && start + v < n_vectors; v++)
                for (uint32_t bits = F(not_above)(acc[v], F(splat)(limits[r])); bits; bits &= bits - 1) {
                    if (counts[r] < 0 || counts[r] == room)
                        counts[r] = -1;
                    else
                        candidates[r * room + counts[r]++] = (start + v) * LANES + __builtin_ctz(bits);
                }
        }
    }
}

/* label is (rows): the centre whose score is the only one within band of the lowest,
 * or -1. lowest is the lowest score of the row and, where there is a label, second_lowest the second
 * lowest. */
static void F(certify)(int n_rows, const T *best, const T *second, const I *ordinal,
                       const T *band, int32_t *label, T *lowest, T *second_lowest) {
    for (int r = 0; r < n_rows; r++) {
        const V b = *(const V *)(best + r * LANES), s = *(const V *)(second + r * LANES);
        const V low = F(lowest)(b);
        const V limit = low + F(splat)(band[r]);
        const uint32_t within = F(not_above)(b, limit);
        const uint32_t crowded = F(not_above)(s, limit) | (within & (within - 1));
        const int lane = within ? __builtin_ctz(within) : 0;
        const I where = ordinal[r * LANES + lane];
        label[r] = within && !crowded ? (int32_t)(where * LANES + lane) : -1;
        V others = b;
        others[lane] = __builtin_inf();
        lowest[r] = low[0];
        second_lowest[r] = F(lowest)(F(min)(others, s))[0];
    }
}

/* A nest of its own, because best and second best stay in registers from group to group: in the walk,
 * where they go through memory, it reached 0.88 to 0.99 of its speed (d = 4, k = 64: 1.79 us against
 * 1.58).
 *
 * The same fold with rows in the lanes: nothing is left to reduce across lanes, which
 * pays where rows are short. Level: row panel and group in L1, state in registers. */
static void F(assign_lanes)(const T *row_panels, int n_row_panels, int depth,
                            const T *groups, int n_groups, int first,
                            T *restrict best, T *restrict second, I *restrict index) {
    const ptrdiff_t width = TW_ROW_PANEL_VECTORS * LANES;
    const ptrdiff_t group_step = (ptrdiff_t)(depth + 1) * TW_GROUP;
    for (int p = 0; p < n_row_panels; p++) {
        const T *x = row_panels + p * width * depth;
        V b[TW_ROW_PANEL_VECTORS], s[TW_ROW_PANEL_VECTORS];
        VI o[TW_ROW_PANEL_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < TW_ROW_PANEL_VECTORS; v++) {
            b[v] = *(V *)(best + p * width + v * LANES);
            s[v] = *(V *)(second + p * width + v * LANES);
            o[v] = *(VI *)(index + p * width + v * LANES);
        }
        for (int g = 0; g < n_groups; g++) {
            const T *c = groups + g * group_step;
            V acc[TW_GROUP][TW_ROW_PANEL_VECTORS];
#pragma GCC unroll 16
            for (int j = 0; j < TW_GROUP; j++)
#pragma GCC unroll 4
                for (int v = 0; v < TW_ROW_PANEL_VECTORS; v++) acc[j][v] = F(splat)(c[j]);
            c += TW_GROUP;
            for (int l = 0; l < depth; l++, c += TW_GROUP) {
                V xl[TW_ROW_PANEL_VECTORS];
#pragma GCC unroll 4
                for (int v = 0; v < TW_ROW_PANEL_VECTORS; v++)
                    xl[v] = *(const V *)(x + l * width + v * LANES);
#pragma GCC unroll 16
                for (int j = 0; j < TW_GROUP; j++) {
                    const V broadcast = F(splat)(c[j]);
#pragma GCC unroll 4
                    for (int v = 0; v < TW_ROW_PANEL_VECTORS; v++) acc[j][v] += broadcast * xl[v];
                }
            }
#pragma GCC unroll 16
            for (int j = 0; j < TW_GROUP; j++) {
                const VI which = F(splat_index)(first + g * TW_GROUP + j);
#pragma GCC unroll 4
                for (int v = 0; v < TW_ROW_PANEL_VECTORS; v++) F(fold)(acc[j][v], which, &b[v], &s[v], &o[v]);
            }
        }
#pragma GCC unroll 4
        for (int v = 0; v < TW_ROW_PANEL_VECTORS; v++) {
            *(V *)(best + p * width + v * LANES) = b[v];
            *(V *)(second + p * width + v * LANES) = s[v];
            *(VI *)(index + p * width + v * LANES) = o[v];
        }
    }
}

static void F(certify_lanes)(int n_rows, const T *restrict best, const T *restrict second,
                             const I *restrict index, const T *restrict band, int32_t *restrict label) {
    for (int r = 0; r < n_rows; r++)
        label[r] = second[r] > best[r] + band[r] ? (int32_t)index[r] : -1;
}

/* band is twice the error bound of a row's scores; infinite where the norm is so large that
 * the bound itself could overflow. */
static void F(bands)(int n_rows, const T *restrict norms, T fixed, T per_norm, T per_square, T *restrict band) {
    for (int r = 0; r < n_rows; r++) {
        const T norm = norms[r];
        const T width = fixed + per_norm * ROOT(norm) + per_square * norm;
        band[r] = norm < (T)1e30 ? width : (T)__builtin_inf();
    }
}

/* upper, lower are (rows): bounds of the distance to the closest centre and to every other
 * one. The squared distance is |x|^2 + 2 s, each with its error; the factors and the 1e-37
 * cover this function's own rounding and underflow. */
static void F(renew)(int n_rows, const T *restrict lowest, const T *restrict second_lowest, const T *restrict norms,
                     const T *restrict band, T norm_error, double unscale, float *restrict upper,
                     float *restrict lower) {
    for (int r = 0; r < n_rows; r++) {
        const T error = band[r] + norm_error * norms[r];
        T above = norms[r] + 2 * lowest[r] + error, below = norms[r] + 2 * second_lowest[r] - error;
        above = above > 0 ? above : 0;
        below = below > 0 ? below : 0;
        const double up = (double)ROOT(above) * unscale, low = (double)ROOT(below) * unscale;
        upper[r] = (float)(up * (1 + 1e-6) + 1e-37);
        lower[r] = (float)(low * (1 - 1e-6) < 3e38 ? low * (1 - 1e-6) : 3e38);
    }
}

/* Best and second best of rows of scores that already stand in memory: the consumer of
 * the BLAS engine. scores is (rows, k) holding minus x.c; index is the column. */
static void F(scan)(int n_rows, int k, const T *scores, ptrdiff_t ld, const T *half_norms,
                    T *best, T *second, I *index) {
    for (int r = 0; r < n_rows; r++) {
        const T *row = scores + r * ld;
        V b = F(splat)(__builtin_inf()), s = b;
        VI o = F(splat_index)(-1);
        int j = 0;
        for (; j + LANES <= k; j += LANES)
            F(fold)(*(const VU *)(row + j) + *(const VU *)(half_norms + j), F(splat_index)(j / LANES), &b, &s, &o);
        if (j < k) {
            V tail = F(splat)(__builtin_inf());
            for (int l = 0; j + l < k; l++) tail[l] = row[j + l] + half_norms[j + l];
            F(fold)(tail, F(splat_index)(j / LANES), &b, &s, &o);
        }
        *(V *)(best + r * LANES) = b;
        *(V *)(second + r * LANES) = s;
        *(VI *)(index + r * LANES) = o;
    }
}

#undef LANES
