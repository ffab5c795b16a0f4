/* Sums of rows on grids and in bins: see tw_sums.h. Included once per type of the data with S and
 * E(name) defined; compiled with -ffp-contract=off.
 */

/* Eight numbers of a row from column l on, with zeros behind its end. */
TW_INLINE tw_eight E(eight_of)(const S *x, int l, int depth) {
    return l + 8 <= depth ? E(widened)(x + l) : E(some_widened)(x + l, depth - l);
}

TW_INLINE void E(add_blocks)(const ptrdiff_t limbs, const tw_grid *grid, const S *restrict x, double weight,
                             int first, int stop, int64_t *restrict sums) {
    for (int b = first; b < stop; b++)
        add_eight(limbs, E(eight_of)(x, 8 * b, grid->depth) * weight, grid->bigs + 8 * limbs * b, sums + 8 * limbs * b);
}

/* The blocks first to stop of a row of sums += weight * x. */
static void E(add_row)(const tw_grid *grid, const S *x, double weight, int first, int stop, int64_t *sums) {
    switch (grid->uniform) {
        case 1: E(add_blocks)(1, grid, x, weight, first, stop, sums); return;
        case 2: E(add_blocks)(2, grid, x, weight, first, stop, sums); return;
        default: break;
    }
    for (int b = first; b < stop; b++)
        add_eight(grid->limbs[b], E(eight_of)(x, 8 * b, grid->depth) * weight, grid->bigs + grid->starts[b],
                  sums + grid->starts[b]);
}

/* sums (blocks of eight columns) += up to TW_FOLD rows x[0], x[1], ..., times weights[0], ... if they are
 * not NULL. The rows are finite, and lie in L1 or L2: each eight columns are walked twice. Unweighted floats,
 * of 24 bits, take two limbs: at least 51 bits. */
TW_INLINE void E(bin_weighted)(const int limbs, const S *const *x, const double *weights, int n_rows, int depth,
                               tw_bins8 *sums) {
    for (int l = 0; l < depth; l += 8, sums++) {
        tw_eight largest = {0}, probe = {0}, bigs[TW_BINS];
        tw_eight_i more[TW_BINS] = {{0}};
        for (int r = 0; r < n_rows; r++) {
            tw_eight v = E(eight_of)(x[r], l, depth);
            if (weights) {
                v *= weights[r];
                probe += v * 0.0;
            }
            largest = larger_of(abs_eight(v), largest);
        }
        place_bins(sums, largest, probe, bigs);
        for (int r = 0; r < n_rows; r++) {
            tw_eight v = E(eight_of)(x[r], l, depth);
            if (weights) v *= weights[r];
            bin_eight(limbs, v, bigs, more);
        }
        for (int i = 0; i < limbs; i++) *(tw_eight_m *)sums->low[i] += (tw_eight_m)more[i];
        tw_bins8_fold(sums);
    }
}

static void E(bin_rows)(const S *const *x, const double *weights, int n_rows, int depth, tw_bins8 *sums) {
    if (weights) E(bin_weighted)(TW_BINS, x, weights, n_rows, depth, sums);
    else E(bin_weighted)(sizeof(S) == 4 ? 2 : TW_BINS, x, NULL, n_rows, depth, sums);
}

/* bin_rows and move_center in one step, for all the rows of a centre, up to 64 of weight one. Returns whether
 * it could: where a sum needs more care the centre is left half moved. */
static int E(move_by_rows)(const S *const *x, int n_rows, int depth, double count, double *center) {
    enum { LIMBS = sizeof(S) == 4 ? 2 : TW_BINS };
    for (int l = 0; l < depth; l += 8) {
        tw_eight largest = {0}, bigs[TW_BINS], high, low;
        tw_eight_i sums[TW_BINS] = {{0}}, highs[TW_BINS];
        for (int r = 0; r < n_rows; r++) largest = larger_of(abs_eight(E(eight_of)(x[r], l, depth)), largest);
        const tw_eight_i tops = tops_for(largest);
        const tw_eight_i odd = ((tops < TW_BINS + 2) & (tw_eight_i)(largest != 0.0)) | (tops > TW_HIGHEST);
        if (any_of(odd)) return 0;
        for (int i = 0; i < LIMBS; i++) bigs[i] = bins_big((const int64_t *)&tops, i);
        for (int r = 0; r < n_rows; r++) bin_eight(LIMBS, E(eight_of)(x[r], l, depth), bigs, sums);
        for (int i = 0; i < TW_BINS; i++) {
            highs[i] = sums[i] >> TW_LIMB;
            sums[i] -= highs[i] << TW_LIMB;
        }
        eight_values(tops, highs, sums, &high, &low);
        move_eight(high, low, n_rows, count, l, depth, center);
    }
    return 1;
}

/* The sums of eight columns from l on and of their squares, on so many limbs: as many as have digits. */
TW_INLINE void E(moments_some)(const int limbs, const int whole, const int normal, const S *const *x, ptrdiff_t ahead,
                               int n_rows, int l, int depth, const tw_eight *bigs, const tw_eight *wide,
                               tw_bins8 *sums, tw_bins8 *squares) {
    tw_eight_i more[TW_BINS] = {{0}}, most[TW_BINS] = {{0}}, rests[TW_BINS] = {{0}};
    for (int r = 0; r < n_rows; r++) {
        const tw_eight v = whole ? E(widened)(x[r] + l) : E(some_widened)(x[r] + l, depth - l), square = v * v;
        tw_eight a = v, b = square;
        if (l * sizeof(S) % 64 == 0) __builtin_prefetch((const char *)(x[r] + l) + ahead, 0, 2);
#pragma GCC unroll 3
        for (int i = 0; i < limbs; i++) {
            a = cut_eight(a, bigs[i], more + i);
            b = sizeof(S) == 4 && i == 0 ? cut_square(v, wide[0], most) : cut_eight(b, wide[i], most + i);
        }
        if (sizeof(S) == 4) continue;
        /* A rest is less than an eighth of the unit of the first limb. */
        tw_eight rest = square_rest_of(normal, v, square);
#pragma GCC unroll 3
        for (int i = 1; i < limbs; i++) rest = cut_eight(rest, wide[i], rests + i);
    }
    for (int i = 0; i < limbs; i++) {
        *(tw_eight_m *)sums->low[i] += (tw_eight_m)uncount(more[i], bigs[i], n_rows);
        *(tw_eight_m *)squares->low[i] += (tw_eight_m)uncount(most[i], wide[i], n_rows);
        if (sizeof(S) == 8 && i > 0)
            *(tw_eight_m *)squares->low[i] += (tw_eight_m)uncount(rests[i], wide[i], n_rows);
    }
}

TW_INLINE void E(moments_eight)(const int whole, const S *const *x, ptrdiff_t ahead, int n_rows, int l, int depth,
                                tw_eight most, tw_eight fewest, tw_bins8 *sums, tw_bins8 *squares, double *largest,
                                double *least) {
    tw_eight bigs[TW_BINS], wide[TW_BINS];
    place_bins(sums, most, most * 0.0, bigs);
    place_bins(squares, most * most, most * 0.0, wide);
    if (sizeof(S) == 4 && two_limbs(fewest, sums, squares))
        E(moments_some)(2, whole, 1, x, ahead, n_rows, l, depth, bigs, wide, sums, squares);
    else if (sizeof(S) == 4 || !any_of((tw_eight_i)(fewest < 0x1p-480)))
        E(moments_some)(TW_BINS, whole, 1, x, ahead, n_rows, l, depth, bigs, wide, sums, squares);
    else E(moments_some)(TW_BINS, whole, 0, x, ahead, n_rows, l, depth, bigs, wide, sums, squares);
    tw_bins8_fold(sums);
    tw_bins8_fold(squares);
    *(tw_eight_u *)largest = larger_of(most, *(const tw_eight_u *)largest);
    *(tw_eight_u *)least = smaller_of(fewest, *(const tw_eight_u *)least);
}

/* sums and squares (blocks of eight columns) += up to TW_FOLD rows and their squares, of any values; and the
 * largest and the least magnitude other than zero of each column (whole blocks are written; least is infinite
 * if all are zero). As many columns as fill a cache line are walked for their magnitudes, then for their sums. */
static void E(moments)(const S *const *x, int n_rows, int depth, tw_bins8 *sums, tw_bins8 *squares, double *largest,
                       double *least) {
    enum { SOME = 64 / sizeof(S) };
    /* The next as many rows, if they follow in memory; else the fetch has no effect. */
    const ptrdiff_t ahead = n_rows > 1 ? ((const char *)x[1] - (const char *)x[0]) * n_rows : 0;
    for (int l = 0; l < depth; l += 8, sums++, squares++, largest += 8, least += 8) {
        tw_eight most[2], fewest[2];
        if (l % SOME == 0) {
            if (l + SOME <= depth) E(extremes)(1, x, n_rows, l, depth, most, fewest);
            else E(extremes)(0, x, n_rows, l, depth, most, fewest);
        }
        const int at = l % SOME / 8;
        if (l + 8 <= depth)
            E(moments_eight)(1, x, ahead, n_rows, l, depth, most[at], fewest[at], sums, squares, largest, least);
        else E(moments_eight)(0, x, ahead, n_rows, l, depth, most[at], fewest[at], sums, squares, largest, least);
    }
}
