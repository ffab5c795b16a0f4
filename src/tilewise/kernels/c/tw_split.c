/* Kernels on numbers split into parts of bfloat16: see tw_split.h. Compiled once per instruction
 * set; with TW_AMX the products are those of Intel AMX. */
#include "tw_split.h"
#include "tw_shape.h"
#include "tw_vector.h"

#include <string.h>

#include "tw_single.h"
#include "tw_tile.h"
#include "tw_near.h"

enum {
    LANES = TW_VECTOR_BYTES / 4,
    VECTORS = TW_PANEL_VECTORS,
    WIDTH = VECTORS * LANES,
    ROWS = TW_SPLIT_ROWS,
    STEP = TW_SPLIT_STEP,
    TILE = 16 * STEP,          /* numbers of a tile of 16 rows */
    PANEL_TILE = STEP * WIDTH  /* ... of one part of one step of a panel */
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

TW_INLINE __m512 widened(__m256i half) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16)); }

TW_INLINE void split_step(__m512 low, __m512 high, int parts, uint16_t *out, ptrdiff_t part, square_sums *sums) {
    sums->norm = _mm512_fmadd_ps(low, low, sums->norm);
    sums->norm = _mm512_fmadd_ps(high, high, sums->norm);
    for (int i = 0; i < parts; i++) {
        const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high, low);
        _mm512_store_si512(out + i * part, both);
        const __m512 a = widened(_mm512_castsi512_si256(both)), b = widened(_mm512_extracti64x4_epi64(both, 1));
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
static void pack_panel(const float *panel, int depth, int parts, uint16_t *out, float *norms, float *seconds,
                       float *rests) {
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
        _mm512_storeu_ps(seconds + v, second);
        _mm512_storeu_ps(rests + v, rest);
    }
}
#else
static void pack_panel(const float *panel, int depth, int parts, uint16_t *out, float *norms, float *seconds,
                       float *rests) {
    memcpy(out, panel, WIDTH * sizeof(float));
    out += 2 * WIDTH;
    panel += WIDTH;
    for (int j = 0; j < WIDTH; j++) norms[j] = seconds[j] = rests[j] = 0;
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
                    if (i == 1) seconds[j] += wide * wide;
                    left[j] -= wide;
                }
            }
            for (int j = 0; j < WIDTH; j++) rests[j] += left[j] * left[j];
        }
}
#endif

static void drops(int n_rows, const float *restrict norms, const float *restrict seconds, const float *restrict rests,
                  float second, float rest, float *restrict out) {
    for (int r = 0; r < n_rows; r++)
        out[r] = 1.02f * (__builtin_sqrtf(seconds[r]) * second + __builtin_sqrtf(norms[r]) * rest +
                          __builtin_sqrtf(rests[r]));
}

/* ---------------------------------------------------------------- what becomes of the scores */

/* Looks at `count` more rows of a block that is finished, while the next one is multiplied. */
typedef void (*consumer)(void *what, int count);

/* Scores of a block that is finished, (32, WIDTH), folded while the next one is multiplied. */
typedef struct {
    const float *scores;
    int next, ordinal; /* the row to go on with; of the first vector */
    float *best, *second;
    int32_t *index;
} folding;

TW_INLINE void fold_rows(void *what, int count) {
    folding *f = what;
    if (f->next == ROWS) return;
    tw_i4 which[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) which[v] = F4_splat_index(f->ordinal + v);
    const int stop = f->next + count < ROWS ? f->next + count : ROWS;
    for (int r = f->next; r < stop; r++) {
        const float *row = f->scores + r * WIDTH;
        tw_f4 b = *(tw_f4 *)(f->best + r * LANES), s = *(tw_f4 *)(f->second + r * LANES);
        tw_i4 i = *(tw_i4 *)(f->index + r * LANES);
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) F4_fold(*(const tw_f4 *)(row + v * LANES), which[v], &b, &s, &i);
        *(tw_f4 *)(f->best + r * LANES) = b;
        *(tw_f4 *)(f->second + r * LANES) = s;
        *(tw_i4 *)(f->index + r * LANES) = i;
    }
    f->next = stop;
}

/* The same where candidates are wanted: the columns from `first` on. */
typedef struct {
    const float *scores;
    int next, row; /* the row to go on with; of the first score */
    int32_t first;
    const tw_near *near;
} pushing;

TW_INLINE void push_rows(void *what, int count) {
    pushing *p = what;
    const tw_near *near = p->near;
    const int32_t first = p->first;
    const int stop = p->next + count < ROWS ? p->next + count : ROWS;
    const float *scores = p->scores + p->next * WIDTH;
    tw_i4 lane = {0};
    for (int l = 0; l < LANES; l++) lane[l] = l;
    const float *limits = (const float *)near->limits;
    for (int r = p->row + p->next; r < p->row + stop; r++, scores += WIDTH) {
        tw_f4 s[VECTORS], least;
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            s[v] = *(const tw_f4 *)(scores + v * LANES);
            least = v ? F4_min(s[v], least) : s[v];
        }
        const tw_f4 limit = F4_splat(limits[r]);
        if (__builtin_expect(!F4_not_above(least, limit), 1)) continue;
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            F4_push(near, r, s[v], lane + (first + v * LANES), F4_not_above(s[v], limit));
        if (near->counts[r] >= near->triggers[r]) F4_compact(near, r);
    }
    p->next = stop;
}

/* ---------------------------------------------------------------- products */

#if defined(TW_AMX)
#define TILE_LOAD(tile, from, stride) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(from), "r"((ptrdiff_t)(stride)) : "memory")
#define TILE_STORE(tile, to, stride) \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(to), "r"((ptrdiff_t)(stride)) : "memory")
#define MULTIPLY(sum, rows, panel) __asm__ volatile("tdpbf16ps %%tmm" #panel ", %%tmm" #rows ", %%tmm" #sum :::)

/* Running scores lie in tiles: what stands in scratch may wait while the next block is multiplied. */
enum { OVERLAP = 1 };

/* All eight tiles 16 x 64 bytes. */
static void begin_tiles(void) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = 16;
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(config) : "memory");
}
static void end_tiles(void) { __asm__ volatile("tilerelease" ::: "memory"); }

#define LOAD_ROWS(part)                              \
    do {                                             \
        TILE_LOAD(4, a + (2 * (part)) * TILE, 64);   \
        TILE_LOAD(5, a + (2 * (part) + 1) * TILE, 64); \
    } while (0)
#define LOAD_PANEL(part)                                            \
    do {                                                            \
        TILE_LOAD(6, b + (part) * PANEL_TILE, 4 * WIDTH);           \
        TILE_LOAD(7, b + (part) * PANEL_TILE + 32, 4 * WIDTH);      \
    } while (0)
#define MULTIPLY_FOUR()    \
    do {                   \
        MULTIPLY(0, 4, 6); \
        MULTIPLY(1, 4, 7); \
        MULTIPLY(2, 5, 6); \
        MULTIPLY(3, 5, 7); \
        meanwhile(what, share); \
    } while (0)

/* scores (32, WIDTH) of a group against a panel: from (WIDTH) or, without it, what stands there. */
TW_INLINE void begin_block(const float *from, const float *scores) {
    const float *at = from ? from : scores;
    const ptrdiff_t stride = from ? 0 : 4 * WIDTH;
    const ptrdiff_t down = from ? 0 : 16 * WIDTH;
    TILE_LOAD(0, at, stride);
    TILE_LOAD(1, at + 16, stride);
    TILE_LOAD(2, at + down, stride);
    TILE_LOAD(3, at + down + 16, stride);
}

TW_INLINE void end_block(float *scores) {
    TILE_STORE(0, scores, 4 * WIDTH);
    TILE_STORE(1, scores + 16, 4 * WIDTH);
    TILE_STORE(2, scores + 16 * WIDTH, 4 * WIDTH);
    TILE_STORE(3, scores + 16 * WIDTH + 16, 4 * WIDTH);
}

TW_INLINE void multiply_step(const int products, const uint16_t *a, const uint16_t *b, float *scores,
                             const consumer meanwhile, void *what, const int share) {
    (void)scores;
    /* the order of PAIRS_3 and PAIRS_6 below */
    if (products == 3) {
        LOAD_ROWS(1);
        LOAD_PANEL(0);
        MULTIPLY_FOUR();
        LOAD_ROWS(0);
        MULTIPLY_FOUR();
        LOAD_PANEL(1);
        MULTIPLY_FOUR();
    } else {
        LOAD_ROWS(2);
        LOAD_PANEL(0);
        MULTIPLY_FOUR();
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

enum { OVERLAP = 0 };

static void begin_tiles(void) {}
static void end_tiles(void) {}

TW_INLINE void begin_block(const float *from, float *scores) {
    if (from)
        for (int r = 0; r < ROWS; r++) memcpy(scores + r * WIDTH, from, WIDTH * sizeof(float));
}

TW_INLINE void end_block(float *scores) { (void)scores; }

/* As Intel's manual has it: even and odd columns are added up apart, then together, then to what
 * stands there. */
TW_INLINE void multiply_step(const int products, const uint16_t *a, const uint16_t *b, float *scores,
                             const consumer meanwhile, void *what, const int share) {
    (void)meanwhile, (void)what, (void)share;
    for (int i = 0; i < products; i++) {
        const int8_t *pair = products == 3 ? PAIRS_3[i] : PAIRS_6[i];
        const uint16_t *x = a + pair[0] * 2 * TILE, *c = b + pair[1] * PANEL_TILE;
        for (int r = 0; r < ROWS; r++, x += STEP) {
            float even[WIDTH] = {0}, odd[WIDTH] = {0};
            for (int l = 0; l < STEP; l += 2) {
                const float first = from_bf16(x[l]), second = from_bf16(x[l + 1]);
                for (int j = 0; j < WIDTH; j++) {
                    even[j] += first * from_bf16(c[l * WIDTH + 2 * j]);
                    odd[j] += second * from_bf16(c[l * WIDTH + 2 * j + 1]);
                }
            }
            for (int j = 0; j < WIDTH; j++) scores[r * WIDTH + j] += even[j] + odd[j];
        }
    }
}
#endif

TW_INLINE void assign_products(const int products, const uint16_t *tiles, int n_groups, int steps, int step_block,
                               const uint16_t *panels, int n_panels, int first_ordinal, float *best, float *second,
                               int32_t *ordinal, float *scratch, const char *const *ahead, int ahead_bytes) {
    const int parts = tw_split_parts(products);
    const ptrdiff_t a_step = (ptrdiff_t)parts * 2 * TILE, b_step = (ptrdiff_t)parts * PANEL_TILE;
    const ptrdiff_t panel_step = 2 * WIDTH + steps * b_step;
    folding f = {.next = ROWS};

    begin_tiles();
    /* 1. groups of rows (L1, a block of the depth at a time) */
    for (int g = 0; g < n_groups; g++) {
        const uint16_t *x = tiles + g * steps * a_step;
        /* 2. blocks of the depth */
        for (int start = 0; start < steps; start += step_block) {
            const int stop = start + step_block < steps ? start + step_block : steps;
            const int share = (ROWS + products * (stop - start) - 1) / (products * (stop - start));
            /* 3. panels (from L2) */
            for (int p = 0; p < n_panels; p++) {
                const uint16_t *panel = panels + p * panel_step;
                float *scores = scratch + (ptrdiff_t)p * ROWS * WIDTH;
                begin_block(start ? NULL : (const float *)panel, scores);
                /* 4. steps of the depth; meanwhile the block before is folded */
                for (int l = start; l < stop; l++) {
                    multiply_step(products, x + l * a_step, panel + 2 * WIDTH + l * b_step, scores, fold_rows, &f, share);
                    if (ahead && p == 0)
                        for (int r = 0; r < ROWS; r++)
                            for (int at = 0; at < ahead_bytes; at += 64)
                                __builtin_prefetch(ahead[g * ROWS + r] + (ptrdiff_t)l * ahead_bytes + at, 0, 2);
                }
                end_block(scores);
                if (stop == steps)
                    f = (folding){scores, 0, first_ordinal + p * VECTORS, best + g * ROWS * LANES,
                                  second + g * ROWS * LANES, ordinal + g * ROWS * LANES};
                if (!OVERLAP) fold_rows(&f, ROWS);
            }
        }
    }
    fold_rows(&f, ROWS);
    end_tiles();
}

static void assign(const uint16_t *tiles, int n_groups, int steps, int step_block, int products, const uint16_t *panels,
                   int n_panels, int first_ordinal, float *best, float *second, int32_t *ordinal, float *scratch,
                   const void *const *ahead, int ahead_bytes) {
    const char *const *next = (const char *const *)ahead;
    if (products == 3)
        assign_products(3, tiles, n_groups, steps, step_block, panels, n_panels, first_ordinal, best, second, ordinal,
                        scratch, next, ahead_bytes);
    else
        assign_products(6, tiles, n_groups, steps, step_block, panels, n_panels, first_ordinal, best, second, ordinal,
                        scratch, next, ahead_bytes);
}

TW_INLINE int select_products(const int products, const uint16_t *tiles, int n_groups, int group, int steps,
                              int step_block, const uint16_t *panels, int n_panels, int32_t first, const tw_near *near,
                              float *scratch) {
    const int parts = tw_split_parts(products);
    const ptrdiff_t a_step = (ptrdiff_t)parts * 2 * TILE, b_step = (ptrdiff_t)parts * PANEL_TILE;
    const ptrdiff_t panel_step = 2 * WIDTH + steps * b_step;
    int full = 0;

    begin_tiles();
    for (; group < n_groups && !full; group++) {
        const uint16_t *x = tiles + group * steps * a_step;
        pushing w = {.next = ROWS, .row = group * ROWS, .near = near};
        for (int start = 0; start < steps; start += step_block) {
            const int stop = start + step_block < steps ? start + step_block : steps;
            const int share = (ROWS + products * (stop - start) - 1) / (products * (stop - start));
            for (int p = 0; p < n_panels; p++) {
                const uint16_t *panel = panels + p * panel_step;
                float *scores = scratch + (ptrdiff_t)p * ROWS * WIDTH;
                begin_block(start ? NULL : (const float *)panel, scores);
                for (int l = start; l < stop; l++) {
                    multiply_step(products, x + l * a_step, panel + 2 * WIDTH + l * b_step, scores, push_rows, &w, share);
                }
                end_block(scores);
                if (stop == steps) {
                    w.scores = scores;
                    w.first = first + p * WIDTH;
                    w.next = 0;
                }
                if (!OVERLAP) push_rows(&w, ROWS);
            }
        }
        push_rows(&w, ROWS);
        for (int r = 0; r < ROWS; r++) full |= near->counts[group * ROWS + r] > near->room;
    }
    end_tiles();
    return group;
}

static int select_near(const uint16_t *tiles, int n_groups, int group, int steps, int step_block, int products,
                       const uint16_t *panels, int n_panels, int32_t first, const tw_near *near, float *scratch) {
    if (products == 3)
        return select_products(3, tiles, n_groups, group, steps, step_block, panels, n_panels, first, near, scratch);
    return select_products(6, tiles, n_groups, group, steps, step_block, panels, n_panels, first, near, scratch);
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
#else
#define multiply_tiles 0
#endif

const tw_split_kernels TW_JOIN(tw_split, TW_ISA) = {
    pack_f4, pack_f8, pack_panel, drops, assign, select_near, multiply_tiles,
};
