/* One table of kernels per instruction set; the drivers in Cython see nothing else.
 *
 * Layouts
 *   rows     packed in tiles of `tile_rows`: element (r, l) of a tile stands at
 *            ((l / lanes) * tile_rows + r) * lanes + l % lanes
 *   panels   `panel` = panel_vectors * lanes centres side by side: first one row of
 *            half squared norms, then `depth` rows of *negated* coordinates
 *   row panels (rows in lanes)      element (l, r) at l * row_panel + r
 *   groups   `group` centres: half squared norms, then depth x group negated coordinates
 *   CSR      panels without the row of half squared norms; a chunk's entries one after another
 * Kernels never allocate, validate, raise or print.
 */
#ifndef TW_KERNELS_H
#define TW_KERNELS_H

#include <stdint.h>
#include <stddef.h>

#include "tw_sums.h"

/* Tables of kernels are filled in by name: the compiler refuses anything else where it can tell. */
#if defined(__GNUC__) && !defined(__clang__)
#define TW_BY_NAME __attribute__((designated_init))
#else
#define TW_BY_NAME
#endif

/* The candidates of some rows: see tw_near.h. Types T and I are those of the scores. */
typedef struct tw_near {
    void *scores;      /* (rows, stride) */
    void *indices;     /* (rows, stride) */
    ptrdiff_t stride;  /* at least room + spare + one vector */
    void *limits;      /* (rows) scores above it are of no interest */
    int32_t *counts;   /* (rows) */
    int32_t *triggers; /* (rows) count from which on a row is thinned out */
    const void *norms; /* (rows) squared norms of the packed rows, or NULL: see share */
    int k;             /* how many are wanted; 0: all below the limit */
    int room;          /* a row that holds more is full */
    double alpha;      /* error bound as in docs/exact-labels.md, for centres no longer than */
    double beta;       /* largest_norm */
    double eta;
    double nu;
    double largest_norm;
    double share;      /* without norms: what a score errs by, as a share of itself */
    const float *split_errors; /* (rows) see tw_split.h, or NULL */
} tw_near;

/* The kernels of each table, once: K(result, name, (arguments)) declares a pointer in the table, and
 * fills it in with the function of the same name. A kernel is a row here and its name in
 * _dispatch.pxd.
 *
 * ahead is (n_tiles * tile_rows) rows of data to fetch meanwhile, ahead_item bytes per number,
 * or NULL. best, second and ordinal are (rows, lanes): the running best score of each lane, the
 * second best of each lane, and which vector of centres the best came from. */
#define TW_SCORE_KERNELS(K, T, I, SUFFIX) \
    K(void, assign_##SUFFIX, (const T *tiles, int n_tiles, int depth, int depth_block, \
      const T *panels, int n_panels, int panel_vectors, int first_ordinal, T *best, T *second, \
      I *ordinal, T *scratch, const void *const *ahead, int ahead_item)) \
    K(void, certify_##SUFFIX, (int n_rows, const T *best, const T *second, const I *ordinal, \
      const T *band, int32_t *label, T *lowest, T *second_lowest)) \
    K(void, assign_lanes_##SUFFIX, (const T *row_panels, int n_row_panels, int depth, \
      const T *groups, int n_groups, int first, T *best, T *second, I *index)) \
    K(void, certify_lanes_##SUFFIX, (int n_rows, const T *best, const T *second, const I *index, \
      const T *band, int32_t *label)) \
    K(void, collect_##SUFFIX, (int n_rows, const T *const *rows, const T *limits, int depth, \
      int depth_block, const T *panels, int n_panels, int panel_vectors, int32_t *candidates, int *counts, \
      int room)) \
    K(void, bands_##SUFFIX, (int n_rows, const T *norms, T fixed, T per_norm, T per_square, \
      T *band)) \
    K(void, renew_##SUFFIX, (int n_rows, const T *lowest, const T *second_lowest, const T *norms, \
      const T *band, T norm_error, double unscale, float *upper, float *lower)) \
    K(void, scan_##SUFFIX, (int n_rows, int k, const T *scores, ptrdiff_t ld, const T *half_norms, \
      T *best, T *second, I *index)) \
    K(void, csr_scores_##SUFFIX, (int n_rows, const int32_t *starts, const int32_t *columns, \
      const T *values, ptrdiff_t depth, const T *panels, int n_panels, int panel_vectors, T *out, \
      ptrdiff_t ld)) \
    K(int, select_##SUFFIX, (const T *tiles, int n_tiles, int tile, int depth, int depth_block, \
      const T *panels, int n_panels, int panel_vectors, I first, const tw_near *near, T *scratch)) \
    K(void, compact_##SUFFIX, (const tw_near *near, int row)) \
    K(int, feed_##SUFFIX, (const tw_near *near, int row, const T *values, int count, I first)) \
    K(void, meet_group_##SUFFIX, (int n, const T *const *rows, int depth, int depth_block, const T *panels, \
      int n_panels, int first, T *low, T *next, int32_t *where)) \
    K(void, certify_groups_##SUFFIX, (int n_rows, const int32_t *starts, const int32_t *places, const T *low, \
      const T *next, const int32_t *where, const T *band, int32_t *slot, T *lowest, T *second_lowest)) \
    K(void, renew_groups_##SUFFIX, (int n_rows, const int64_t *ids, const int32_t *starts, \
      const int32_t *groups, const int32_t *places, const T *low, const T *next, const int32_t *where, \
      const int32_t *slot, const T *norms, const T *band, T norm_error, double unscale, const float *below, \
      const float *above, int n_groups, float *bounds, float *lower)) \
    K(T, extent_##SUFFIX, (const T *const *rows, int n_rows, int depth, const T *origin))

/* S is the type of the data, T of the scores, W the wider of the two. */
#define TW_PACK_KERNELS(K, S, T, W, SUFFIX) \
    K(void, pack_##SUFFIX, (int n_rows, int depth, const S *const *rows, const W *origin, W scale, \
      T *out, ptrdiff_t row_step, ptrdiff_t segment_step, int tile_rows, ptrdiff_t tile_step, \
      T *norms)) \
    K(void, pack_lanes_##SUFFIX, (int n_rows, int depth, const S *const *rows, const W *origin, \
      W scale, T *out, T *norms)) \
    K(void, pack_panel_##SUFFIX, (int n_rows, int depth, const S *const *rows, const W *origin, \
      W scale, T *out, int width))

#define TW_TILE_KERNELS(K) \
    TW_SCORE_KERNELS(K, float, int32_t, f4) TW_SCORE_KERNELS(K, double, int64_t, f8) \
    TW_PACK_KERNELS(K, float, float, float, f4f4) TW_PACK_KERNELS(K, float, double, double, f4f8) \
    TW_PACK_KERNELS(K, double, float, double, f8f4) TW_PACK_KERNELS(K, double, double, double, f8f8) \
    K(int, open_rows, (int count, int64_t first, const int32_t *labels, float *upper, float *lower, \
      const float *moves, float largest, float runner_up, int32_t mover, int64_t *ids)) \
    K(int, open_by_groups, (int n, int64_t *ids, const float *bounds, const float *drift, int n_groups, \
      const float *upper, float *lower)) \
    K(int, near_groups, (const float *bounds, const float *drift, int n_groups, float limit, int32_t own, \
      int32_t *groups)) \
    K(float, rough_gaps, (const float *x, const float *rows, int count, int depth, float *gaps)) \
    K(int, rough_picks, (const float *gaps, int count, float limit, int *picks)) \
    K(void, own_gaps, (int n, const float *const *x, const int32_t *own, const float *c, ptrdiff_t ldc, \
      int depth, float *out)) \
    K(double, multiply_adds_f4, (long repeats)) \
    K(double, multiply_adds_f8, (long repeats))

/* Centres of a group, for which a row has one lower bound: whole panels of every type. */
enum { TW_GROUP_CENTRES = 32 };

/* Rows up to this long also have distances with eight rows in the lanes. */
#define TW_LANES_DEPTH 24

/* Rows of Y, and forms of the distances, of brute_force: see tw_brute_force.h. */
enum { TW_BRUTE_FORCE_ROWS = 128, TW_AS_ROOT = 1, TW_AS_FLOAT = 2 };

/* Distances of sparse rows, see tw_sparse.h. */
enum tw_sparse_kernel { TW_DOT, TW_SQEUCLIDEAN, TW_EUCLIDEAN, TW_COSINE, TW_MANHATTAN };

/* The rows of a block that have pairs left open by the screen of k-means++: place i stands for row places[i]
 * of the block, or for row i. */
typedef struct tw_open {
    const uint16_t *places;      /* or NULL */
    const void *const *pointers; /* (places), or NULL: row i of the block is at data + i * row_stride */
    const char *data;
    ptrdiff_t row_stride;
    int depth;
    const double *trials;        /* (candidates, ldc) */
    ptrdiff_t ldc;
    const double *closest;       /* of the block, as the next three */
    const double *weights;       /* or NULL */
    uint16_t *gained;            /* bit t: candidate t is closer, and its gap was not kept */
    uint32_t offset;             /* of the block in its shard */
    const double *bigs;          /* constants of two limbs */
    int64_t *gain;               /* (candidates, 2, 8) */
    double *gaps;                /* (room) kept gaps of the shard, and whose they are */
    uint32_t *kept;
    int64_t *n_kept;
    int64_t room;
    uint8_t *lost;               /* becomes 1 where there is no room */
} tw_open;

/* The number of a row in its shard stands below so many bits, the candidate above. */
enum { TW_PLACE_BITS = 28 };

/* c is (count, ldc) with rows padded by zeros to a multiple of eight. */
#define TW_DATA_KERNELS(K, S, SUFFIX) \
    K(double, distance_##SUFFIX, (const S *x, const double *c, int depth)) \
    K(void, distances_##SUFFIX, (const S *x, const double *c, ptrdiff_t ldc, int count, int depth, \
      double *out)) \
    K(void, distances_picked_##SUFFIX, (const S *x, const double *c, ptrdiff_t ldc, \
      const int *picks, int count, int depth, double *out)) \
    K(void, distances_lanes_##SUFFIX, (const S *const *x, const double *c, ptrdiff_t ldc, int count, \
      int depth, double *out)) \
    K(void, distances_own_##SUFFIX, (const S *const *x, const int32_t *labels, const double *c, ptrdiff_t ldc, \
      int count, int depth, double *out)) \
    K(void, between_##SUFFIX, (const S *x, const S *const *rows, int count, int depth, double *out)) \
    K(void, single_##SUFFIX, (const double *x, const S *rows, int count, int depth, double *out)) \
    K(void, add_row_##SUFFIX, (const tw_grid *grid, const S *x, double weight, int first, int stop, \
      int64_t *sums)) \
    K(void, bin_rows_##SUFFIX, (const S *const *x, const double *weights, int n_rows, int depth, \
      tw_bins8 *sums)) \
    K(int, move_by_rows_##SUFFIX, (const S *const *x, int n_rows, int depth, double count, \
      double *center)) \
    K(void, moments_##SUFFIX, (const S *const *x, int n_rows, int depth, tw_bins8 *sums, \
      tw_bins8 *squares, double *largest, double *least)) \
    K(void, distances_pairs_##SUFFIX, (const S *const *x, const double *const *c, int count, \
      int depth, double *out)) \
    K(void, measure_open_##SUFFIX, (const tw_open *b, int t, int n, const uint16_t *places)) \
    K(void, distances_same_##SUFFIX, (const S *const *x, int n, const double *c, int depth, double *out)) \
    K(int, finish_##SUFFIX, (int kernel, int n, double size, const double *sizes, \
      const double *sums, double share, S *out, uint8_t *flags, int32_t *redo))

#define TW_EXACT_KERNELS(K) \
    TW_DATA_KERNELS(K, float, f4) TW_DATA_KERNELS(K, double, f8) \
    K(void, add_gains, (int n_rows, int count, const double *gaps, const double *closest, \
      const double *weights, const double *bigs, int64_t *gain)) \
    K(void, carry_row, (const tw_grid *grid, int first, int stop, int64_t *sums, int64_t *spill)) \
    K(double, average_row, (const tw_grid *grid, const int64_t *sums, const int64_t *spill, int spilt, \
      double weight, const double *old, double *out)) \
    K(double, moved_by, (double high, double low, double weight, double count, double c)) \
    K(int, nonzeros, (const double *x, int depth)) \
    K(double, bin_values, (tw_bins *b, int n, const double *values, const double *weights)) \
    K(void, move_center, (const tw_bins8 *sums, int depth, double weight, double count, double *center)) \
    K(void, csr_panels, (int excess, int n_rows, const int32_t *starts, const int32_t *columns, \
      const double *values, ptrdiff_t depth, const double *panels, int n_panels, int panel_vectors, \
      double *out, ptrdiff_t ld)) \
    K(void, csr_index, (int excess, int n, const int32_t *columns, const double *values, \
      const int32_t *heads, const int32_t *rows, const double *others, double *sums)) \
    K(double, merged, (int kernel, int nx, const int32_t *x_columns, const double *x, int ny, \
      const int32_t *y_columns, const double *y)) \
    K(void, merged_four, (int count, const int32_t *x_columns, const double *x, \
      const int32_t *const *y_columns, const double *const *y, double *out)) \
    K(int64_t, not_above, (const double *values, int count, double limit)) \
    K(int64_t, collect_within, (const double *values, int count, double limit, int64_t first, \
      double *out, int64_t *places)) \
    K(double, squared_norm, (const double *c, int depth)) \
    K(double, own_entries, (int n, const int32_t *columns, const double *x, const double *c, \
      double center_norm)) \
    K(int, first_least, (const double *values, int count, double *least)) \
    K(int, brute_force, (const double *gaps, int m, int k, int n_rows, int form, void *distances, \
      int64_t *indices)) \
    K(double, spread_distance, (int n, const int32_t *columns, const double *x, const double *c, \
      int depth)) \
    K(void, gather_scores, (int n_rows, const int32_t *starts, const int32_t *columns, \
      const double *values, const double *centers, ptrdiff_t ldc, int k, double scale, double *out, \
      ptrdiff_t ld)) \
    K(double, measure_center, (const double *c, int depth, double *largest)) \
    K(void, fade, (double *c, double weight, double count, int depth))

#define TW_POINTER(RESULT, NAME, ARGUMENTS) RESULT (*NAME) ARGUMENTS;

typedef struct tw_tile_kernels {
    int vector_bytes;
    int tile_rows;         /* rows per register tile */
    int panel_vectors;     /* vectors of centres per panel */
    int row_panel_vectors; /* vectors of rows per row panel */
    int group;             /* centres per group, rows in lanes */
    TW_TILE_KERNELS(TW_POINTER)
} TW_BY_NAME tw_tile_kernels;

typedef struct tw_exact_kernels {
    TW_EXACT_KERNELS(TW_POINTER)
} TW_BY_NAME tw_exact_kernels;

#define TW_ENTRY(RESULT, NAME, ARGUMENTS) .NAME = NAME,

#define TW_JOIN2(a, b) a##_##b
#define TW_JOIN(a, b) TW_JOIN2(a, b)

#endif
