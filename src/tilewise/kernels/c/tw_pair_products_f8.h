/* Squared distances of float64 as |x|^2 + |y|^2 - 2 x.y around an origin: a third of the operations
 * of direct differences, which the pairs get where this would lose digits. docs/matrices.md has
 * the bound. One running sum per TW_PAIR_CHAIN elements, with fused multiply and add, and these
 * added up in their order. */

/* Smaller coordinates count as zero, so that nothing underflows on the way: products are whole
 * multiples of 2^-764 ... */
#define SMALLEST_COORDINATE 0x1p-330
/* ... which nobody sees in squares above the first of these. Below the second no coordinate
 * exceeds 2^450, and neither sums nor the splitting of factors in fma_f8 overflow. */
#define LOWEST_SQUARES_F8 0x1p-500
#define HIGHEST_SUM_F8 0x1p900
TW_INLINE double centred_f8(double x, double origin) {
    const double value = x - origin;
    return fabs(value) < SMALLEST_COORDINATE ? 0 : value;
}

TW_INLINE tw_f8 centred_all_f8(tw_f8 x, tw_f8 origin) {
    const tw_f8 value = x - origin;
    return only_f8(~(abs_f8(value) < SMALLEST_COORDINATE), value);
}

/* The squared norm of x - origin: four times eight running sums, begun anew every 128 elements. */
static double norm_f8(const double *x, const double *origin, int depth) {
    tw_eight all = {0};
    int l = 0;
    while (l + 32 <= depth) {
        tw_eight sum[4] = {{0}};
        for (const int stop = l + 128; l + 32 <= depth && l < stop; l += 32)
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                tw_eight value = *(const tw_eight_u *)(x + l + 8 * i) - *(const tw_eight_u *)(origin + l + 8 * i);
                const tw_eight size = abs_eight(value);
                value = (tw_eight)((tw_eight_i)value & ~(size < SMALLEST_COORDINATE));
                sum[i] += value * value;
            }
        all += (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
    tw_eight rest = {0};
    for (int i = 0; l < depth; l++, i++) {
        const double value = centred_f8(x[l], origin[l]);
        rest[i % 8] += value * value;
    }
    all += rest;
    return meet_eight(all);
}

/* Canonical squared distances of x to four rows at once, since one waits for its own additions. */
static void measure_four_f8(const double *x, const double *const y[4], int depth, double out[4]) {
    tw_eight sum[4] = {{0}};
    int l = 0;
    for (; l + 8 <= depth; l += 8) {
        const tw_eight value = *(const tw_eight_u *)(x + l);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const tw_eight gap = value - *(const tw_eight_u *)(y[i] + l);
            sum[i] += gap * gap;
        }
    }
    for (int e = 0; l + e < depth; e++)
        for (int i = 0; i < 4; i++) {
            const double gap = x[l + e] - y[i][l + e];
            sum[i][e] += gap * gap;
        }
    for (int i = 0; i < 4; i++) out[i] = meet_eight(sum[i]);
}

/* The value of one squared distance. */
TW_INLINE double finished_f8(const int finish, double square) {
    if (finish == TW_ROOT) return __builtin_sqrt(square);
    if (finish == TW_HALF_TO_TWO) return square * 0.5 < 2 ? square * 0.5 : 2;
    return square;
}

TW_INLINE void measure_f8(const tw_pair_job *job, const double *x, const int *columns, int count, double *row) {
    const double *y[4];
    double out[4];
    for (int i = 0; i < 4; i++)
        y[i] = (const double *)job->others + columns[i < count ? i : 0] * job->other_step;
    measure_four_f8(x, y, job->depth, out);
    for (int i = 0; i < count; i++) {
        double *at = row + columns[i];
        *at = finished_f8(job->finish, out[i]);
        if (job->finish == TW_ROOT && !(*at >= LOWEST_TRUSTED_ROOT_F8 && *at <= HIGHEST_F8))
            *at = careful_f8(job, x, y[i], *at);
    }
}

/* x is the row, row (n_columns) its products, which become results. */
static void finish_products_f8(const tw_pair_job *job, const double *x, double *restrict row) {
    const int finish = job->finish;
    const double *norms = job->norms;
    const tw_f8 norm = splat_f8(norm_f8(x, job->origin, job->depth));
    const tw_f8 trusted = splat_f8(job->trusted), minus_two = splat_f8(-2), low = splat_f8(LOWEST_SQUARES_F8);
    int waiting[4 + LANES_F8], n = 0;
    for (int start = 0; start < job->n_columns; start += LANES_F8) {
        const tw_f8 both = norm + *(const tw_f8u *)(norms + start);
        const tw_f8 sum = fma_f8(minus_two, *(const tw_f8 *)(row + start), both);
        const uint32_t within = not_above_f8(max_f8(trusted * both, low), sum) &
                                not_above_f8(both, splat_f8(HIGHEST_SUM_F8));
        *(tw_f8 *)(row + start) = finish == TW_ROOT          ? root_f8(sum, start / LANES_F8)
                                  : finish == TW_HALF_TO_TWO ? min_f8(sum * splat_f8(0.5), splat_f8(2))
                                                             : sum;
        if (__builtin_expect(within == ALL_LANES_F8, 1)) continue;
        for (int i = 0; i < LANES_F8 && start + i < job->n_columns; i++)
            if (!(within >> i & 1)) waiting[n++] = start + i;
        for (; n >= 4; n -= 4) measure_f8(job, x, waiting + n - 4, 4, row);
    }
    if (n) measure_f8(job, x, waiting, n, row);
}
