/* The screen of a step of k-means++: which rows may be closer to a candidate than to their own seed.
 * What it leaves open is measured canonically; docs/exact-labels.md#seeding proves that it hides no pair.
 *
 * Rows stand in groups of sixteen, a bit each: bit r of a mask is row r of its group. radius (n) is an
 * upper bound of the distance of each row to its seed. A block has up to TW_SCREEN_ROWS rows; masks of
 * a block are (candidates, groups of TW_SCREEN_ROWS).
 *
 * The copy: [group][column / 4][row % 16][column % 4], 128 more than a whole number of units from the
 * mean. Columns that do not exist are 128. Candidates: [column / 4][candidate][column % 4], negated whole
 * numbers of `coarse` units, up to sixteen.
 */
#ifndef TW_SCREEN_H
#define TW_SCREEN_H

#include "tw_kernels.h"

enum {
    TW_SCREEN_GROUP = 16,
    TW_SCREEN_ROWS = 256,
    TW_SCREEN_GROUPS = TW_SCREEN_ROWS / TW_SCREEN_GROUP,
    /* Places of a block, and what may be written behind them. */
    TW_SCREEN_PLACES = TW_SCREEN_ROWS + TW_SCREEN_GROUP,
    /* Products of two bytes, and squared distances of copies, add up in 32 bits. */
    TW_SCREEN_DEPTH = 1 << 14,
};

/* What each row, or candidate, of a copy errs by and the like; the rows of one call. */
typedef struct tw_copied {
    const uint8_t *rows;
    const float *radius;
    const float *errors;     /* how far a row is from its copy */
    const float *halves;     /* half the squared norm of the copy in units, less its rounding */
    int steps;               /* columns, by four */
} tw_copied;

typedef struct tw_candidates {
    const int8_t *values;    /* as above */
    const int32_t *bases;    /* (candidates) what the sum of products starts from */
    const float *errors;     /* (candidates) */
    float inverse;           /* 1 / (unit sqrt 2), rounded up */
    int count;
} tw_candidates;

/* Candidates in float, less the origin if rows are doubles. */
typedef struct tw_rough {
    const float *values;     /* (count, step) */
    ptrdiff_t step;
    int count;
    int depth;
    const double *origin;    /* (depth) */
} tw_rough;

/* The first look of a pass, see tw_look.h: rows of a tile, centres of a panel, and centres that are listed of
 * a row. */
enum { TW_LOOK_ROWS = 32, TW_LOOK_CENTRES = 12, TW_LOOK_ROOM = 64 };

/* Centres as bytes; each has a unit, a bound of its error, and what its scores start from. */
typedef struct tw_looked {
    int count, panels;       /* of centres */
    int steps;               /* columns, by four */
    int8_t *values;
    int32_t *bases;          /* (panels * TW_LOOK_CENTRES), as the others */
    float *units, *errors, *halves;
} tw_looked;

static inline int tw_bits(uint16_t mask) { return __builtin_popcount(mask); }

/* An upper bound of the root of a squared distance, and a little more than its rounding. */
static inline float tw_radius(double square) { return (float)(sqrt(square) * (1 + 0x1p-20)) + 1e-37f; }

#define TW_SCREEN_DATA(K, S, SUFFIX)                                                                      \
    K(void, lanes_##SUFFIX, (int n_rows, const S *const *x, const float *limits,                          \
      const tw_rough *trials, uint16_t *masks))                                                           \
    K(void, lanes_here_##SUFFIX, (int n_rows, const S *x, ptrdiff_t step, const uint16_t *near,           \
      const float *limits, const tw_rough *trials, uint16_t *masks))                                      \
    K(void, copy_##SUFFIX, (int n_rows, const S *const *x, const double *mean, double unit, int depth,    \
      uint8_t *out, float *errors, float *halves))                                                        \
    K(void, look_rows_##SUFFIX, (int n_rows, const S *const *x, const double *origin, double scale,       \
      int depth, uint8_t *out, float *units, float *errors, double *squares))

#define TW_SCREEN_KERNELS(K)                                                                              \
    TW_SCREEN_DATA(K, float, f4) TW_SCREEN_DATA(K, double, f8)                                            \
    K(void, near_rows, (int count, const int32_t *owner, const float *radius, const float *halves,        \
      uint16_t *near))                                                                                    \
    K(int, list_bits, (int n_groups, const uint16_t *masks, uint16_t *places))                            \
    K(void, limits, (int n_rows, const uint16_t *places, const int32_t *owner, const float *radius,       \
      const float *reaches, float beyond, float grow, float *out))                                        \
    K(void, copy_trials, (int count, const double *points, ptrdiff_t ldc, const double *mean,             \
      double unit, int depth, int8_t *values, int32_t *bases, float *errors))                             \
    K(void, compare, (int n_groups, const tw_copied *copied, const uint16_t *near,                        \
      const tw_candidates *trials, uint16_t *masks))                                                      \
    K(void, look_panel, (int count, const double *points, ptrdiff_t ldc, const double *origin,            \
      double scale, int depth, int8_t *values, const tw_looked *centres, int first))                      \
    K(void, look, (const uint8_t *rows, const float *units, const tw_looked *centres, float *scores,      \
      float *lowest, float *second, int32_t *where, const void *const *ahead, int ahead_bytes))           \
    K(void, look_list, (const float *scores, const tw_looked *centres, const float *reaches,              \
      const float *limits, uint32_t asked, int32_t *candidates, int32_t *counts))

typedef struct tw_screen_kernels {
    int coarse;              /* units of a candidate in those of the rows */
    TW_SCREEN_KERNELS(TW_POINTER)
} TW_BY_NAME tw_screen_kernels;

#endif
