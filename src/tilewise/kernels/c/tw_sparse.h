/* Distances to sparse rows whose values are returned: all in double, in one order of additions
 * per pair, compiled with -ffp-contract=off, so that the numbers do not depend on the width
 * of a vector.
 */

/* Inner products, and what Manhattan adds to the sums of magnitudes, of sparse rows with
 * panels of dense ones. */
#define T double
#define V tw_f8
#define F(name) product_##name
TW_INLINE V product_splat(double x) { return x - (V){0}; }
#include "tw_csr.h"
#undef F
#undef TW_TERM
#define F(name) excess_##name
TW_INLINE V excess_splat(double x) { return x - (V){0}; }
TW_INLINE V magnitude(V v) { return (V)((tw_i8)v & INT64_MAX); }
#define TW_TERM(x, c) (magnitude((x) - (c)) - (magnitude(x) + magnitude(c)))
#include "tw_csr.h"
#undef F
#undef T
#undef V
#undef TW_TERM

static void csr_panels(int excess, int n_rows, const int32_t *starts, const int32_t *columns,
                       const double *values, ptrdiff_t depth, const double *panels, int n_panels,
                       int panel_vectors, double *out, ptrdiff_t ld) {
    if (excess)
        excess_csr_scores(n_rows, starts, columns, values, depth, panels, n_panels, panel_vectors, out, ld);
    else
        product_csr_scores(n_rows, starts, columns, values, depth, panels, n_panels, panel_vectors, out, ld);
}

/* The same of one sparse row with an inverted index of sparse rows: column l of the block
 * holds entries heads[l] .. heads[l + 1], each a row of the block and a value. sums (block)
 * holds zeros before. Per pair the common columns add up in rising order, so that the number
 * is the same from either side. Level: sums in L1, the index in L2. */
static void csr_index(int excess, int n, const int32_t *restrict columns, const double *restrict values,
                      const int32_t *restrict heads, const int32_t *restrict rows,
                      const double *restrict others, double *restrict sums) {
    enum { AHEAD = 6 }; /* entries between the fetch of a column and its use */
    for (int e = 0; e < n; e++) {
        const double x = values[e];
        const int stop = heads[columns[e] + 1];
        if (e + AHEAD < n) {
            const int next = heads[columns[e + AHEAD]];
            __builtin_prefetch(rows + next);
            __builtin_prefetch(others + next);
            __builtin_prefetch(others + next + 7);
        }
        if (excess) {
            const double size = __builtin_fabs(x);
            for (int i = heads[columns[e]]; i < stop; i++)
                sums[rows[i]] += __builtin_fabs(x - others[i]) - (size + __builtin_fabs(others[i]));
        } else
            for (int i = heads[columns[e]]; i < stop; i++) sums[rows[i]] += x * others[i];
    }
}

/* From sums to distances, one row against n others; returns how many pairs in `redo` cancel or
 * leave the range in which sums, and squares in the type of the result, are accurate. size is the squared norm, the norm (-1 for a
 * row of zeros), or the sum of magnitudes, as the kernel asks. */
#define TW_FINISH(OUT, SUFFIX, ROOT, LOW, HIGH)                                                              \
    static int finish_##SUFFIX(int kernel, int n, double size, const double *restrict sizes,         \
                               const double *restrict sums, double share, OUT *restrict out,         \
                               uint8_t *restrict flags, int32_t *restrict redo) {                    \
        int any = 0, count = 0;                                                                      \
        switch (kernel) {                                                                            \
            case TW_DOT:                                                                             \
                for (int j = 0; j < n; j++) out[j] = (OUT)sums[j];                                   \
                return 0;                                                                            \
            case TW_SQEUCLIDEAN:                                                                     \
            case TW_EUCLIDEAN:                                                                       \
                for (int j = 0; j < n; j++) {                                                        \
                    const double both = size + sizes[j], value = both - 2 * sums[j];                 \
                    out[j] = kernel == TW_EUCLIDEAN ? ROOT((OUT)value) : (OUT)value;                  \
                    flags[j] = !((value >= share * both) & (both >= LOW) & (both <= HIGH));          \
                    any |= flags[j];                                                                 \
                }                                                                                    \
                break;                                                                               \
            case TW_COSINE:                                                                          \
                for (int j = 0; j < n; j++) {                                                        \
                    const double value = 1 - sums[j] / (size * sizes[j]);                            \
                    const int zero = (size < 0) | (sizes[j] < 0);                                    \
                    out[j] = (OUT)(zero ? 1 : value < 2 ? value : 2);                                \
                    flags[j] = !zero & !((value >= share) & (size >= 1e-140) & (size <= 1e150) &     \
                                         (sizes[j] >= 1e-140) & (sizes[j] <= 1e150));                \
                    any |= flags[j];                                                                 \
                }                                                                                    \
                break;                                                                               \
            default:                                                                                 \
                for (int j = 0; j < n; j++) {                                                        \
                    const double both = size + sizes[j], value = both + sums[j];                     \
                    out[j] = (OUT)value;                                                             \
                    flags[j] = !((value >= share * both) & (both <= 1e300));                         \
                    any |= flags[j];                                                                 \
                }                                                                                    \
        }                                                                                            \
        if (any)                                                                                     \
            for (int j = 0; j < n; j++)                                                              \
                if (flags[j]) redo[count++] = j;                                                     \
        return count;                                                                                \
    }
TW_FINISH(float, f4, __builtin_sqrtf, 1e-30, 1e37)
TW_FINISH(double, f8, __builtin_sqrt, 1e-280, 1e300)

/* The value or zero; a branch would be taken wrongly half of the time. */
TW_INLINE double kept_if(int condition, double value) {
    union { double value; uint64_t bits; } u = {value};
    u.bits &= -(uint64_t)condition;
    return u.value;
}

/* out is (count), up to four: canonical squared distances of x to rows y[j] (ny[j]), by merging
 * as `merged` does. All lists end with column INT32_MAX and value 0. A merge waits for its own last
 * step, so four take turns. */
TW_INLINE void merged_some(const int count, const int32_t *restrict x_columns, const double *restrict x,
                           const int32_t *const *y_columns, const double *const *y, double *restrict out) {
    double sum[4][8] = {{0}};
    int a[4] = {0}, b[4] = {0};
    for (int open = 1; open;) {
        open = 0;
#pragma GCC unroll 4
        for (int j = 0; j < count; j++) {
            const int32_t at_x = x_columns[a[j]], at_y = y_columns[j][b[j]];
            const int from_x = at_x <= at_y, from_y = at_y <= at_x;
            const int32_t l = (at_x & -from_x) | (at_y & -!from_x);
            const double gap = kept_if(from_x, x[a[j]]) - kept_if(from_y, y[j][b[j]]);
            /* Of a list that has ended, zeros. */
            const int more = l != INT32_MAX;
            sum[j][l & 7] += gap * gap;
            a[j] += from_x & more;
            b[j] += from_y & more;
            open |= more;
        }
    }
    for (int j = 0; j < count; j++) out[j] = tw_meet(sum[j]);
}

static void merged_four(int count, const int32_t *x_columns, const double *x, const int32_t *const *y_columns,
                        const double *const *y, double *out) {
    switch (count) {
        case 1: merged_some(1, x_columns, x, y_columns, y, out); break;
        case 2: merged_some(2, x_columns, x, y_columns, y, out); break;
        case 3: merged_some(3, x_columns, x, y_columns, y, out); break;
        default: merged_some(4, x_columns, x, y_columns, y, out); break;
    }
}

static double largest_of(const double *x, int n) {
    double largest = 0;
    for (int i = 0; i < n; i++) {
        const double size = __builtin_fabs(x[i]);
        /* A NaN stays. */
        if (!(size <= largest)) largest = size;
    }
    return largest;
}

/* What a row is divided by to be of unit length: its largest magnitude, then root. */
static double root_of(const int32_t *columns, const double *x, int n, double largest) {
    double sum[8] = {0};
    for (int i = 0; i < n; i++) {
        const double share = x[i] / largest;
        sum[(columns ? columns[i] : i) & 7] += share * share;
    }
    return __builtin_sqrt(tw_meet(sum));
}

/* Calls BODY for every column that x or y stores, with their values u and v there. Columns rise;
 * NULL stands for 0, 1, ... */
#define TW_WALK(BODY)                                                               \
    for (int a = 0, b = 0; a < nx || b < ny;) {                                     \
        const int32_t at_x = a >= nx ? INT32_MAX : x_columns ? x_columns[a] : a;    \
        const int32_t at_y = b >= ny ? INT32_MAX : y_columns ? y_columns[b] : b;    \
        const int32_t l = at_x < at_y ? at_x : at_y;                                \
        const double u = at_x == l ? x[a] : 0, v = at_y == l ? y[b] : 0;            \
        a += at_x == l;                                                             \
        b += at_y == l;                                                             \
        BODY                                                                        \
    }

/* The euclidean distance of one pair whose sum of squares, `total`, is out of range: its gaps are
 * multiplied by the power of two that brings the largest to about one. */
static double far_or_near(double total, int nx, const int32_t *x_columns, const double *x, int ny,
                          const int32_t *y_columns, const double *y) {
    double largest = 0, sum[8] = {0};
    int exponent;
    TW_WALK({
        (void)l;
        const double gap = __builtin_fabs(u - v);
        if (!(gap <= largest)) largest = gap;
    })
    if (!(largest > 0 && largest < __builtin_inf())) return largest == largest ? largest : total;
    frexp(largest, &exponent);
    /* 2^1000 still brings the least number of all to 2^-74. */
    exponent = exponent > 1000 ? 1000 : exponent < -1000 ? -1000 : exponent;
    const double scale = ldexp(1.0, -exponent);
    TW_WALK({
        const double gap = (u - v) * scale;
        sum[l & 7] += gap * gap;
    })
    return ldexp(__builtin_sqrt(tw_meet(sum)), exponent);
}

/* The distance of one pair from direct differences, in the canonical order: column l goes to
 * running sum l % 8; columns that neither row stores would add zeros. Columns rise;
 * NULL stands for 0, 1, ... For cosine, half the squared distance of the unit rows. */
static double merged(int kernel, int nx, const int32_t *x_columns, const double *x, int ny,
                     const int32_t *y_columns, const double *y) {
    double sum[8] = {0}, x_largest = 1, y_largest = 1, x_root = 1, y_root = 1;
    if (kernel == TW_COSINE) {
        x_largest = largest_of(x, nx);
        y_largest = largest_of(y, ny);
        if (x_largest == 0 || y_largest == 0) return 1;
        x_root = root_of(x_columns, x, nx, x_largest);
        y_root = root_of(y_columns, y, ny, y_largest);
    }
    int a = 0, b = 0;
    /* Without branches, which could not be foreseen, while both have entries left. */
    if (kernel <= TW_EUCLIDEAN && y_columns)
        while (a < nx && b < ny) {
            const int32_t at_x = x_columns[a], at_y = y_columns[b];
            const int from_x = at_x <= at_y, from_y = at_y <= at_x;
            const double u = x[a], v = y[b], gap = (from_x ? u : 0) - (from_y ? v : 0);
            sum[(from_x ? at_x : at_y) & 7] += gap * gap;
            a += from_x;
            b += from_y;
        }
    while (a < nx || b < ny) {
        const int32_t at_x = a >= nx ? INT32_MAX : x_columns ? x_columns[a] : a;
        const int32_t at_y = b >= ny ? INT32_MAX : y_columns ? y_columns[b] : b;
        const int32_t l = at_x < at_y ? at_x : at_y;
        double u = at_x == l ? x[a] : 0, v = at_y == l ? y[b] : 0;
        a += at_x == l;
        b += at_y == l;
        if (kernel == TW_COSINE) {
            u = u / x_largest / x_root;
            v = v / y_largest / y_root;
        }
        const double gap = u - v;
        sum[l & 7] += kernel == TW_MANHATTAN ? __builtin_fabs(gap) : gap * gap;
    }
    const double total = tw_meet(sum);
    if (kernel == TW_EUCLIDEAN && !(total >= 0x1p-960 && total < __builtin_inf()))
        return far_or_near(total, nx, x_columns, x, ny, y_columns, y);
    if (kernel == TW_EUCLIDEAN) return __builtin_sqrt(total);
    return kernel == TW_COSINE ? 0.5 * total : total;
}
