/* Kernels on numbers split into parts of bfloat16: see tw_split.h. Compiled once per instruction
 * set; with TW_AMX the products are those of Intel AMX. */
#include "tw_split.h"
#include "tw_shape.h"
#include "tw_vector.h"

#include <string.h>

#define TW_SCORE 4
#include "tw_score.h"
#include "tw_tile.h"
#include "tw_near.h"

enum {
    LANES = TW_VECTOR_BYTES / 4,
    VECTORS = TW_PANEL_VECTORS,
    WIDTH = VECTORS * LANES,
    ROWS = TW_SPLIT_ROWS,
    STEP = TW_SPLIT_STEP,
    TILE = 16 * STEP,          /* numbers of a tile of 16 rows */
    PANEL_TILE = STEP * WIDTH, /* ... of one part of one step of a panel */
    SCORES = ROWS * WIDTH      /* of a block: a group of rows and a panel */
};

/* ---------------------------------------------------------------- bfloat16 */

/* To the nearest, ties to even. What becomes of NaN and infinity does not matter: their rows are
 * known by their norms. */
TW_INLINE uint16_t to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

TW_INLINE float from_bf16(uint16_t value) {
    const uint32_t bits = (uint32_t)value << 16;
    float wide;
    memcpy(&wide, &bits, 4);
    return wide;
}

/* x is (STEP): one step of a row, split into parts that stand `part` numbers apart. The squares of
 * x, of the second part and of what is left are added to sums. */
#if defined(__AVX512BF16__)
typedef struct {
    __m512 norm, second, rest;
} square_sums;

/* The three at once: first four lanes at a time, then what is left of each in one lane of four. */
TW_INLINE void add_up(const square_sums *sums, float *norm, float *second, float *rest) {
    const __m512 a = sums->norm, b = sums->second, c = sums->rest;
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const __m512 cc = _mm512_add_ps(c, _mm512_shuffle_ps(c, c, 0x4e));
    const __m512 all = _mm512_add_ps(_mm512_shuffle_ps(ab, cc, 0x44), _mm512_shuffle_ps(ab, cc, 0x5e));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    const __m128 sum = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    *norm = sum[0];
    *second = sum[1];
    *rest = sum[2];
}

TW_INLINE __m512 widened(__m256i half) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16)); }

TW_INLINE void split_step(__m512 low, __m512 high, int parts, uint16_t *out, ptrdiff_t part, square_sums *sums) {
    sums->norm = _mm512_fmadd_ps(low, low, sums->norm);
    sums->norm = _mm512_fmadd_ps(high, high, sums->norm);
    for (int i = 0; i < parts; i++) {
        const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high, low);
        _mm512_store_si512(out + i * part, both);
        const __m512 a = widened(_mm512_castsi512_si256(both)), b = widened(_mm256_load_si256((const __m256i *)(out + i * part) + 1));
        if (i == 1) {
            sums->second = _mm512_fmadd_ps(a, a, sums->second);
            sums->second = _mm512_fmadd_ps(b, b, sums->second);
        }
        low = _mm512_sub_ps(low, a);
        high = _mm512_sub_ps(high, b);
    }
    sums->rest = _mm512_fmadd_ps(low, low, sums->rest);
    sums->rest = _mm512_fmadd_ps(high, high, sums->rest);
}
#else
typedef struct {
    float norm[LANES], second[LANES], rest[LANES];
} square_sums;

TW_INLINE void split_step(const float *x, int parts, uint16_t *out, ptrdiff_t part, square_sums *sums) {
    for (int l = 0; l < STEP; l++) {
        float left = x[l];
        sums->norm[l % LANES] += left * left;
        for (int i = 0; i < parts; i++) {
            out[i * part + l] = to_bf16(left);
            const float wide = from_bf16(out[i * part + l]);
            if (i == 1) sums->second[l % LANES] += wide * wide;
            left -= wide;
        }
        sums->rest[l % LANES] += left * left;
    }
}

TW_INLINE float added_up(const float *lanes) {
    float sum = 0;
    for (int l = 0; l < LANES; l++) sum += lanes[l];
    return sum;
}
#endif

#define S float
#define P(name) name##_f4
#include "tw_split_pack.h"
#undef S
#undef P
#define S double
#define P(name) name##_f8
#include "tw_split_pack.h"
#undef S
#undef P

/* Two rows of a panel at a time: their numbers stand side by side. */
#if defined(__AVX512BF16__)
static void pack_panel(const float *panel, int depth, int parts, uint16_t *out, float *norms, float *second_norms,
                       float *rest_norms) {
    memcpy(out, panel, WIDTH * sizeof(float));
    panel += WIDTH;
    const int steps = (depth + STEP - 1) / STEP;
    for (int v = 0; v < WIDTH; v += 16) {
        __m512 norm = _mm512_setzero_ps(), second = norm, rest = norm;
        for (int l = 0; l < steps * STEP; l += 2) {
            uint16_t *to = out + 2 * WIDTH + l / STEP * parts * PANEL_TILE + l % STEP * WIDTH + 2 * v;
            __m512 a = l < depth ? _mm512_loadu_ps(panel + (ptrdiff_t)l * WIDTH + v) : _mm512_setzero_ps();
            __m512 b = l + 1 < depth ? _mm512_loadu_ps(panel + (ptrdiff_t)(l + 1) * WIDTH + v) : _mm512_setzero_ps();
            norm = _mm512_fmadd_ps(b, b, _mm512_fmadd_ps(a, a, norm));
            for (int i = 0; i < parts; i++) {
                const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(a));
                const __m512 wide_a = _mm512_castsi512_ps(_mm512_slli_epi32(low, 16));
                const __m512 wide_b = widened((__m256i)_mm512_cvtneps_pbh(b));
                _mm512_storeu_si512(to + i * PANEL_TILE, _mm512_or_si512(low, _mm512_castps_si512(wide_b)));
                if (i == 1) second = _mm512_fmadd_ps(wide_b, wide_b, _mm512_fmadd_ps(wide_a, wide_a, second));
                a = _mm512_sub_ps(a, wide_a);
                b = _mm512_sub_ps(b, wide_b);
            }
            rest = _mm512_fmadd_ps(b, b, _mm512_fmadd_ps(a, a, rest));
        }
        _mm512_storeu_ps(norms + v, norm);
        _mm512_storeu_ps(second_norms + v, second);
        _mm512_storeu_ps(rest_norms + v, rest);
    }
}
#else
static void pack_panel(const float *panel, int depth, int parts, uint16_t *out, float *norms, float *second_norms,
                       float *rest_norms) {
    memcpy(out, panel, WIDTH * sizeof(float));
    out += 2 * WIDTH;
    panel += WIDTH;
    for (int j = 0; j < WIDTH; j++) norms[j] = second_norms[j] = rest_norms[j] = 0;
    for (int start = 0; start < depth; start += STEP, out += parts * PANEL_TILE)
        for (int l = 0; l < STEP; l++) {
            float left[WIDTH] = {0};
            if (start + l < depth) memcpy(left, panel + (ptrdiff_t)(start + l) * WIDTH, sizeof left);
            for (int j = 0; j < WIDTH; j++) norms[j] += left[j] * left[j];
            for (int i = 0; i < parts; i++) {
                uint16_t *to = out + i * PANEL_TILE + l / 2 * (2 * WIDTH) + l % 2;
                for (int j = 0; j < WIDTH; j++) {
                    const uint16_t rounded = to_bf16(left[j]);
                    const float wide = from_bf16(rounded);
                    to[2 * j] = rounded;
                    if (i == 1) second_norms[j] += wide * wide;
                    left[j] -= wide;
                }
            }
            for (int j = 0; j < WIDTH; j++) rest_norms[j] += left[j] * left[j];
        }
}
#endif

static void split_errors(int n_rows, const float *restrict norms, const float *restrict second_norms,
                         const float *restrict rest_norms, float second, float rest, float *restrict out) {
    for (int r = 0; r < n_rows; r++)
        out[r] = 1.02f * (__builtin_sqrtf(second_norms[r]) * second + __builtin_sqrtf(norms[r]) * rest +
                          __builtin_sqrtf(rest_norms[r]));
}

#include "tw_split_batch.h"

/* ---------------------------------------------------------------- products */

#if defined(TW_AMX)
#include "tw_amx.h"

/* Running scores lie in tiles 0 to 3. */
typedef struct {
    char none;
} running;

TW_INLINE void store_scores(const running *sums, float *scores) {
    (void)sums;
    TILE_STORE(0, scores, 4 * WIDTH);
    TILE_STORE(1, scores + 16, 4 * WIDTH);
    TILE_STORE(2, scores + 16 * WIDTH, 4 * WIDTH);
    TILE_STORE(3, scores + 16 * WIDTH + 16, 4 * WIDTH);
}

#define LOAD_ROWS(part)                                \
    do {                                               \
        TILE_LOAD(4, a + (2 * (part)) * TILE, 64);     \
        TILE_LOAD(5, a + (2 * (part) + 1) * TILE, 64); \
    } while (0)
#define LOAD_PANEL(part)                                       \
    do {                                                       \
        TILE_LOAD(6, c + (part) * PANEL_TILE, 4 * WIDTH);      \
        TILE_LOAD(7, c + (part) * PANEL_TILE + 32, 4 * WIDTH); \
    } while (0)
#define MULTIPLY_FOUR()                                   \
    do {                                                  \
        MULTIPLY(0, 4, 6);                                \
        MULTIPLY(1, 4, 7);                                \
        if (early) consume(look, what, b, early);         \
        MULTIPLY(2, 5, 6);                                \
        MULTIPLY(3, 5, 7);                                \
        consume(look, what, b, share - early);            \
    } while (0)
/* One tile after the other makes room: while the store of one waits for its last product, those of
 * the others go on. */
#define TURN(tile, rows, panel, at, from)         \
    do {                                          \
        TILE_STORE(tile, done + (at), 4 * WIDTH); \
        TILE_LOAD(tile, from, stride);            \
        MULTIPLY(tile, rows, panel);              \
    } while (0)

/* One step of a block. The first stores the scores of the block before, to `done`, and starts from
 * what stands in `from`: (32, WIDTH), or WIDTH numbers for all rows. */
TW_INLINE void multiply_step(running *sums, const int products, const int first, float *done, const float *from,
                             const int partial, const uint16_t *a, const uint16_t *c, const consumer look,
                             const void *what, batch *b, const int share, const int early) {
    (void)sums;
    /* the order of PAIRS_3 and PAIRS_6 below */
    if (products == 3)
        LOAD_ROWS(1);
    else
        LOAD_ROWS(2);
    LOAD_PANEL(0);
    if (first) {
        const ptrdiff_t stride = partial ? 4 * WIDTH : 0;
        const float *below = partial ? from + 16 * WIDTH : from;
        TURN(0, 4, 6, 0, from);
        TURN(1, 4, 7, 16, from + 16);
        TURN(2, 5, 6, 16 * WIDTH, below);
        TURN(3, 5, 7, 16 * WIDTH + 16, below + 16);
        consume(look, what, b, share);
    } else
        MULTIPLY_FOUR();
    if (products == 3) {
        LOAD_ROWS(0);
        MULTIPLY_FOUR();
        LOAD_PANEL(1);
        MULTIPLY_FOUR();
    } else {
        LOAD_ROWS(1);
        MULTIPLY_FOUR();
        LOAD_PANEL(1);
        MULTIPLY_FOUR();
        LOAD_ROWS(0);
        MULTIPLY_FOUR();
        LOAD_PANEL(0);
        MULTIPLY_FOUR();
        LOAD_PANEL(2);
        MULTIPLY_FOUR();
    }
}
#else
/* Which parts meet: of the rows, of the centres. */
static const int8_t PAIRS_3[3][2] = {{1, 0}, {0, 0}, {0, 1}};
static const int8_t PAIRS_6[6][2] = {{2, 0}, {1, 0}, {1, 1}, {0, 1}, {0, 0}, {0, 2}};

/* In place of the tiles. */
typedef struct {
    float scores[SCORES];
} running;

static void begin_tiles(void) {}
static void end_tiles(void) {}

TW_INLINE void store_scores(const running *sums, float *scores) { memcpy(scores, sums->scores, sizeof sums->scores); }

/* As Intel's manual has it: even and odd columns are added up apart, then together, then to what
 * stands there. */
TW_INLINE void multiply_step(running *sums, const int products, const int first, float *done, const float *from,
                             const int partial, const uint16_t *a, const uint16_t *c, const consumer look,
                             const void *what, batch *b, const int share, const int early) {
    (void)early;
    if (first) {
        store_scores(sums, done);
        for (int r = 0; r < ROWS; r++)
            memcpy(sums->scores + r * WIDTH, from + (partial ? r * WIDTH : 0), WIDTH * sizeof(float));
    }
    for (int i = 0; i < products; i++) {
        const int8_t *pair = products == 3 ? PAIRS_3[i] : PAIRS_6[i];
        const uint16_t *x = a + pair[0] * 2 * TILE, *y = c + pair[1] * PANEL_TILE;
        for (int r = 0; r < ROWS; r++, x += STEP) {
            float even[WIDTH] = {0}, odd[WIDTH] = {0};
            for (int l = 0; l < STEP; l += 2) {
                const float left = from_bf16(x[l]), right = from_bf16(x[l + 1]);
                for (int j = 0; j < WIDTH; j++) {
                    even[j] += left * from_bf16(y[l * WIDTH + 2 * j]);
                    odd[j] += right * from_bf16(y[l * WIDTH + 2 * j + 1]);
                }
            }
            for (int j = 0; j < WIDTH; j++) sums->scores[r * WIDTH + j] += even[j] + odd[j];
        }
        consume(look, what, b, share);
    }
}
#endif

/* Rows and panels that meet, as in tw_split.h. */
typedef struct {
    const uint16_t *tiles, *panels;
    int n_groups, steps, step_block, n_panels;
    float *scratch;
    const char *const *ahead;
    int ahead_bytes;
} meeting;

/* Asks for step l of rows from .. to of a group of the next chunk: a few at a time, since what is on
 * its way from memory holds up panels on theirs from L2. */
TW_INLINE void fetch(const meeting *m, int group, int l, int from, int to) {
    if (!m->ahead) return;
    for (int r = from; r < to; r++)
        for (int at = 0; at < m->ahead_bytes; at += 64)
            __builtin_prefetch(m->ahead[group * ROWS + r] + (ptrdiff_t)l * m->ahead_bytes + at, 0, 2);
}

/* The walk of tw_tile.h with two differences: scores are looked at while those of the next panels are
 * made, since they leave the tiles through memory anyway, and `look` gets `most` panels at a time.
 * With `full` it is asked of every group, once all its scores were looked at, whether to stop there.
 * Returns the group to go on with. */
TW_INLINE int walk(const int products, const meeting *m, int group, const int most, const consumer look,
                   const void *what, int (*const full)(const void *what, int group)) {
    const int parts = tw_split_parts(products), steps = m->steps, n_panels = m->n_panels;
    const ptrdiff_t x_step = (ptrdiff_t)parts * 2 * TILE, c_step = (ptrdiff_t)parts * PANEL_TILE;
    const ptrdiff_t panel_step = 2 * WIDTH + steps * c_step;
    /* Scores of a batch of panels are looked at while those of the next are made. */
    float batches[2][2 * SCORES] __attribute__((aligned(64)));
    float *scores = batches[0], *other = batches[1], *done = scores;
    batch now = {.next = ROWS}, coming = {.panels = 0};
    running sums = {0};

    begin_tiles();
    /* 1. groups of rows (L1, a block of the depth at a time) */
    for (; group < m->n_groups; group++) {
        const uint16_t *x = m->tiles + group * steps * x_step;
        /* 2. blocks of the depth */
        for (int start = 0; start < steps; start += m->step_block) {
            const int stop = start + m->step_block < steps ? start + m->step_block : steps;
            /* 3. panels (from L2) */
            for (int p = 0; p < n_panels; p++) {
                const uint16_t *panel = m->panels + p * panel_step;
                float *partial = m->scratch + (ptrdiff_t)p * SCORES;
                const int place = p % most, last = place == most - 1 || p + 1 == n_panels;
                const int calls = products * (stop - start) * (place + !last + 1);
                const int share = (ROWS + calls - 1) / calls;
                /* A few rows at a time, so that the products do not wait behind them. */
                const int early = most > 1 && share > 4 ? share / 2 : 0;
                const int from = p * ROWS / n_panels, to = (p + 1) * ROWS / n_panels;
                if (coming.panels) {
                    consume(look, what, &now, ROWS);
                    now = coming;
                    coming.panels = 0;
                }
                /* 4. steps of the depth; meanwhile the batch before is looked at */
                multiply_step(&sums, products, 1, done, start ? partial : (const float *)panel, start, x + start * x_step,
                              panel + 2 * WIDTH + start * c_step, look, what, &now, share, early);
                fetch(m, group, start, from, to);
                for (int l = start + 1; l < stop; l++) {
                    multiply_step(&sums, products, 0, NULL, NULL, 0, x + l * x_step, panel + 2 * WIDTH + l * c_step,
                                  look, what, &now, share, early);
                    fetch(m, group, l, from, to);
                }
                done = stop < steps ? partial : scores + place * SCORES;
                if (stop == steps && last) {
                    float *next = other;
                    coming = (batch){scores, 0, group, p - place, place + 1};
                    other = scores;
                    scores = next;
                }
            }
        }
        if (full) {
            store_scores(&sums, done);
            consume(look, what, &now, ROWS);
            consume(look, what, &coming, ROWS);
            coming.panels = 0;
            now.next = ROWS;
            done = scores;
            if (full(what, group)) {
                group++;
                break;
            }
        }
    }
    if (!full) {
        store_scores(&sums, done);
        consume(look, what, &now, ROWS);
        if (coming.panels) consume(look, what, &coming, ROWS);
    }
    end_tiles();
    return group;
}

static void assign(const uint16_t *tiles, int n_groups, int steps, int step_block, int products, const uint16_t *panels,
                   int n_panels, int first_ordinal, float *best, float *second, int32_t *ordinal, float *scratch,
                   const void *const *ahead, int ahead_bytes) {
    const meeting m = {tiles, panels, n_groups, steps, step_block, n_panels, scratch, (const char *const *)ahead,
                       ahead_bytes};
    const folding_f4 f = {first_ordinal, best, second, ordinal};
    if (products == 3)
        walk(3, &m, 0, 2, fold_rows, &f, NULL);
    else
        walk(6, &m, 0, 2, fold_rows, &f, NULL);
}

TW_INLINE int full_group(const void *what, int group) {
    return any_full_f4(((const pushing_f4 *)what)->near, group * ROWS, ROWS);
}

static int select_near(const uint16_t *tiles, int n_groups, int group, int steps, int step_block, int products,
                       const uint16_t *panels, int n_panels, int32_t first, const tw_near *near, float *scratch) {
    const meeting m = {tiles, panels, n_groups, steps, step_block, n_panels, scratch, NULL, 0};
    const pushing_f4 p = {first, near};
    if (products == 3) return walk(3, &m, group, 1, push_rows, &p, full_group);
    return walk(6, &m, group, 1, push_rows, &p, full_group);
}

#if defined(TW_AMX)
/* Four sums that do not wait for each other hide the latency of a product, as in multiply_step. */
static void multiply_tiles(long repeats) {
    begin_tiles();
    for (long i = 0; i < repeats; i++) {
        MULTIPLY(0, 4, 6);
        MULTIPLY(1, 4, 7);
        MULTIPLY(2, 5, 6);
        MULTIPLY(3, 5, 7);
    }
    end_tiles();
}
#endif

const tw_split_kernels TW_JOIN(tw_split, TW_ISA) = {
    .pack_f4 = pack_f4, .pack_f8 = pack_f8, .pack_panel = pack_panel, .split_errors = split_errors,
    .assign = assign, .select = select_near,
#if defined(TW_AMX)
    .multiply_tiles = multiply_tiles,
#endif
};
