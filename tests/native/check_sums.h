/* Sums on grids and in bins have the bits of these loops, which add one number after another in
 * the scalar functions of tw_sums.h. Included once per type of the data with S and N(name) defined;
 * compiled without contraction. */

static S *N(some_row)(int depth, const int16_t *exponents) {
    S *x = buffer((size_t)depth * sizeof *x);
    for (int l = 0; l < depth; l++) x[l] = (S)ldexp(uniform() - 0.5, exponents[l]);
    return x;
}

/* A row of sums: added to, carried, averaged. kind: one limb, two, some each, units that are subnormal. */
static void N(check_grid)(const tw_exact_kernels *e, int depth, int kind) {
    const int blocks = depth ? (depth + 7) / 8 : 1;
    int32_t *limbs = buffer((size_t)blocks * sizeof *limbs), *starts = buffer((size_t)(blocks + 1) * sizeof *starts);
    int16_t *exponents = buffer((size_t)blocks * 8 * sizeof *exponents);
    starts[0] = 0;
    for (int b = 0; b < blocks; b++) {
        limbs[b] = kind < 2 ? kind + 1 : whole(1, 5);
        starts[b + 1] = starts[b] + 8 * limbs[b];
        for (int l = 8 * b; l < 8 * b + 8; l++)
            exponents[l] = (int16_t)(kind < 3 ? whole(-9, 9) : -1074 + 50 * limbs[b] + whole(0, 9));
    }
    const size_t length = (size_t)starts[blocks], bytes = length * sizeof(int64_t);
    double *bigs = buffer(length * sizeof *bigs);
    for (int b = 0; b < blocks; b++)
        for (int i = 0; i < 8 * limbs[b]; i++) bigs[starts[b] + i] = tw_big(exponents[8 * b + i % 8] - 50 * (i / 8 + 1));
    const tw_grid grid = {depth, blocks, kind < 2 ? limbs[0] : 0, kind < 3, limbs, starts, exponents, bigs,
                          (int64_t)length};
    int64_t *sums = buffer(bytes), *expected = buffer(bytes), *spill = buffer((size_t)blocks * 64);
    double *old = buffer((size_t)depth * 8), *out = buffer((size_t)depth * 8), *mean = buffer((size_t)depth * 8);
    double *high = buffer((size_t)depth * 8), *low = buffer((size_t)depth * 8);
    memset(sums, 0, bytes), memset(expected, 0, bytes), memset(spill, 0, (size_t)blocks * 64);
    for (int r = 0; r < 9; r++) {
        S *x = N(some_row)(depth, exponents);
        const double weight = r ? uniform() - 0.3 : 1.0;
        const int middle = whole(0, blocks);
        e->N(add_row)(&grid, x, weight, 0, middle, sums);
        e->N(add_row)(&grid, x, weight, middle, blocks, sums);
        for (int l = 0; l < depth; l++) tw_add_entry(&grid, weight * (double)x[l], l, expected);
        CHECK(!memcmp(sums, expected, bytes), "depth %d, kind %d, row %d", depth, kind, r);
        free(x);
    }
    for (int carried = 0; carried < 2; carried++) {
        double lane[8] = {0};
        const double weight = 1 + 3 * uniform();
        for (int l = 0; l < depth; l++) {
            double hi, lo;
            tw_value_of(carried ? spill[l] : 0, sums + starts[l / 8] + l % 8, limbs[l / 8], exponents[l], &hi, &lo);
            if (carried) CHECK(hi == high[l] && lo == low[l], "depth %d, kind %d, column %d", depth, kind, l);
            old[l] = ldexp(uniform(), exponents[l]);
            mean[l] = hi / weight;
            mean[l] += (fma(-mean[l], weight, hi) + lo) * (1 / weight);
            lane[l % 8] += (mean[l] - old[l]) * (mean[l] - old[l]);
        }
        const double moved = e->average_row(&grid, sums, spill, carried, weight, old, out);
        CHECK(!memcmp(out, mean, (size_t)depth * 8), "depth %d, kind %d, %d", depth, kind, carried);
        CHECK(moved == ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7])),
              "depth %d, kind %d, %d", depth, kind, carried);
        if (carried) break;
        /* As full as they get. */
        for (size_t i = 0; i < length; i++) sums[i] = (int64_t)next_random() >> 2;
        for (int l = 0; l < depth; l++)
            tw_value_of(0, sums + starts[l / 8] + l % 8, limbs[l / 8], exponents[l], high + l, low + l);
        const int middle = whole(0, blocks);
        e->carry_row(&grid, 0, middle, sums, spill);
        e->carry_row(&grid, middle, blocks, sums, spill);
        for (size_t i = 0; i < length; i++) CHECK(sums[i] >= 0 && sums[i] < (int64_t)1 << 50, "limb %d", (int)i);
    }
    free(limbs), free(starts), free(exponents), free(bigs), free(sums), free(expected), free(spill);
    free(old), free(out), free(mean), free(high), free(low);
}

static int N(same_bins)(const tw_bins8 *sums, int l, const tw_bins *expected) {
    const tw_bins found = tw_bins8_column(sums + l / 8, l % 8);
    return !memcmp(&found, expected, sizeof found);
}

/* Rows of weight one: floats take two limbs; and a centre that moves by them in one step. */
static void N(check_unweighted)(const tw_exact_kernels *e, const S *const *rows, int n_rows, int depth) {
    const size_t blocks = (size_t)(depth + 7) / 8;
    tw_bins8 *sums = buffer(blocks * sizeof *sums);
    double *center = buffer((size_t)depth * 8), *other = buffer((size_t)depth * 8);
    for (size_t b = 0; b < blocks; b++) tw_bins8_clear(sums + b);
    e->N(bin_rows)(rows, NULL, n_rows, depth, sums);
    for (int l = 0; l < depth; l++) {
        tw_bins expected;
        tw_bins_clear(&expected);
        for (int r = 0; r < n_rows; r++) tw_bins_add(&expected, (double)rows[r][l]);
        tw_bins_fold(&expected);
        if (sizeof(S) == 4) expected.low[TW_BINS - 1] = expected.high[TW_BINS - 1] = 0;
        CHECK(N(same_bins)(sums, l, &expected), "depth %d, column %d", depth, l);
        center[l] = other[l] = uniform() * 3 - 1;
    }
    const double count = n_rows + (n_rows & 1 ? 4.0 : 0.0);
    e->move_center(sums, depth, n_rows, count, center);
    if (e->N(move_by_rows)(rows, n_rows, depth, count, other))
        for (int l = 0; l < depth; l++) CHECK(center[l] == other[l], "depth %d, column %d", depth, l);
    free(sums), free(center), free(other);
}

/* Blocks of rows whose magnitudes rise and fall, in bins; and what a centre moves by. */
static void N(check_bins)(const tw_exact_kernels *e, int depth) {
    const int blocks = (depth + 7) / 8;
    const size_t columns = (size_t)depth, bytes = (size_t)blocks * sizeof(tw_bins8);
    tw_bins8 *sums = buffer(bytes), *of = buffer(bytes), *squares = buffer(bytes);
    tw_bins *one = buffer(columns * sizeof *one), *two = buffer(columns * sizeof *two);
    tw_bins *square = buffer(columns * sizeof *square), total, all;
    double *largest = buffer((size_t)blocks * 64), *least = buffer((size_t)blocks * 64);
    double *most = buffer(columns * 8), *fewest = buffer(columns * 8), *center = buffer(columns * 8);
    int16_t *exponents = buffer(columns * sizeof *exponents);
    for (int b = 0; b < blocks; b++) tw_bins8_clear(sums + b), tw_bins8_clear(of + b), tw_bins8_clear(squares + b);
    for (int i = 0; i < 8 * blocks; i++) largest[i] = 0, least[i] = INFINITY;
    for (int l = 0; l < depth; l++) {
        tw_bins_clear(one + l), tw_bins_clear(two + l), tw_bins_clear(square + l);
        most[l] = 0, fewest[l] = INFINITY;
    }
    for (int block = 0; block < 4; block++) {
        const S *rows[130];
        double weights[130];
        /* Every other block is narrow: its floats, and their squares, may have digits in two limbs alone. */
        const int narrow = whole(0, 1), n_rows = whole(1, narrow ? 130 : 12);
        const int range = narrow ? 6 : sizeof(S) == 8 ? 300 : 30;
        for (int l = 0; l < depth; l++) exponents[l] = (int16_t)whole(-range, range);
        for (int r = 0; r < n_rows; r++) {
            S *x = N(some_row)(depth, exponents);
            weights[r] = block & 1 ? uniform() - 0.3 : 1.0;
            if (depth && whole(0, 1)) x[whole(0, depth - 1)] = 0;
            if (depth && whole(0, 9) == 0) x[whole(0, depth - 1)] *= (S)0x1p-20;
            for (int l = 0; l < depth; l++) {
                const double v = (double)x[l], product = v * v;
                tw_bins_add(one + l, weights[r] * v);
                tw_bins_add(two + l, v);
                tw_bins_add(square + l, product);
                tw_bins_add(square + l, fma(v, v, -product));
                most[l] = fmax(most[l], fabs(v));
                if (v != 0) fewest[l] = fmin(fewest[l], fabs(v));
            }
            rows[r] = x;
        }
        e->N(bin_rows)(rows, sizeof(S) == 4 || block & 1 ? weights : NULL, n_rows, depth, sums);
        N(check_unweighted)(e, rows, n_rows, depth);
        e->N(moments)(rows, n_rows, depth, of, squares, largest, least);
        for (int r = 0; r < n_rows; r++) free((void *)rows[r]);
    }
    tw_bins_clear(&total), tw_bins_clear(&all);
    for (int l = 0; l < depth; l++) {
        double high, low;
        tw_bins_fold(one + l), tw_bins_fold(two + l), tw_bins_fold(square + l);
        CHECK(N(same_bins)(sums, l, one + l), "depth %d, column %d", depth, l);
        CHECK(N(same_bins)(of, l, two + l), "depth %d, column %d", depth, l);
        CHECK(N(same_bins)(squares, l, square + l), "depth %d, column %d", depth, l);
        CHECK(largest[l] == most[l] && least[l] == fewest[l], "depth %d, column %d", depth, l);
        tw_bins_value(one + l, &high, &low);
        CHECK(low == 0 || fabs(low) <= fabs(high) * 0x1p-53, "%a and %a", high, low);
    }
    for (int fresh = 0; fresh < 2; fresh++) {
        const double weight = 1 + uniform(), count = fresh ? weight : weight + 9 * uniform();
        for (int l = 0; l < depth; l++) most[l] = center[l] = ldexp(uniform(), whole(-300, 300));
        e->move_center(sums, depth, weight, count, center);
        for (int l = 0; l < depth; l++) {
            double high, low;
            tw_bins_value(one + l, &high, &low);
            const double expected = e->moved_by(high, low, weight, count, most[l]);
            CHECK(center[l] == expected, "depth %d, column %d: %a, not %a", depth, l, center[l], expected);
        }
    }
    /* Single numbers: as many as there are columns. */
    for (int block = 0; block < 3; block++) {
        double expected = 0;
        for (int l = 0; l < depth; l++) {
            most[l] = ldexp(uniform() - 0.5, whole(-300, 300)), fewest[l] = uniform() - 0.3;
            const double v = most[l] * (block & 1 ? fewest[l] : 1.0);
            tw_bins_add(&all, v);
            expected = fmax(expected, fabs(v));
        }
        CHECK(e->bin_values(&total, depth, most, block & 1 ? fewest : NULL) == expected, "%d numbers", depth);
        tw_bins_fold(&all);
        CHECK(!memcmp(&total, &all, sizeof all), "%d numbers, block %d", depth, block);
    }
    free(sums), free(of), free(squares), free(one), free(two), free(square), free(largest), free(least);
    free(most), free(fewest), free(center), free(exponents);
}

static void N(check_sums)(const tw_exact_kernels *e) {
    for (int d = -1; d < N_DEPTHS; d++) {
        const int depth = d < 0 ? 0 : DEPTHS[d];
        for (int kind = 0; kind < (sizeof(S) == 8 ? 4 : 3); kind++) N(check_grid)(e, depth, kind);
        for (int time = 0; time < 5; time++) N(check_bins)(e, depth);
    }
}
