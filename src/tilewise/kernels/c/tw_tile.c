#include "tw_kernels.h"
#include "tw_shape.h"
#include "tw_vector.h"

#define TW_SCORE 4
#include "tw_score.h"
#include "tw_tile.h"
#include "tw_near.h"
#include "tw_csr.h"
#include "tw_bounds.h"
#include "tw_groups.h"
#define TW_SCORE 8
#include "tw_score.h"
#include "tw_tile.h"
#include "tw_near.h"
#include "tw_csr.h"
#include "tw_groups.h"
#undef T

#if TW_VECTOR_BYTES >= 32
TW_INLINE void transpose_f4(tw_f4 *v) {
    enum { N = TW_VECTOR_BYTES / 4 };
    TW_TURN(tw_f4, TW_PICK_F4, v, N, 1)
    TW_TURN(tw_f4, TW_PICK_F4, v, N, 2)
    TW_TURN(tw_f4, TW_PICK_F4, v, N, 4)
#if TW_VECTOR_BYTES == 64
    TW_TURN(tw_f4, TW_PICK_F4, v, N, 8)
#endif
}
#endif

#if TW_VECTOR_BYTES >= 32
#define TURNED
#endif
#define S float
#define T float
#define W float
#define PLAIN
#define P(name) name##_f4f4
#include "tw_pack.h"
#define S double
#define T float
#define W double
#define P(name) name##_f8f4
#include "tw_pack.h"
#undef TURNED
#define S float
#define T double
#define W double
#define P(name) name##_f4f8
#include "tw_pack.h"
#define S double
#define T double
#define W double
#define P(name) name##_f8f8
#include "tw_pack.h"

/* Moves the bounds of count rows with their centres and lists the rows whose label they no
 * longer settle. moves is (k): how far each centre went; largest and runner_up the two
 * largest of them, mover the centre that went farthest. */
static int open_rows(int count, int64_t first, const int32_t *restrict labels, float *restrict upper,
                     float *restrict lower, const float *restrict moves, float largest, float runner_up,
                     int32_t mover, int64_t *restrict ids) {
    enum { BLOCK = 256 };
    uint8_t open[BLOCK];
    int n = 0;
    for (int start = 0; start < count; start += BLOCK) {
        const int stop = count - start < BLOCK ? count - start : BLOCK;
        const int32_t *own = labels + first + start;
        float *up = upper + first + start, *low = lower + first + start;
        for (int r = 0; r < stop; r++) {
            /* Rounded outwards: 2.4e-7 is more than the rounding of two operations. */
            const float u = (up[r] + moves[own[r]]) * (1 + 2.4e-7f) + 1e-37f;
            const float l = low[r] * (1 - 2.4e-7f) - (own[r] == mover ? runner_up : largest) * (1 + 2.4e-7f);
            up[r] = u;
            low[r] = l > 0 ? l : 0;
            open[r] = !(u < l);
        }
        for (int r = 0; r < stop; r++) {
            ids[n] = first + start + r;
            n += open[r];
        }
    }
    return n;
}

#include "tw_single.h"
#include "tw_own.h"

/* Peak of multiply-add: twelve independent chains of registers, nothing else. */
#define TW_PROBE(NAME, T, V)                                                     \
    static double NAME(long repeats) {                                           \
        V sum[12], a = (V){0} + (T)0.999999, b = (V){0} + (T)1e-6;               \
        for (int j = 0; j < 12; j++) sum[j] = a + (T)j;                          \
        for (long i = 0; i < repeats; i++) {                                     \
            _Pragma("GCC unroll 12") for (int j = 0; j < 12; j++) sum[j] = sum[j] * a + b; \
        }                                                                        \
        double total = 0;                                                        \
        for (int j = 0; j < 12; j++) total += (double)sum[j][0];                 \
        return total;                                                            \
    }
TW_PROBE(multiply_adds_f4, float, tw_f4)
TW_PROBE(multiply_adds_f8, double, tw_f8)

const tw_tile_kernels TW_JOIN(tw_tile, TW_ISA) = {
    .vector_bytes = TW_VECTOR_BYTES,
    .tile_rows = TW_TILE_ROWS,
    .panel_vectors = TW_PANEL_VECTORS,
    .row_panel_vectors = TW_ROW_PANEL_VECTORS,
    .group = TW_GROUP,
    TW_TILE_KERNELS(TW_ENTRY)
};
