/* Rows x panels of distances: one walk over blocks of the depth, panels and tiles of rows, and the
 * products that most of the metrics come from. Included once per type, with the names of tw_score.h,
 * LANES, BLOCKED (whether panels lie in blocks of the depth), PRODUCT_BLOCK (elements whose panels and
 * rows stay in L1), PRODUCT_CHAIN (those of one running sum) and F(centred) defined.
 */

/* Where vector v of the panels has element l: see tw_pair.h. */
TW_INLINE T *F(panel)(T *panels, int vectors, int depth, int v, int l) {
    if (!BLOCKED) return panels + ((ptrdiff_t)v * depth + l) * LANES;
    const int start = l / TW_PAIR_DEPTH * TW_PAIR_DEPTH;
    const int length = depth - start < TW_PAIR_DEPTH ? depth - start : TW_PAIR_DEPTH;
    return panels + ((ptrdiff_t)start * vectors + (ptrdiff_t)v * length + (l - start)) * LANES;
}

/* Some rows and one or two vectors of others, which are panel_step apart. Sums over `length` elements
 * go to out (rows, vectors * LANES), and are joined to what stands there unless they are the first. */
typedef struct {
    const tw_pair_job *job;
    const T *x;
    ptrdiff_t row_step;
    const T *panels;
    ptrdiff_t panel_step;
    int length, first, turn; /* turn: the place of the sums in `out` */
    T *out;
    ptrdiff_t out_step;
} F(meeting);

typedef void (*F(producer))(const int kind, const int rows, const int vectors, const F(meeting) *m);

/* How a producer wants its rows and panels. */
typedef struct {
    int rows, fewer; /* of a tile, and of the tiles of what is left before single rows */
    int vectors;
    int block;       /* of the depth */
    int packed;      /* rows in tiles of TW_PAIR_TILE, see pack_tiles: those beyond the last are no harm */
} F(shape);

/* The rows from r on. */
TW_INLINE void F(cover_tile)(const F(producer) make, const int kind, const int rows, const int vectors, F(meeting) m,
                             int r) {
    m.x += r * m.row_step;
    m.out += r * m.out_step;
    m.turn += r;
    make(kind, rows, vectors, &m);
}

/* tile is what lies between two packed tiles, less their rows. */
TW_INLINE void F(cover_rows)(const F(producer) make, const int kind, const F(shape) s, const int vectors, int count,
                             ptrdiff_t tile, F(meeting) m) {
    int r = 0;
    if (s.packed)
        for (; r < count; m.x += s.rows * LANES, m.out += s.rows * m.out_step) {
            make(kind, s.rows, vectors, &m);
            r += s.rows;
            if (s.rows == TW_PAIR_TILE || r % TW_PAIR_TILE == 0) m.x += tile;
        }
    if (s.packed) return;
    for (; r + s.rows <= count; r += s.rows) F(cover_tile)(make, kind, s.rows, vectors, m, r);
    if (s.fewer > 1)
        for (; r + s.fewer <= count; r += s.fewer) F(cover_tile)(make, kind, s.fewer, vectors, m, r);
    if (s.rows > 1)
        for (; r < count; r++) F(cover_tile)(make, kind, 1, vectors, m, r);
}

/* x is (count, depth), scratch (count, whole vectors): whole tiles of rows where they are packed. */
TW_INLINE void F(cover)(const F(producer) make, const int kind, const F(shape) shape, const int depth,
                        const tw_pair_job *job, const T *x, int count) {
    const int vectors = (job->n_columns + LANES - 1) / LANES;
    const ptrdiff_t tile = (ptrdiff_t)((depth - 1) / LANES * LANES) * TW_PAIR_TILE;
    F(meeting) m = {.job = job, .row_step = job->row_step, .out_step = (ptrdiff_t)vectors * LANES};
    /* 1. blocks of the depth: sums rest in scratch (L1 or L2) */
    for (int start = 0; start == 0 || start < depth; start += shape.block) {
        m.length = depth - start < shape.block ? depth - start : shape.block;
        m.first = start == 0;
        m.x = shape.packed ? (const T *)job->packed + (ptrdiff_t)start * TW_PAIR_TILE : x + start;
        m.panel_step = (ptrdiff_t)(BLOCKED ? m.length : depth) * LANES;
        m.panels = (const T *)job->panels + start * (BLOCKED ? m.out_step : LANES);
        m.out = job->scratch;
        /* 2. panels (from L2), each of which meets all rows (L1), 3. a tile at a time */
        for (int v = 0; v < vectors; v += shape.vectors) {
            m.turn = v;
            if (shape.vectors == 1 || v + 1 < vectors)
                F(cover_rows)(make, kind, shape, shape.vectors, count, tile, m);
            else
                F(cover_rows)(make, kind, shape, 1, count, tile, m);
            m.panels += shape.vectors * m.panel_step;
            m.out += shape.vectors * LANES;
        }
    }
}

/* Rows for products, less the origin: element (r, l) goes to tile r / 12, at
 * (l / lanes * 12 + r % 12) * lanes + l % lanes, so that one register walks through a tile. */
static void F(pack_tiles)(const T *x, ptrdiff_t row_step, int count, int depth, const T *origin, T *to) {
    const ptrdiff_t tile = (ptrdiff_t)((depth + LANES - 1) / LANES * LANES) * TW_PAIR_TILE;
    for (int r = 0; r < count; r++, x += row_step) {
        T *segment = to + r / TW_PAIR_TILE * tile + r % TW_PAIR_TILE * LANES;
        int l = 0;
        for (; l + LANES <= depth; l += LANES, segment += TW_PAIR_TILE * LANES) {
            const V value = *(const VU *)(x + l);
            *(V *)segment = origin ? F(centred_all)(value, *(const VU *)(origin + l)) : value;
        }
        for (int i = 0; l + i < depth; i++) segment[i] = origin ? F(centred)(x[l + i], origin[l + i]) : x[l + i];
    }
}

TW_INLINE void F(multiply_step)(const int rows, const int vectors, const T *restrict x, const T *restrict panels,
                                ptrdiff_t panel_step, V sum[TW_PAIR_ROWS_F4][2]) {
    V y[2];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) y[v] = *(const V *)(panels + v * panel_step);
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
        const V value = F(splat)(x[r * LANES]);
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sum[r][v] = F(fma)(value, y[v], sum[r][v]);
    }
}

/* Products of packed rows, one running sum per PRODUCT_CHAIN elements. Level: sums in registers,
 * panels and out in L1. */
TW_INLINE void F(multiply)(const int kind, const int rows, const int vectors, const F(meeting) *m) {
    (void)kind;
    const T *restrict x = m->x, *restrict panels = m->panels;
    int first = m->first, left = m->length;
    do {
        int some = PRODUCT_CHAIN < PRODUCT_BLOCK && left > PRODUCT_CHAIN ? PRODUCT_CHAIN : left;
        left -= some;
        V sum[TW_PAIR_ROWS_F4][2];
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) sum[r][v] = (V){0};
        for (; some >= LANES; some -= LANES, x += TW_PAIR_TILE * LANES)
#pragma GCC unroll 2
            for (int l = 0; l < LANES; l++, panels += LANES)
                F(multiply_step)(rows, vectors, x + l, panels, m->panel_step, sum);
        for (int l = 0; l < some; l++, panels += LANES)
            F(multiply_step)(rows, vectors, x + l, panels, m->panel_step, sum);
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) {
                V *to = (V *)(m->out + r * m->out_step + v * LANES);
                *to = first ? sum[r][v] : *to + sum[r][v];
            }
        first = 0;
    } while (PRODUCT_CHAIN < PRODUCT_BLOCK && left > 0);
}

static void F(cover_products)(const tw_pair_job *job, const T *x, int count) {
    const F(shape) shape = {.rows = TW_PAIR_ROWS_F4, .vectors = 2, .block = PRODUCT_BLOCK, .packed = 1};
    F(pack_tiles)(x, job->row_step, count, job->depth, job->origin, job->packed);
    F(cover)(F(multiply), TW_PRODUCTS, shape, job->depth, job, x, count);
}
