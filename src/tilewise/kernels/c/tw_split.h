/* Scores from numbers that are split into parts of bfloat16: x = x1 + x2 (+ x3), c alike. Products
 * of two parts are exact in float32; those that are left out, and what is left of x and c, make
 * the error bound wider (docs/exact-labels.md). Intel AMX multiplies the parts; where
 * there is no AMX plain C does the same, slowly, for the tests.
 *
 * Layouts, in bfloat16; a step is 32 columns, a panel `width` = 2 * lanes centres
 *   rows     groups of 32: [group][step][part][row / 16][row % 16][column % 32]
 *   panels   [panel]: width float32 half squared norms, then
 *            [step][part][column % 32 / 2][centre][column % 2], negated
 * Columns that do not exist are zeros. best, second and ordinal are those of tw_kernels.h.
 */
#ifndef TW_SPLIT_H
#define TW_SPLIT_H

#include "tw_kernels.h"

#define TW_SPLIT_ROWS 32
#define TW_SPLIT_STEP 32

/* Parts that a number is split into, for so many products. */
static inline int tw_split_parts(int products) { return products == 6 ? 3 : 2; }

/* second_norms and rest_norms are (n_rows): squared norms of the second parts and of what is left. */
#define TW_DECLARE_SPLIT(S, SUFFIX)                                                                 \
    void (*pack_##SUFFIX)(int n_rows, int depth, int parts, const S *const *rows, const S *origin,  \
                          S scale, uint16_t *out, float *norms, float *second_norms, float *rest_norms);

typedef struct tw_split_kernels {
    TW_DECLARE_SPLIT(float, f4)
    TW_DECLARE_SPLIT(double, f8)
    /* One panel of tw_kernels.h, (depth + 1, width), split; norms, second_norms and rest_norms are (width). */
    void (*pack_panel)(const float *panel, int depth, int parts, uint16_t *out, float *norms,
                       float *second_norms, float *rest_norms);
    /* split_errors is (n_rows): what the score of a centre of norm one errs by, for what was left out;
     * second and rest are the shares of the centres' norms that their second parts, and what is
     * left of them, have. */
    void (*split_errors)(int n_rows, const float *norms, const float *second_norms, const float *rest_norms,
                  float second, float rest, float *split_errors);
    /* As in tw_kernels.h, but where first_ordinal is 0, best, second and ordinal are not read first.
     * scratch is (n_panels, 32, width), used where there are several blocks of the depth. */
    void (*assign)(const uint16_t *tiles, int n_groups, int steps, int step_block, int products,
                   const uint16_t *panels, int n_panels, int first_ordinal, float *best,
                   float *second, int32_t *ordinal, float *scratch, const void *const *ahead,
                   int ahead_bytes);
    int (*select)(const uint16_t *tiles, int n_groups, int group, int steps, int step_block,
                  int products, const uint16_t *panels, int n_panels, int32_t first,
                  const tw_near *near, float *scratch);
    /* Peak of products: four tiles of 16 x 32 by 32 x 16 per repeat, from registers alone; NULL
     * where there is no AMX. */
    void (*multiply_tiles)(long repeats);
} TW_BY_NAME tw_split_kernels;

#endif
