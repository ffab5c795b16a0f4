/* Eight sums at a time, whatever the type of the data: see tw_sums.h. Compiled with -ffp-contract=off. */

typedef int64_t tw_eight_w __attribute__((vector_size(64), aligned(8), may_alias));
/* Sums of columns that are not finite mean nothing: they wrap. */
typedef uint64_t tw_eight_m __attribute__((vector_size(64), aligned(8), may_alias));

TW_INLINE tw_eight choose(tw_eight_i mask, tw_eight a, tw_eight b) {
    return (tw_eight)(((tw_eight_i)a & mask) | ((tw_eight_i)b & ~mask));
}
#if defined(__AVX512F__)
TW_INLINE tw_eight larger_of(tw_eight a, tw_eight b) { return (tw_eight)_mm512_max_pd((__m512d)a, (__m512d)b); }
TW_INLINE tw_eight smaller_of(tw_eight a, tw_eight b) { return (tw_eight)_mm512_min_pd((__m512d)a, (__m512d)b); }
#else
TW_INLINE tw_eight larger_of(tw_eight a, tw_eight b) { return choose((tw_eight_i)(a > b), a, b); }
TW_INLINE tw_eight smaller_of(tw_eight a, tw_eight b) { return choose((tw_eight_i)(a < b), a, b); }
#endif
/* Whether a bit is set. */
TW_INLINE int any_of(tw_eight_i v) {
#if defined(__AVX512F__)
    return _mm512_test_epi64_mask((__m512i)v, (__m512i)v) != 0;
#else
    int64_t any = 0;
    for (int i = 0; i < 8; i++) any |= v[i];
    return any != 0;
#endif
}
/* The smaller one, but for zeros. */
TW_INLINE tw_eight least_of(tw_eight size, tw_eight least) {
    return choose((tw_eight_i)(size < least) & (tw_eight_i)(size > 0.0), size, least);
}

/* Adds v to eight sums in bins, whose tops are high enough. */
TW_INLINE void bin_eight(const int limbs, tw_eight v, const tw_eight *bigs, tw_eight_i *sums) {
#pragma GCC unroll 3
    for (int i = 0; i < limbs; i++) {
        const tw_eight t = v + bigs[i];
        sums[i] = (tw_eight_i)((tw_eight_m)sums[i] + ((tw_eight_m)t - (tw_eight_m)bigs[i]));
        v -= t - bigs[i];
    }
}

/* Cuts v at a limb of constants big and adds the bits of what was cut, constant included; returns the
 * rest. uncount takes the constants of n of them away in the end. */
TW_INLINE tw_eight cut_eight(tw_eight v, tw_eight big, tw_eight_i *sum) {
    const tw_eight t = v + big;
    *sum = (tw_eight_i)((tw_eight_m)*sum + (tw_eight_m)t);
    return v - (t - big);
}
TW_INLINE tw_eight_i uncount(tw_eight_i sum, tw_eight big, int n) {
    return (tw_eight_i)((tw_eight_m)sum - (tw_eight_m)big * (uint64_t)n);
}

/* cut_eight of the square of v, whose square is a number of float64. */
TW_INLINE tw_eight cut_square(tw_eight v, tw_eight big, tw_eight_i *sum) {
#if defined(__AVX512F__)
    const tw_eight t = (tw_eight)_mm512_fmadd_pd((__m512d)v, (__m512d)v, (__m512d)big);
    *sum = (tw_eight_i)((tw_eight_m)*sum + (tw_eight_m)t);
    return (tw_eight)_mm512_fmadd_pd((__m512d)v, (__m512d)v, (__m512d)(big - t));
#else
    return cut_eight(v * v, big, sum);
#endif
}

/* Adds v to eight columns of a row of sums on a grid, whose limbs and their constants stand in memory. */
TW_INLINE void add_eight(const int limbs, tw_eight v, const double *restrict big, int64_t *restrict sums) {
#pragma GCC unroll 2
    for (int i = 0; i < limbs; i++, big += 8, sums += 8) {
        const tw_eight at = *(const tw_eight_u *)big, t = v + at;
        *(tw_eight_m *)sums += (tw_eight_m)t - (tw_eight_m)at;
        v -= t - at;
    }
}

/* What the square of x rounds to is off by: x * x = square + this, exactly (Dekker, 1971). */
TW_INLINE tw_eight square_rest(tw_eight x, tw_eight square) {
    const tw_eight c = x * 134217729.0, high = c - (c - x), low = x - high;
    return ((high * high - square) + 2.0 * high * low) + low * low;
}

/* The same where no digit of it is below the range of float64. */
TW_INLINE tw_eight square_rest_of(const int normal, tw_eight x, tw_eight square) {
#if defined(__AVX512F__)
    if (normal) return (tw_eight)_mm512_fmsub_pd((__m512d)x, (__m512d)x, (__m512d)square);
#endif
    return square_rest(x, square);
}

/* 1.5 * 2^52 units of limb i of eight sums. */
TW_INLINE tw_eight bins_big(const int64_t *tops, int i) {
    const tw_eight_i exponents = (*(const tw_eight_w *)tops - i) * TW_LIMB + (TW_LOWEST + 52 + 1023);
    return (tw_eight)((exponents << 52) | ((int64_t)1 << 51));
}

/* The top bins of eight sums of magnitudes of up to largest. */
TW_INLINE tw_eight_i tops_for(tw_eight largest) {
    /* Exponents e with magnitudes below 2^e; those of subnormals and zero are taken for -1022. */
    const tw_eight_i exponents = ((tw_eight_i)largest >> 52) - 1022;
    /* (e + 1 - TW_LOWEST + 49) / 50 - 1, as the product of a reciprocal. */
    return (((exponents + (TW_LIMB - TW_LOWEST)) * 5243) >> 18) - 1;
}

/* Raises the tops of eight sums for magnitudes of up to largest; probe is NaN where one is not finite. */
TW_INLINE void place_bins(tw_bins8 *sums, tw_eight largest, tw_eight probe, tw_eight *bigs) {
    const tw_eight_i tops = tops_for(largest);
    const tw_eight_i higher = tops > *(const tw_eight_w *)sums->tops;
    const tw_eight_i bad = (probe != probe) | (tops > TW_HIGHEST);
    if (any_of(higher | bad)) {
        for (int l = 0; l < 8; l++)
            if (bad[l]) sums->special[l] = __builtin_nan("");
            else if (higher[l]) tw_bins8_raise(sums, l, tops[l]);
    }
    for (int i = 0; i < TW_BINS; i++) bigs[i] = bins_big(sums->tops, i);
}

/* The largest magnitude of the columns from l on, a cache line of them or what there is, and the least
 * other than zero, or infinity; the largest is not finite where a number is not. Magnitudes have the order
 * of their bits, and one less, without the sign, puts zero behind infinity, where the search begins. */
TW_INLINE void extremes_f4(const int whole, const float *const *x, int n_rows, int l, int depth, tw_eight *most,
                           tw_eight *fewest) {
    typedef int32_t tw_sixteen __attribute__((vector_size(64)));
    typedef int32_t tw_sixteen_u __attribute__((vector_size(64), aligned(4), may_alias));
    const int count = whole ? 16 : depth - l;
    tw_sixteen high = {0}, low = {0};
    low += 0x7f7fffff;
    for (int r = 0; r < n_rows; r++) {
        tw_sixteen size = {0};
        if (whole) size = *(const tw_sixteen_u *)(x[r] + l);
#if defined(__AVX512F__)
        else size = (tw_sixteen)_mm512_maskz_loadu_ps((__mmask16)((1 << count) - 1), x[r] + l);
        size &= INT32_MAX;
        high = (tw_sixteen)_mm512_max_epi32((__m512i)size, (__m512i)high);
        low = (tw_sixteen)_mm512_min_epi32((__m512i)((size - 1) & INT32_MAX), (__m512i)low);
#else
        else memcpy(&size, x[r] + l, (size_t)count * 4);
        size &= INT32_MAX;
        const tw_sixteen below = (size - 1) & INT32_MAX, more = size > high, less = below < low;
        high = (size & more) | (high & ~more);
        low = (below & less) | (low & ~less);
#endif
    }
    union { tw_sixteen all; float numbers[16]; } top = {high}, bottom = {low + 1};
    for (int i = 0; i < 2; i++) {
        most[i] = widened_f4(top.numbers + 8 * i);
        fewest[i] = widened_f4(bottom.numbers + 8 * i);
    }
}

TW_INLINE void extremes_f8(const int whole, const double *const *x, int n_rows, int l, int depth, tw_eight *most,
                           tw_eight *fewest) {
#if defined(__AVX512F__)
    __m512i high = _mm512_setzero_si512(), one = _mm512_set1_epi64(1);
    __m512i low = _mm512_set1_epi64((0x7ffll << 52) - 1);
    for (int r = 0; r < n_rows; r++) {
        const __m512i size = (__m512i)abs_eight(whole ? widened_f8(x[r] + l) : some_widened_f8(x[r] + l, depth - l));
        high = _mm512_max_epi64(size, high);
        low = _mm512_min_epi64(_mm512_and_si512(_mm512_sub_epi64(size, one), _mm512_set1_epi64(INT64_MAX)), low);
    }
    *most = (tw_eight)high;
    *fewest = (tw_eight)_mm512_add_epi64(low, one);
#else
    tw_eight high = {0}, low = {0}, probe = {0};
    low += __builtin_inf();
    for (int r = 0; r < n_rows; r++) {
        const tw_eight v = whole ? widened_f8(x[r] + l) : some_widened_f8(x[r] + l, depth - l), size = abs_eight(v);
        high = larger_of(size, high);
        low = least_of(size, low);
        probe += v * 0.0;
    }
    *most = high + probe;
    *fewest = low;
#endif
}

/* Whether sums of floats no smaller than these, and of their squares, have no digit below the second limb: a
 * float below 2^e is a whole number of 2^(e - 24), where 2^e is at most twice its magnitude. */
TW_INLINE int two_limbs(tw_eight fewest, const tw_bins8 *sums, const tw_bins8 *squares) {
    const tw_eight_i last = ((tw_eight_i)fewest >> 52) - (1022 + 24);
    const tw_eight_i unit = (*(const tw_eight_w *)sums->tops - 1) * TW_LIMB + TW_LOWEST;
    const tw_eight_i square_unit = (*(const tw_eight_w *)squares->tops - 1) * TW_LIMB + TW_LOWEST;
    return !any_of((last < unit) | (2 * last < square_unit));
}

/* Moves what is above 50 bits in the limbs of blocks first to stop of a row of sums up, and in the
 * end to spill (blocks * 8). */
static void carry_row(const tw_grid *grid, int first, int stop, int64_t *sums, int64_t *spill) {
    for (int b = first; b < stop; b++) {
        int64_t *at = sums + grid->starts[b];
        tw_eight_i carry = {0};
        for (int i = grid->limbs[b] - 1; i >= 0; i--) {
            const tw_eight_i whole = *(const tw_eight_w *)(at + 8 * i) + carry;
            carry = whole >> TW_LIMB;
            *(tw_eight_w *)(at + 8 * i) = whole - (carry << TW_LIMB);
        }
        /* Pages of zeros that nobody writes to take no memory. */
        if (any_of(carry)) *(tw_eight_w *)(spill + 8 * b) += carry;
    }
}

#if defined(__AVX512F__)
TW_INLINE tw_eight fused(tw_eight a, tw_eight b, tw_eight c) {
    return (tw_eight)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
#else
TW_INLINE tw_eight fused(tw_eight a, tw_eight b, tw_eight c) {
    tw_eight out;
    for (int l = 0; l < 8; l++) out[l] = __builtin_fma(a[l], b[l], c[l]);
    return out;
}
#endif

TW_INLINE void add_exactly(tw_eight a, tw_eight b, tw_eight *high, tw_eight *low) {
    const tw_eight sum = a + b, back = sum - a;
    *low = (a - (sum - back)) + (b - back);
    *high = sum;
}

/* Up to eight numbers of a row that ends at depth; those behind it are zeros. */
TW_INLINE tw_eight some_of(const double *x, int l, int depth) {
    return l + 8 <= depth ? widened_f8(x + l) : some_widened_f8(x + l, depth - l);
}
TW_INLINE void put_some(double *x, int l, int depth, tw_eight v) {
    if (l + 8 <= depth) *(tw_eight_u *)(x + l) = v;
    else
        for (int i = 0; l + i < depth; i++) x[l + i] = v[i];
}

/* tw_quotient of eight sums. */
TW_INLINE tw_eight quotient_eight(tw_eight high, tw_eight low, double weight, double inverse) {
    const tw_eight q = high / weight;
    return q + (fused(-q, weight - (tw_eight){0}, high) + low) * inverse;
}

/* Eight sums of one limb, divided by weight; they and their constants start at `start`. spill counts what is
 * above their limbs: fewer than 2^52 units, since each row adds at most one. Sums of subnormal units are taken for
 * zeros. */
TW_INLINE tw_eight average_eight(const tw_grid *grid, const int64_t *sums, int start, const int64_t *spill, double weight,
                                 double inverse) {
    const tw_eight_i whole = *(const tw_eight_w *)(sums + start), exponents = *(const tw_eight_w *)(grid->bigs + start);
    const tw_eight_i bits = (exponents & ((int64_t)0x7ff << 52)) - ((int64_t)52 << 52);
    const tw_eight unit = (tw_eight)(bits & (tw_eight_i)(bits > 0));
    tw_eight first, rest;
    if (spill) {
        const tw_eight_i carry = whole >> TW_LIMB, low = whole - (carry << TW_LIMB);
        const tw_eight_i above = *(const tw_eight_w *)spill + carry;
        add_exactly(__builtin_convertvector(above, tw_eight) * 0x1p50, __builtin_convertvector(low, tw_eight), &first, &rest);
    } else {
        first = __builtin_convertvector(whole, tw_eight);
        rest = __builtin_convertvector(whole - __builtin_convertvector(first, tw_eight_i), tw_eight);
    }
    return quotient_eight(first * unit, rest * unit, weight, inverse);
}

/* Whether average_eight has them right: columns without a value have subnormal units as well. */
TW_INLINE int averages_eight(const tw_grid *grid, const int64_t *sums, int start, const int64_t *spill) {
    const tw_eight_i bits = *(const tw_eight_w *)(grid->bigs + start) & ((int64_t)0x7ff << 52);
    tw_eight_i any = *(const tw_eight_w *)(sums + start);
    if (spill) any |= *(const tw_eight_w *)spill;
    return !any_of((bits <= ((int64_t)52 << 52)) & (any != 0));
}

/* out (depth) = a row of sums / weight; returns the squared distance from old (depth) in eight running
 * sums. spilt tells whether spill (blocks * 8) holds anything. */
static double average_row(const tw_grid *grid, const int64_t *sums, const int64_t *spill, int spilt, double weight,
                          const double *old, double *out) {
    const double inverse = tw_inverse(weight);
    const int depth = grid->depth;
    tw_eight moved = {0};
    for (int l = 0; l < depth; l += 8) {
        const int block = l >> 3, start = grid->starts[block], limbs = grid->limbs[block];
        const int64_t *above = spilt ? spill + l : NULL;
        tw_eight mean = {0};
        if (limbs == 1 && (grid->all_normal || averages_eight(grid, sums, start, above)))
            mean = average_eight(grid, sums, start, above, weight, inverse);
        else
            for (int i = 0; i < 8 && l + i < depth; i++) {
                double high, low;
                tw_value_of(above ? above[i] : 0, sums + start + i, limbs, grid->exponents[l + i], &high, &low);
                mean[i] = tw_quotient(high, low, weight, inverse);
            }
        tw_eight gap = mean - some_of(old, l, depth);
        for (int i = depth - l; i < 8; i++) gap[i] = 0;
        put_some(out, l, depth, mean);
        moved += gap * gap;
    }
    return meet_eight(moved);
}

/* See tw_to_odd. */
TW_INLINE tw_eight eight_to_odd(tw_eight l, tw_eight rest) {
    add_exactly(l, rest, &l, &rest);
    const tw_eight_i bits = (tw_eight_i)l, even = (bits & 1) - 1, opposed = (bits ^ (tw_eight_i)rest) >> 63;
    return (tw_eight)(bits + ((opposed | 1) & even & (tw_eight_i)(rest != 0.0)));
}

/* Eight sums in bins, folded, as high + low: the numbers of tw_bins_value, but where a limb's unit may be
 * subnormal, or a sum is not a number. */
TW_INLINE void eight_values(tw_eight_i tops, const tw_eight_i *highs, const tw_eight_i *lows, tw_eight *high, tw_eight *low) {
    const tw_eight_i exponents = tops * TW_LIMB + (TW_LOWEST + 1023);
    tw_eight h = __builtin_convertvector(highs[0], tw_eight) * (tw_eight)((exponents + TW_LIMB) << 52);
    tw_eight l = {0}, rest = {0}, more, left;
    for (int i = 0; i < TW_BINS; i++) {
        const tw_eight_i below = exponents - TW_LIMB * i;
        const tw_eight unit = (tw_eight)((below << 52) & (tw_eight_i)(below > 0));
        const tw_eight_i whole = i + 1 < TW_BINS ? lows[i] + highs[i + 1] : lows[i];
        add_exactly(h, __builtin_convertvector(whole, tw_eight) * unit, &h, &more);
        add_exactly(l, more, &l, &left);
        rest += left;
    }
    add_exactly(h, eight_to_odd(l, rest), high, low);
}

TW_INLINE void bins_eight(const tw_bins8 *sums, tw_eight *high, tw_eight *low) {
    tw_eight_i highs[TW_BINS], lows[TW_BINS];
    for (int i = 0; i < TW_BINS; i++) {
        highs[i] = *(const tw_eight_w *)sums->high[i];
        lows[i] = *(const tw_eight_w *)sums->low[i];
    }
    eight_values(*(const tw_eight_w *)sums->tops, highs, lows, high, low);
    const tw_eight_i odd = (tw_eight_i)(*(const tw_eight_u *)sums->special != 0.0) | (*(const tw_eight_w *)sums->tops < TW_BINS + 2);
    if (!any_of(odd)) return;
    for (int i = 0; i < 8; i++) {
        if (!odd[i]) continue;
        const tw_bins one = tw_bins8_column(sums, i);
        double a, b;
        tw_bins_value(&one, &a, &b);
        (*high)[i] = a;
        (*low)[i] = b;
    }
}

/* What a number c of a centre of `count` - `weight` rows becomes where rows of `weight` add up to high + low. */
static double moved_by(double high, double low, double weight, double count, double c) {
    if (weight == count) return tw_quotient(high, low, weight, tw_inverse(weight));
    const double product = weight * c, rest = __builtin_fma(weight, c, -product);
    double sum, more;
    tw_two_sum(high, -product, &sum, &more);
    return c + (sum + (more + (low - rest))) / count;
}

/* Numbers l to l + 7 of a centre move: see moved_by. */
TW_INLINE void move_eight(tw_eight high, tw_eight low, double weight, double count, int l, int depth, double *center) {
    if (weight == count) {
        put_some(center, l, depth, quotient_eight(high, low, weight, tw_inverse(weight)));
        return;
    }
    const tw_eight all = weight - (tw_eight){0};
    const tw_eight c = some_of(center, l, depth), product = c * weight, rest = fused(all, c, -product);
    tw_eight sum, more;
    add_exactly(high, -product, &sum, &more);
    put_some(center, l, depth, c + (sum + (more + (low - rest))) / count);
}

/* center (depth) moves towards rows of one weight whose sums in bins, of eight columns each, are `sums`;
 * count is that weight and what the centre stood for before. */
static void move_center(const tw_bins8 *sums, int depth, double weight, double count, double *center) {
    for (int l = 0; l < depth; l += 8, sums++) {
        tw_eight high, low;
        bins_eight(sums, &high, &low);
        move_eight(high, low, weight, count, l, depth, center);
    }
}

/* Eight numbers from the start-th on, times their weights if these are not NULL; zeros behind the n-th. */
TW_INLINE tw_eight weighted_eight(int start, int n, const double *values, const double *weights) {
    if (start + 8 <= n) {
        const tw_eight v = *(const tw_eight_u *)(values + start);
        return weights ? v * *(const tw_eight_u *)(weights + start) : v;
    }
    tw_eight out = {0};
    for (int i = 0; start + i < n; i++) out[i] = values[start + i] * (weights ? weights[start + i] : 1.0);
    return out;
}

/* b += values[0] * weights[0] + ..., of up to TW_FOLD numbers; weights may be NULL. Returns the largest
 * magnitude of a product. */
static double bin_values(tw_bins *b, int n, const double *restrict values, const double *restrict weights) {
    tw_eight largest = {0}, probe = {0};
    for (int start = 0; start < n; start += 8) {
        const tw_eight v = weighted_eight(start, n, values, weights);
        largest = larger_of(abs_eight(v), largest);
        probe += v * 0.0;
    }
    double most = 0, bad = 0;
    for (int i = 0; i < 8; i++) {
        most = largest[i] > most ? largest[i] : most;
        bad += probe[i];
    }
    if (bad != 0) {
        for (int i = 0; i < n; i++) {
            const double v = values[i] * (weights ? weights[i] : 1.0);
            if (v - v != 0) b->special += v;
        }
        return __builtin_inf();
    }
    tw_bins_raise(b, tw_bin_for(tw_exponent(most)));
    const int down = tw_bins_down(b->top);
    const double scale = tw_power(-down);
    tw_eight bigs[TW_BINS];
    tw_eight_i more[TW_BINS] = {{0}};
    for (int i = 0; i < TW_BINS; i++) bigs[i] = tw_big(tw_bin_exponent((int)b->top - i) - down) - (tw_eight){0};
    for (int start = 0; start < n; start += 8)
        bin_eight(TW_BINS, weighted_eight(start, n, values, weights) * scale, bigs, more);
    for (int i = 0; i < TW_BINS; i++)
        for (int l = 0; l < 8; l++) {
            /* Eight lanes together may be beyond 2^63. */
            const int64_t carry = more[i][l] >> TW_LIMB;
            b->high[i] += carry;
            b->low[i] += more[i][l] - carry * ((int64_t)1 << TW_LIMB);
        }
    tw_bins_fold(b);
    return most;
}
