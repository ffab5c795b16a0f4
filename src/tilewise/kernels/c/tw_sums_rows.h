/* Sums of rows on grids and in bins: see tw_sums.h. Included once per type of the data with S and
 * E(name) defined; compiled with -ffp-contract=off.
 */

/* Eight numbers of a row from column l on, with zeros behind its end. */
TW_INLINE tw_eight E(eight_of)(const S *x, int l, int depth) {
    if (l + 8 <= depth) return E(widened)(x + l);
    S part[8] = {0};
    for (int i = 0; l + i < depth; i++) part[i] = x[l + i];
    return E(widened)(part);
}

TW_INLINE void E(add_blocks)(const int limbs, const tw_grid *grid, const S *restrict x, double weight, int first,
                             int stop, int64_t *restrict sums) {
    const double *big = grid->bigs + (ptrdiff_t)8 * limbs * first;
    sums += (ptrdiff_t)8 * limbs * first;
    for (int b = first; b < stop; b++) {
        tw_eight v = E(eight_of)(x, 8 * b, grid->depth) * weight;
#pragma GCC unroll 2
        for (int i = 0; i < limbs; i++, big += 8, sums += 8) {
            const tw_eight at = *(const tw_eight_u *)big, t = v + at;
            *(tw_eight_w *)sums += (tw_bits)t - (tw_bits)at;
            v -= t - at;
        }
    }
}

/* The blocks first to stop of a row of sums += weight * x. */
static void E(add_row)(const tw_grid *grid, const S *x, double weight, int first, int stop, int64_t *sums) {
    switch (grid->uniform) {
        case 1: E(add_blocks)(1, grid, x, weight, first, stop, sums); return;
        case 2: E(add_blocks)(2, grid, x, weight, first, stop, sums); return;
        default: break;
    }
    for (int b = first; b < stop; b++) {
        tw_eight v = E(eight_of)(x, 8 * b, grid->depth) * weight;
        const double *big = grid->bigs + grid->starts[b];
        int64_t *to = sums + grid->starts[b];
        for (int i = 0; i < grid->limbs[b]; i++, big += 8, to += 8) {
            const tw_eight at = *(const tw_eight_u *)big, t = v + at;
            *(tw_eight_w *)to += (tw_bits)t - (tw_bits)at;
            v -= t - at;
        }
    }
}

/* sums (blocks of eight columns) += up to TW_FOLD rows x[0], x[1], ..., times weights[0], ... if they are
 * not NULL. Rows that lie in L1 or L2: each eight columns are walked twice. */
static void E(bin_rows)(const S *const *x, const double *weights, int n_rows, int depth, tw_bins8 *sums) {
    for (int l = 0; l < depth; l += 8, sums++) {
        tw_eight largest = {0}, probe = {0};
        for (int r = 0; r < n_rows; r++) {
            const tw_eight v = E(eight_of)(x[r], l, depth) * (weights ? weights[r] : 1.0), size = size_of(v);
            largest = larger_of(size, largest);
            probe += v * 0.0;
        }
        tw_eight bigs[TW_BINS];
        tw_bits more[TW_BINS] = {{0}};
        place_bins(sums, largest, probe, bigs);
        for (int r = 0; r < n_rows; r++)
            bin_eight(TW_BINS, E(eight_of)(x[r], l, depth) * (weights ? weights[r] : 1.0), bigs, more);
        for (int i = 0; i < TW_BINS; i++) *(tw_eight_w *)sums->low[i] += more[i];
        tw_bins8_fold(sums);
    }
}

/* The same without weights, and the sums of squares, and the largest and the least magnitude other
 * than zero of each column (whole blocks are written; least is infinite if all are zero). */
static void E(moments)(const S *const *x, int n_rows, int depth, tw_bins8 *sums, tw_bins8 *squares, double *largest,
                       double *least) {
    for (int l = 0; l < depth; l += 8, sums++, squares++, largest += 8, least += 8) {
        tw_eight most = {0}, fewest = {0}, probe = {0};
        fewest += __builtin_inf();
        for (int r = 0; r < n_rows; r++) {
            const tw_eight v = E(eight_of)(x[r], l, depth), size = size_of(v);
            most = larger_of(size, most);
            fewest = least_of(size, fewest);
            probe += v * 0.0;
        }
        tw_eight bigs[TW_BINS], wide[TW_BINS];
        tw_bits more[TW_BINS] = {{0}}, most_squares[TW_BINS] = {{0}};
        place_bins(sums, most, probe, bigs);
        place_bins(squares, most * most, probe, wide);
        for (int r = 0; r < n_rows; r++) {
            const tw_eight v = E(eight_of)(x[r], l, depth), square = v * v;
            bin_eight(TW_BINS, v, bigs, more);
            bin_eight(TW_BINS, square, wide, most_squares);
            if (sizeof(S) == 8) bin_eight(TW_BINS, square_rest(v, square), wide, most_squares);
        }
        for (int i = 0; i < TW_BINS; i++) {
            *(tw_eight_w *)sums->low[i] += more[i];
            *(tw_eight_w *)squares->low[i] += most_squares[i];
        }
        tw_bins8_fold(sums);
        tw_bins8_fold(squares);
        *(tw_eight_u *)largest = larger_of(most, *(const tw_eight_u *)largest);
        *(tw_eight_u *)least = smaller_of(fewest, *(const tw_eight_u *)least);
    }
}
