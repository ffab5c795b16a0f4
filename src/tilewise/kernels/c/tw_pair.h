/* Distances of a few rows to a block of others, stored as a piece of a matrix.
 *
 * Layouts
 *   rows     (n_rows, depth), `row_step` numbers apart, as they stand in memory
 *   others   (n_columns, depth), `other_step` numbers apart
 *   panels   the others again, turned over: a vector of them lies side by side. Element (l, j)
 *            stands at (j / lanes * depth + l) * lanes + j % lanes, zeros behind the last one; in
 *            float32 so in each block of TW_PAIR_DEPTH elements, the blocks one after the other
 * The order of additions depends on neither the vector nor the size of a block:
 *   float64  that of tw_order.h, no contraction: for sums of squares the canonical distance of tw_exact.h
 *            where norms and products serve, one per TW_PAIR_CHAIN elements as in float32
 *   float32  one running sum per block of TW_PAIR_DEPTH elements, with fused multiply and add,
 *            and the blocks added up in their order
 */
#ifndef TW_PAIR_H
#define TW_PAIR_H

#include "tw_kernels.h"

#include <stddef.h>
#include <stdint.h>

/* What becomes of the sum. */
enum tw_pair_finish { TW_AS_IT_IS, TW_ROOT, TW_POWER_ROOT, TW_DIVIDED, TW_HALF_TO_TWO };

/* Whether a sum has weights: never, always, or weights of one where none are given. */
enum tw_pair_weights { TW_PLAIN, TW_WEIGHTED, TW_EITHER };

/* Every sum over the elements, once: K(kind, kernel, weights, finish, cover, step).
 *   kernel  the name that a row of METRICS gives; the first row with that name and such weights counts
 *   cover   how rows and panels are walked in float64: depths, whole or single of tw_pair_f8.h
 *   step    one element there: x, y and their difference `gap` add to `*sum`, w being the weight;
 *           `*second` is a sum beside it
 * A metric is a row here and a row of METRICS. float32 has the first four: see tw_pair_f4.h. */
#define TW_PAIR_STEPS(K)                                                                            \
    K(TW_SQUARES, sqeuclidean, TW_PLAIN, TW_AS_IT_IS, depths, *sum += gap * gap)                    \
    K(TW_PRODUCTS, dot, TW_PLAIN, TW_AS_IT_IS, whole, *sum += x * y)                                \
    K(TW_GAPS, manhattan, TW_PLAIN, TW_AS_IT_IS, depths, *sum += abs_f8(gap))                       \
    K(TW_LARGEST, chebyshev, TW_PLAIN, TW_AS_IT_IS, whole, *sum = max_f8(abs_f8(gap), *sum))        \
    K(TW_WEIGHTED_SQUARES, sqeuclidean, TW_WEIGHTED, TW_AS_IT_IS, whole, *sum += w * (gap * gap))   \
    K(TW_WEIGHTED_GAPS, manhattan, TW_WEIGHTED, TW_AS_IT_IS, whole, *sum += w * abs_f8(gap))        \
    K(TW_WEIGHTED_LARGEST, chebyshev, TW_WEIGHTED, TW_AS_IT_IS, whole,                              \
      *sum = max_f8(w * abs_f8(gap), *sum))                                                         \
    K(TW_CANBERRA, canberra, TW_EITHER, TW_AS_IT_IS, whole, *sum += w * canberra_f8(x, y, gap))     \
    K(TW_BRAYCURTIS, braycurtis, TW_EITHER, TW_AS_IT_IS, single,                                    \
      *sum += w * abs_f8(gap); *second += w * abs_f8(x + y))                                        \
    K(TW_UNEQUAL, hamming, TW_EITHER, TW_DIVIDED, whole, *sum += only_f8(x != y, w))                \
    K(TW_KNOWN_SQUARES, nan_euclidean, TW_PLAIN, TW_ROOT, single,                                   \
      *sum += only_f8(gap == gap, gap * gap); *second += only_f8(gap == gap, splat_f8(1)))          \
    K(TW_POWERS, minkowski, TW_EITHER, TW_POWER_ROOT, single, *sum += w * power_f8(abs_f8(gap), power)) \
    K(TW_WHOLE_POWERS, minkowski, TW_EITHER, TW_POWER_ROOT, whole,                                  \
      *sum += whole_power_f8(abs_f8(gap), (int)power, w))

#define TW_PAIR_KIND(KIND, ...) KIND,
enum tw_pair_kind { TW_PAIR_STEPS(TW_PAIR_KIND) TW_PAIR_KINDS };
#undef TW_PAIR_KIND

typedef struct tw_pair_step {
    const char *kernel;
    enum tw_pair_weights weights;
    enum tw_pair_finish finish;
} tw_pair_step;

#define TW_PAIR_ROW(KIND, KERNEL, WEIGHTS, FINISH, ...) {#KERNEL, WEIGHTS, FINISH},
static const tw_pair_step tw_pair_steps[] = {TW_PAIR_STEPS(TW_PAIR_ROW)};
#undef TW_PAIR_ROW

enum {
    TW_PAIR_DEPTH = 64,
    TW_PAIR_CHAIN = 32, /* shorter, so that float64 errs by less */
    TW_PAIR_TILE = 12 /* rows that are packed together */
};

typedef struct tw_pair_job {
    int kind;
    int finish;
    int depth;
    int n_rows;
    int n_columns;
    int group;              /* rows between two stores: scratch is (group, whole vectors of columns) */
    const void *rows;       /* IN */
    ptrdiff_t row_step;
    const void *others;     /* IN */
    ptrdiff_t other_step;
    const void *panels;     /* IN */
    const double *weights;  /* IN (depth), for the kinds that name w */
    const void *origin;     /* IN (depth) or NULL: squares as |x|^2 + |y|^2 - 2 x.y around it */
    double trusted;         /* share of |x|^2 + |y|^2 from which such a square is accurate */
    double lowest;          /* the same for the square itself: float32 cosines, which have */
    const float *own_rows;  /* IN rows and others before they had length one */
    ptrdiff_t own_row_step;
    const float *own_others; /* IN */
    ptrdiff_t own_other_step;
    double power;           /* p */
    double divisor;
    void *scratch;          /* TMP, of the type of the arithmetic, one row more for the result */
    void *packed;           /* TMP (group, depth), both rounded up to whole tiles: for products */
    const void *norms;      /* IN (n_columns) squared, around the origin */
    void *out;              /* OUT */
    ptrdiff_t out_step;
    int out_double;
    int turned;             /* out is (n_columns, n_rows) */
    int streaming;          /* past the caches */
} tw_pair_job;

typedef struct tw_pair_kernels {
    int vector_bytes;
    /* Less the origin, if there is one; then norms is OUT, in whole vectors. */
    void (*pack_f4)(int count, int depth, const float *rows, ptrdiff_t step, const float *origin, float *panels,
                    float *norms);
    void (*pack_f8)(int count, int depth, const double *rows, ptrdiff_t step, const double *origin,
                    double *panels, double *norms);
    void (*fill_f4)(const tw_pair_job *job);
    void (*fill_f8)(const tw_pair_job *job);
    /* Rows (count, depth) become rows of length one; is_zero is (count). */
    void (*normalize_f8)(int count, int depth, double *rows, ptrdiff_t step, char *is_zero);
    /* Whole vectors; what takes the roots of distances, for its tests. */
    void (*roots_f4)(int count, const float *squares, float *out);
    void (*roots_f8)(int count, const double *squares, double *out);
} TW_BY_NAME tw_pair_kernels;

#endif
