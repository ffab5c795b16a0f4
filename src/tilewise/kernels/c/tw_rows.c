#include "tw_rows.h"

#include "tw_half.h"

#include <string.h>

static inline uint16_t swap2(uint16_t v) { return __builtin_bswap16(v); }
static inline uint32_t swap4(uint32_t v) { return __builtin_bswap32(v); }
static inline uint64_t swap8(uint64_t v) { return __builtin_bswap64(v); }
static inline uint8_t swap1(uint8_t v) { return v; }

#define READER(NAME, U, TYPE, SWAP)                                       \
    static inline TYPE read_##NAME(const char *at, int swapped) {         \
        U bits;                                                           \
        TYPE value;                                                       \
        memcpy(&bits, at, sizeof bits);                                   \
        if (swapped) bits = SWAP(bits);                                   \
        memcpy(&value, &bits, sizeof value);                              \
        return value;                                                     \
    }
READER(f4, uint32_t, float, swap4)
READER(f8, uint64_t, double, swap8)
READER(i1, uint8_t, int8_t, swap1)
READER(i2, uint16_t, int16_t, swap2)
READER(i4, uint32_t, int32_t, swap4)
READER(i8, uint64_t, int64_t, swap8)
READER(u1, uint8_t, uint8_t, swap1)
READER(u2, uint16_t, uint16_t, swap2)
READER(u4, uint32_t, uint32_t, swap4)
READER(u8, uint64_t, uint64_t, swap8)
static inline float read_f2(const char *at, int swapped) { return tw_half_to_float(read_u2(at, swapped)); }
static inline float read_bf2(const char *at, int swapped) { return tw_bfloat_to_float(read_u2(at, swapped)); }

/* Row r of those asked for, as the data count their rows. */
static inline int64_t place(const tw_rows *rows, const int64_t *ids, int64_t first, int r) {
    return tw_place(rows, ids ? ids[r] : first + r);
}

/* Columns outside, rows inside where that is how the memory runs (Fortran order). */
#define COPY(READ, OUT)                                                                      \
    if (by_columns)                                                                          \
        for (int l = 0; l < rows->depth; l++)                                                \
            for (int r = 0; r < count; r++)                                                  \
                ((OUT *)staging)[r * step + l] =                                             \
                    (OUT)READ(rows->data + place(rows, ids, first, r) * rows->row_stride +   \
                              l * rows->column_stride, rows->swapped);                       \
    else                                                                                     \
        for (int r = 0; r < count; r++) {                                                    \
            const char *from = rows->data + place(rows, ids, first, r) * rows->row_stride;   \
            for (int l = 0; l < rows->depth; l++)                                            \
                ((OUT *)staging)[r * step + l] = (OUT)READ(from + l * rows->column_stride, rows->swapped); \
        }                                                                                    \
    break;

#define COPY_KINDS(OUT)                \
    switch (rows->kind) {              \
        case TW_F2: COPY(read_f2, OUT) \
        case TW_F4: COPY(read_f4, OUT) \
        case TW_F8: COPY(read_f8, OUT) \
        case TW_I1: COPY(read_i1, OUT) \
        case TW_I2: COPY(read_i2, OUT) \
        case TW_I4: COPY(read_i4, OUT) \
        case TW_I8: COPY(read_i8, OUT) \
        case TW_U1: COPY(read_u1, OUT) \
        case TW_U2: COPY(read_u2, OUT) \
        case TW_U4: COPY(read_u4, OUT) \
        case TW_U8: COPY(read_u8, OUT) \
        case TW_BF2: COPY(read_bf2, OUT) \
    }

static inline int64_t entry(const void *array, int bytes, int64_t i) {
    return bytes == 4 ? ((const int32_t *)array)[i] : ((const int64_t *)array)[i];
}

#define SCATTER(IN, OUT)                                                                     \
    for (int r = 0; r < count; r++) {                                                        \
        const int64_t row = place(rows, ids, first, r);                                      \
        const int64_t stop = entry(rows->offsets, rows->offset_bytes, row + 1);              \
        OUT *to = (OUT *)staging + r * step;                                                 \
        memset(to, 0, sizeof(OUT) * (size_t)rows->depth);                                    \
        for (int64_t e = entry(rows->offsets, rows->offset_bytes, row); e < stop; e++)       \
            to[entry(rows->columns, rows->column_bytes, e)] += (OUT)((const IN *)rows->data)[e]; \
    }

/* Rows that begin to be fetched while an earlier one is widened, and how much of them: what the
 * processor fetches ahead by itself ends with a row. Measured at 200,000 x 384: 4 rows of up to 2048
 * bytes are no faster. */
#define AHEAD 8
#define AHEAD_BYTES 256

static inline void fetch_early(const tw_rows *rows, const int64_t *ids, int64_t first, int r, int bytes) {
    const char *row = rows->data + place(rows, ids, first, r) * rows->row_stride;
    for (int at = 0; at < bytes; at += 64) tw_prefetch(row + at);
}

/* Rows whose numbers lie side by side. */
static void widen_rows(const tw_rows *rows, const int64_t *ids, int64_t first, int count, char *staging,
                       size_t row_bytes) {
    const tw_widener widen = rows->widen[rows->is_double];
    const int bytes = rows->depth * rows->item_bytes < AHEAD_BYTES ? rows->depth * rows->item_bytes : AHEAD_BYTES;
    const int scattered = ids || rows->picks;
    if (scattered)
        for (int r = 0; r < count && r < AHEAD; r++) fetch_early(rows, ids, first, r, bytes);
    for (int r = 0; r < count; r++) {
        if (scattered && r + AHEAD < count) fetch_early(rows, ids, first, r + AHEAD, bytes);
        widen(rows->data + place(rows, ids, first, r) * rows->row_stride, rows->depth,
              staging + (size_t)r * row_bytes);
    }
}

static void multiply(double *values, int count, int depth, ptrdiff_t step, double scale) {
    for (int r = 0; r < count; r++)
        for (int l = 0; l < depth; l++) values[r * step + l] *= scale;
}

void tw_fetch_rows(const tw_rows *rows, const int64_t *ids, int64_t first, int count,
                   const void **pointers, void *staging, ptrdiff_t step) {
    if (rows->direct && !ids && !rows->picks) {
        const char *const start = rows->data + first * rows->row_stride;
        for (int r = 0; r < count; r++) pointers[r] = start + r * rows->row_stride;
        return;
    }
    if (rows->direct) {
        for (int r = 0; r < count; r++)
            pointers[r] = rows->data + place(rows, ids, first, r) * rows->row_stride;
        return;
    }
    const size_t item = rows->is_double ? 8 : 4;
    for (int r = 0; r < count; r++) pointers[r] = (char *)staging + (size_t)r * (size_t)step * item;
    if (rows->offsets) {
        if (rows->kind == TW_F8) {
            SCATTER(double, double)
        } else if (rows->is_double) {
            SCATTER(float, double)
        } else {
            SCATTER(float, float)
        }
        return;
    }
    const ptrdiff_t across = rows->row_stride < 0 ? -rows->row_stride : rows->row_stride;
    const ptrdiff_t along = rows->column_stride < 0 ? -rows->column_stride : rows->column_stride;
    const int by_columns = across < along;
    if (rows->widen && rows->widen[rows->is_double] && rows->column_stride == rows->item_bytes) {
        widen_rows(rows, ids, first, count, staging, (size_t)step * item);
    } else if (rows->is_double) {
        COPY_KINDS(double)
    } else {
        COPY_KINDS(float)
    }
    if (rows->scale != 0) multiply(staging, count, rows->depth, step, rows->scale);
}

/* Calls BODY(S, J, OUT) with the types of the stored values, the columns and the rows. */
#define BY_TYPES(BODY)                                     \
    if (rows->kind == TW_F8) {                             \
        if (rows->column_bytes == 4) BODY(double, int32_t, double) \
        else BODY(double, int64_t, double)                 \
    } else if (rows->is_double) {                          \
        if (rows->column_bytes == 4) BODY(float, int32_t, double) \
        else BODY(float, int64_t, double)                  \
    } else {                                               \
        if (rows->column_bytes == 4) BODY(float, int32_t, float) \
        else BODY(float, int64_t, float)                   \
    }

#define PUT(S, J, OUT)                                                                   \
    for (int64_t e = tw_row_start(rows, row), stop = tw_row_start(rows, row + 1); e < stop; e++) \
        ((OUT *)to)[((const J *)rows->columns)[e]] = (OUT)((const S *)rows->data)[e];

#define CLEAR(S, J, OUT)                                                                 \
    for (int64_t e = tw_row_start(rows, row), stop = tw_row_start(rows, row + 1); e < stop; e++) \
        ((OUT *)to)[((const J *)rows->columns)[e]] = 0;

void tw_scatter_row(const tw_rows *rows, int64_t i, void *to) {
    const int64_t row = tw_place(rows, i);
    BY_TYPES(PUT)
}

void tw_clear_row(const tw_rows *rows, int64_t i, void *to) {
    const int64_t row = tw_place(rows, i);
    BY_TYPES(CLEAR)
}

void tw_widen_row(const tw_rows *rows, int64_t i, double *to) {
    const int64_t row = tw_place(rows, i);
    const int64_t first = tw_row_start(rows, row), n = tw_row_start(rows, row + 1) - first;
    for (int64_t e = 0; e < n; e++)
        to[e] = rows->kind == TW_F8 ? ((const double *)rows->data)[first + e]
                                    : (double)((const float *)rows->data)[first + e];
}

/* Squares are added up in double, in four running sums so that they need not wait for each
 * other; which one, the column says, so that explicit zeros change nothing. */
#define PACK(S, J, OUT)                                                                  \
    for (int r = 0; r < count; r++) {                                                    \
        const int64_t row = tw_place(rows, ids[r]), first = tw_row_start(rows, row);     \
        const int n = (int)(tw_row_start(rows, row + 1) - first);                        \
        const S *from = (const S *)rows->data + first;                                   \
        const J *where = (const J *)rows->columns + first;                               \
        double square[4] = {0};                                                          \
        for (int e = 0; e < n; e++) {                                                    \
            const TW_SCORE value = (TW_SCORE)((double)from[e] * scale);                  \
            values[at + e] = value;                                                      \
            columns[at + e] = (int32_t)where[e];                                         \
            square[where[e] & 3] += (double)value * (double)value;                       \
        }                                                                                \
        at += n;                                                                         \
        starts[r + 1] = at;                                                              \
        norms[r] = (TW_SCORE)((square[0] + square[1]) + (square[2] + square[3]));        \
    }

#define TW_SCORE float
void tw_pack_entries_f4(const tw_rows *rows, const int64_t *ids, int count, double scale, int32_t *starts,
                        int32_t *columns, float *values, float *norms) {
    int32_t at = starts[0] = 0;
    BY_TYPES(PACK)
}
#undef TW_SCORE
#define TW_SCORE double
void tw_pack_entries_f8(const tw_rows *rows, const int64_t *ids, int count, double scale, int32_t *starts,
                        int32_t *columns, double *values, double *norms) {
    int32_t at = starts[0] = 0;
    BY_TYPES(PACK)
}
