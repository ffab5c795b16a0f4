/* Where rows come from: any strided dense array of a real type, or CSR. What is not
 * already a plain row of float or double is staged, a chunk at a time. */
#ifndef TW_ROWS_H
#define TW_ROWS_H

#include <stddef.h>
#include <stdint.h>

enum tw_kind { TW_F2, TW_F4, TW_F8, TW_I1, TW_I2, TW_I4, TW_I8, TW_U1, TW_U2, TW_U4, TW_U8, TW_BF2, TW_KINDS };

/* Widens `count` numbers that lie side by side, at any address. */
typedef void (*tw_widener)(const char *from, int count, void *to);

typedef struct tw_rows {
    const char *data;         /* dense: element (0, 0); CSR: the stored values */
    ptrdiff_t row_stride;     /* bytes */
    ptrdiff_t column_stride;  /* bytes */
    int64_t n_rows;
    int depth;
    int given_depth;          /* columns before those were left out that nobody uses */
    int kind;                 /* enum tw_kind, of the stored values */
    int swapped;              /* the other byte order */
    int is_double;            /* type of the rows handed out: 0 float, 1 double */
    int direct;               /* rows can be used where they stand */
    const void *offsets;      /* CSR: row starts, or NULL for a dense array */
    const void *columns;      /* CSR: column of each stored value */
    int offset_bytes;
    int column_bytes;
    const int64_t *picks;     /* (n_rows): row i stands where row picks[i] of the data does; or NULL */
    double scale;             /* dense: a power of two that values are multiplied by; 0 for none */
    int item_bytes;           /* dense: of a stored value */
    const tw_widener *widen;  /* dense: from the stored values to float and to double; or NULL */
} tw_rows;

/* pointers is (count): row ids[r] (or first + r without ids), staged into
 * staging (count, step) where the rows are not direct. Duplicate entries of a CSR row add up. */
void tw_fetch_rows(const tw_rows *rows, const int64_t *ids, int64_t first, int count,
                   const void **pointers, void *staging, ptrdiff_t step);

/* Rows of a CSR matrix whose columns rise within each row and occur once.
 *
 * Puts the stored values of one row into `to` (depth), which holds zeros, in the type of the
 * rows; clear makes those entries zero again. */
void tw_scatter_row(const tw_rows *rows, int64_t row, void *to);
void tw_clear_row(const tw_rows *rows, int64_t row, void *to);

/* The stored values of one row in double. */
void tw_widen_row(const tw_rows *rows, int64_t row, double *to);

/* The entries of rows ids (count) one after another: value * scale in the type of the scores,
 * with squared norms. starts is (count + 1). */
void tw_pack_entries_f4(const tw_rows *rows, const int64_t *ids, int count, double scale, int32_t *starts,
                        int32_t *columns, float *values, float *norms);
void tw_pack_entries_f8(const tw_rows *rows, const int64_t *ids, int count, double scale, int32_t *starts,
                        int32_t *columns, double *values, double *norms);

/* Where the entries of a row of the data begin; picks are not looked at. */
static inline int64_t tw_row_start(const tw_rows *rows, int64_t row) {
    return rows->offset_bytes == 4 ? ((const int32_t *)rows->offsets)[row] : ((const int64_t *)rows->offsets)[row];
}

/* Value and column of a stored entry. */
static inline double tw_stored_value(const tw_rows *rows, int64_t e) {
    return rows->kind == TW_F8 ? ((const double *)rows->data)[e] : (double)((const float *)rows->data)[e];
}
static inline int64_t tw_stored_column(const tw_rows *rows, int64_t e) {
    return rows->column_bytes == 4 ? ((const int32_t *)rows->columns)[e] : ((const int64_t *)rows->columns)[e];
}

/* Begins to fetch what stands there. */
static inline void tw_prefetch(const void *address) { __builtin_prefetch(address); }

/* Which row of the data row i is. */
static inline int64_t tw_place(const tw_rows *rows, int64_t i) { return rows->picks ? rows->picks[i] : i; }

#endif
