/* Distances of float64 rows whose sums the type has no room for: squares, powers or products that
 * overflow, or become so small that digits are lost, although the distance itself is an ordinary
 * number. Such a pair is measured again with its gaps divided by (about) the largest of them.
 * Powers of two are divided by wherever that suffices: they round nothing. */

/* Roots from here on come from squares that are accurate: what lies below 2^-1022 is lost, and
 * cannot be seen in a sum of 2^-960. */
#define LOWEST_TRUSTED_ROOT_F8 0x1p-480
/* The same for sums of powers. */
#define LOWEST_POWERS_F8 0x1p-900

/* Whether results, as they are before powers have roots, may need care; above *low they do not. */
static int needs_care_f8(const tw_pair_job *job, double *low) {
    *low = -HIGHEST_F8;
    if (job->finish == TW_ROOT) *low = LOWEST_TRUSTED_ROOT_F8;
    if (job->finish == TW_POWER_ROOT) *low = LOWEST_POWERS_F8;
    if (job->finish != TW_AS_IT_IS) return job->finish == TW_ROOT || job->finish == TW_POWER_ROOT;
    /* Zero times infinity counts as zero where the weight is zero. */
    return job->kind == TW_PRODUCTS || job->kind == TW_BRAYCURTIS || job->kind == TW_WEIGHTED_SQUARES ||
           job->kind == TW_WEIGHTED_GAPS;
}

/* The power of two that brings numbers of up to `largest` to about one; its exponent, negated. */
static double scale_f8(double largest, int *exponent) {
    *exponent = 0;
    if (largest > 0 && largest < __builtin_inf()) frexp(largest, exponent);
    /* 2^1000 still brings the least number of all to 2^-74. */
    *exponent = *exponent > 1000 ? 1000 : *exponent < -1000 ? -1000 : *exponent;
    return ldexp(1.0, -*exponent);
}

static double largest_of_f8(const double *x, int depth) {
    double largest = 0;
    for (int l = 0; l < depth; l++) largest = fabs(x[l]) > largest ? fabs(x[l]) : largest;
    return largest;
}

static double careful_product_f8(const double *x, const double *y, int depth) {
    int of_x, of_y;
    const double a = scale_f8(largest_of_f8(x, depth), &of_x), b = scale_f8(largest_of_f8(y, depth), &of_y);
    double sum[8] = {0};
    for (int l = 0; l < depth; l++) sum[l % 8] += x[l] * a * (y[l] * b);
    return ldexp(tw_meet(sum), of_x + of_y);
}

static double careful_braycurtis_f8(const double *x, const double *y, const double *weights, int depth) {
    const double of_x = largest_of_f8(x, depth), of_y = largest_of_f8(y, depth);
    int exponent;
    const double scale = scale_f8(of_x > of_y ? of_x : of_y, &exponent);
    double apart[8] = {0}, together[8] = {0};
    for (int l = 0; l < depth; l++) {
        apart[l % 8] += weights[l] * fabs(x[l] * scale - y[l] * scale);
        together[l % 8] += weights[l] * fabs(x[l] * scale + y[l] * scale);
    }
    return tw_meet(apart) / tw_meet(together);
}

/* The distance of x and y (depth), whose sum came out of range; `value` is what came out. */
static double careful_f8(const tw_pair_job *job, const double *x, const double *y, double value) {
    const int kind = job->kind, depth = job->depth, powers = job->finish == TW_POWER_ROOT;
    const int known = kind == TW_KNOWN_SQUARES, weighted = has_weights(kind);
    double largest = 0, sum[8] = {0};
    int present = 0, exponent;
    if (kind == TW_PRODUCTS) return careful_product_f8(x, y, depth);
    if (kind == TW_BRAYCURTIS) return careful_braycurtis_f8(x, y, job->weights, depth);
    for (int l = 0; l < depth; l++) {
        const double gap = fabs(x[l] - y[l]);
        if (gap != gap && !known) return gap;
        present += gap == gap;
        if (gap > largest && !(weighted && job->weights[l] == 0)) largest = gap;
    }
    if (largest == 0) return known ? value : 0;
    /* Then the distance is as infinite. */
    if (!(largest < __builtin_inf())) return largest;
    const double scale = scale_f8(largest, &exponent);
    for (int l = 0; l < depth; l++) {
        const double gap = fabs(x[l] - y[l]), w = weighted ? job->weights[l] : 1;
        if (gap != gap || w == 0) continue;
        sum[l % 8] += w * (powers                     ? pow(gap / largest, job->power)
                           : kind == TW_WEIGHTED_GAPS ? gap
                                                      : gap * scale * (gap * scale));
    }
    double all = tw_meet(sum);
    if (known) all = all / present * depth;
    if (powers) return largest * pow(all, 1 / job->power);
    if (kind == TW_WEIGHTED_GAPS) return all;
    return job->finish == TW_ROOT ? ldexp(__builtin_sqrt(all), exponent) : ldexp(all, 2 * exponent);
}

/* Measure those results of one vector, at row[start], again that are not within the range. Rows that
 * are equal are the common case: one look at the panel tells them. */
static void mend_f8(const tw_pair_job *job, const double *x, int start, uint32_t within, double *row) {
    const double *panel = (const double *)job->panels + (ptrdiff_t)start * job->depth;
    tw_i8 differ = {0};
    for (int l = 0; l < job->depth; l++) differ |= splat_f8(x[l]) != *(const tw_f8 *)(panel + (ptrdiff_t)l * LANES_F8);
    const tw_i8 equal = (*(const tw_f8 *)(row + start) == splat_f8(0)) & ~differ;
    within |= not_above_f8(splat_f8(1), only_f8(equal, splat_f8(1)));
    if (within == ALL_LANES_F8) return;
    for (int i = 0; i < LANES_F8 && start + i < job->n_columns; i++) {
        if (within >> i & 1) continue;
        const double *other = (const double *)job->others + (start + i) * job->other_step;
        row[start + i] = careful_f8(job, x, other, row[start + i]);
    }
}

/* The results of a row that may need care. */
static void finish_with_care_f8(const tw_pair_job *job, const double *x, double low, double *row) {
    const int powers = job->finish == TW_POWER_ROOT;
    for (int start = 0; start < job->n_columns; start += LANES_F8) {
        const tw_f8 sum = *(const tw_f8 *)(row + start);
        const uint32_t within = not_above_f8(splat_f8(low), sum) & not_above_f8(sum, splat_f8(HIGHEST_F8));
        if (powers)
            for (int i = 0; i < LANES_F8 && start + i < job->n_columns; i++)
                row[start + i] = pow(row[start + i], 1 / job->power);
        if (__builtin_expect(within != ALL_LANES_F8, 0)) mend_f8(job, x, start, within, row);
    }
}
