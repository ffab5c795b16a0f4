/* Sums without an order: numbers are cut onto grids and added as integers.
 *
 * A number v with |v| <= 2^50 units of a limb is cut by one addition: t = v + 1.5 * 2^52 units rounds
 * v to a multiple of the unit, and the bits of t less those of the constant are that multiple, the
 * digit. What is left, exact, goes to the next limb, whose unit is 2^50 times smaller. Integers add
 * up the same in any order, and what was added can be taken away without a trace.
 *
 * Grid (tw_grid): units of each column follow from its largest magnitude, known beforehand; a row of
 * sums may be shared and taken from again (Lloyd's). Columns stand in blocks of eight, and each block
 * has the limbs that its widest column needs.
 * Bins (tw_bins): units stand at fixed places, 2^(50 t - 1124) for bin t. The top bin rises as larger
 * numbers come, and bins that fall below the last limb are dropped; so the result is that of a top bin
 * known beforehand, in any order (Ahrens, Demmel and Nguyen, "Algorithms for efficient reproducible
 * floating point summation", ACM TOMS 46, 2020).
 *
 * Rounding: to nearest, the default; compiled with -ffp-contract=off.
 */
#ifndef TW_SUMS_H
#define TW_SUMS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    TW_LIMB = 50,          /* bits of a limb */
    TW_PENDING = 4096,     /* digits that a limb takes before its carry has to move on */
    TW_BINS = 3,           /* limbs of a sum in bins: at least 101 bits from the largest number on */
    TW_LOWEST = -1124,     /* exponent of the unit of bin 0; that of bin 1 is the least number */
    TW_HIGHEST = 41,       /* the highest bin whose constant is finite */
    TW_DOWN = 64,          /* numbers beyond it are cut after a division by two to this power */
    TW_FOLD = 4096,        /* digits that are added up before they are folded into a sum in bins */
};

typedef struct tw_grid {
    int depth;
    int n_blocks;              /* of eight columns */
    int uniform;               /* limbs of every block, or 0 where they differ */
    int all_normal;            /* no unit of a first limb is subnormal */
    const int32_t *limbs;      /* (n_blocks) */
    const int32_t *starts;     /* (n_blocks + 1) where the limbs of a block start in a row of sums */
    const int16_t *exponents;  /* (n_blocks * 8): magnitudes of a column are at most 2^this */
    const double *bigs;        /* (length): 1.5 * 2^52 units */
    int64_t length;            /* of a row of sums */
} tw_grid;

/* A sum in bins: limb i has bin top - i and holds high * 2^50 + low. */
typedef struct tw_bins {
    int64_t top;
    double special;            /* the sum of what is not finite */
    int64_t low[TW_BINS];
    int64_t high[TW_BINS];
} tw_bins;

/* Sums of eight columns in bins. */
typedef struct tw_bins8 {
    int64_t tops[8];
    double special[8];         /* zero, or NaN: something was not finite or beyond 2^975 */
    int64_t low[TW_BINS][8];
    int64_t high[TW_BINS][8];
} tw_bins8;

static inline int64_t tw_bits_of(double v) {
    int64_t bits;
    memcpy(&bits, &v, 8);
    return bits;
}

static inline double tw_of_bits(int64_t bits) {
    double v;
    memcpy(&v, &bits, 8);
    return v;
}

/* 1.5 * 2^(52 + exponent), for a unit of 2^exponent from -1074 to 970. */
static inline double tw_big(int exponent) {
    return tw_of_bits(((int64_t)(exponent + 52 + 1023) << 52) | ((int64_t)1 << 51));
}

/* 2^exponent from -1074 on. */
static inline double tw_power(int exponent) {
    return exponent >= -1022 ? tw_of_bits((int64_t)(exponent + 1023) << 52)
                             : tw_of_bits((int64_t)1 << (exponent + 1074));
}

/* The least e with |v| <= 2^e, or a little more for powers of two; -1074 for zero. */
static inline int tw_exponent(double v) {
    const int64_t bits = tw_bits_of(v) & INT64_MAX;
    const int field = (int)(bits >> 52);
    if (field) return field - 1022;
    return bits ? -1074 + 64 - __builtin_clzll((uint64_t)bits) : -1074;
}

/* Adds v to one column of a row of sums; at points to its first limb. */
static inline void tw_add_one(double v, int exponent, int limbs, int64_t *at) {
    for (int i = 0; i < limbs; i++) {
        const double big = tw_big(exponent - TW_LIMB * (i + 1)), t = v + big;
        at[8 * i] += tw_bits_of(t) - tw_bits_of(big);
        v -= t - big;
    }
}

static inline int64_t *tw_column(const tw_grid *grid, int64_t *row, int64_t column) {
    const int64_t block = column >> 3;
    return row + (grid->uniform ? block * 8 * grid->uniform : grid->starts[block]) + (column & 7);
}

static inline void tw_add_entry(const tw_grid *grid, double v, int64_t column, int64_t *row) {
    tw_add_one(v, grid->exponents[column], grid->uniform ? grid->uniform : grid->limbs[column >> 3],
               tw_column(grid, row, column));
}

/* hi + lo = a + b. */
static inline void tw_two_sum(double a, double b, double *hi, double *lo) {
    const double s = a + b, back = s - a;
    *lo = (a - (s - back)) + (b - back);
    *hi = s;
}

/* l + rest, rounded to odd: where it is not exact its last bit is set, so that a sum with a larger number
 * is rounded as the exact one would be (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums:
 * proved algorithms using rounding to odd", IEEE Transactions on Computers 57, 2008). */
static inline double tw_to_odd(double l, double rest) {
    tw_two_sum(l, rest, &l, &rest);
    const int64_t bits = tw_bits_of(l);
    if (rest == 0 || bits & 1) return l;
    return tw_of_bits((bits ^ tw_bits_of(rest)) < 0 ? bits - 1 : bits + 1);
}

/* 1 / weight, or zero where that is too large: quotients are not corrected then. */
static inline double tw_inverse(double weight) { return weight < 0x1p-1022 ? 0.0 : 1.0 / weight; }

/* (hi + lo) / weight, to the nearest double but for the rarest of ties; inverse is tw_inverse(weight). */
static inline double tw_quotient(double hi, double lo, double weight, double inverse) {
    const double q = hi / weight;
    return q + (__builtin_fma(-q, weight, hi) + lo) * inverse;
}

/* The value of a column of sums, as hi + lo: a function of the value alone, however it is spread
 * over its limbs. spill counts units of 2^exponent. */
static inline void tw_value_of(int64_t spill, const int64_t *at, int limbs, int exponent, double *hi, double *lo) {
    int64_t digits[64];
    int64_t carry = 0;
    for (int i = limbs - 1; i > 0; i--) {
        const int64_t whole = at[8 * i] + carry;
        carry = whole >> TW_LIMB;
        digits[i] = whole - carry * ((int64_t)1 << TW_LIMB);
    }
    const __int128 first = (__int128)spill * ((int64_t)1 << TW_LIMB) + at[0] + carry;
    const double unit = tw_power(exponent - TW_LIMB);
    double h = (double)first, l = (double)(first - (__int128)h) * unit, rest = 0, more, left;
    h *= unit;
    for (int i = 1; i < limbs; i++) {
        tw_two_sum(h, (double)digits[i] * tw_power(exponent - TW_LIMB * (i + 1)), &h, &more);
        tw_two_sum(l, more, &l, &left);
        rest += left;
    }
    tw_two_sum(h, tw_to_odd(l, rest), hi, lo);
}

/* ---------------------------------------------------------------- bins */

static inline int tw_bin_exponent(int bin) { return TW_LOWEST + TW_LIMB * bin; }

/* The lowest top bin for numbers of up to 2^exponent: at most half a unit of the bin above. */
static inline int64_t tw_bin_for(int exponent) {
    const int64_t bin = (exponent + 1 - TW_LOWEST + TW_LIMB - 1) / TW_LIMB - 1;
    return bin < TW_BINS ? TW_BINS : bin;
}

static inline int tw_bins_down(int64_t top) { return top > TW_HIGHEST ? TW_DOWN : 0; }

static inline void tw_bins_clear(tw_bins *b) {
    memset(b, 0, sizeof(*b));
    b->top = TW_BINS;
}

static inline void tw_bins_fold(tw_bins *b) {
    for (int i = 0; i < TW_BINS; i++) {
        const int64_t carry = b->low[i] >> TW_LIMB;
        b->high[i] += carry;
        b->low[i] -= carry * ((int64_t)1 << TW_LIMB);
    }
}

static inline void tw_bins_raise(tw_bins *b, int64_t top) {
    const int64_t by = top - b->top;
    if (by <= 0) return;
    for (int i = TW_BINS - 1; i >= 0; i--) {
        b->low[i] = i >= by ? b->low[i - by] : 0;
        b->high[i] = i >= by ? b->high[i - by] : 0;
    }
    b->top = top;
}

/* Adds any finite number but those beyond 2^975. */
static inline void tw_bins_add(tw_bins *b, double v) {
    const int64_t top = tw_bin_for(tw_exponent(v));
    if (top > b->top) tw_bins_raise(b, top);
    for (int i = 0; i < TW_BINS; i++) {
        const double big = tw_big(tw_bin_exponent((int)b->top - i)), t = v + big;
        b->low[i] += tw_bits_of(t) - tw_bits_of(big);
        v -= t - big;
        if (b->low[i] + ((int64_t)1 << 61) < 0 || b->low[i] > (int64_t)1 << 61) tw_bins_fold(b);
    }
}

static inline void tw_bins_merge(tw_bins *to, const tw_bins *from) {
    tw_bins other = *from;
    tw_bins_raise(to, other.top);
    tw_bins_raise(&other, to->top);
    to->special += other.special;
    for (int i = 0; i < TW_BINS; i++) {
        to->low[i] += other.low[i];
        to->high[i] += other.high[i];
    }
    tw_bins_fold(to);
}

/* The sum, which was folded, as hi + lo: a function of what its limbs add up to. What is above 50 bits of
 * a limb has the unit of the limb before. */
static inline void tw_bins_value(const tw_bins *from, double *hi, double *lo) {
    /* A limb below zero has a high part beyond the range where the sum is not. */
    const int down = tw_bins_down(from->top), e = tw_bin_exponent((int)from->top) - down;
    double h = ldexp((double)from->high[0], e + TW_LIMB), l = 0, rest = 0, more, left;
    *lo = 0;
    *hi = from->special;
    if (from->special != 0) return;
    for (int i = 0; i < TW_BINS; i++) {
        const int64_t whole = from->low[i] + (i + 1 < TW_BINS ? from->high[i + 1] : 0);
        tw_two_sum(h, ldexp((double)whole, e - TW_LIMB * i), &h, &more);
        tw_two_sum(l, more, &l, &left);
        rest += left;
    }
    tw_two_sum(h, tw_to_odd(l, rest), hi, lo);
    *hi = ldexp(*hi, down);
    *lo = isinf(*hi) ? 0 : ldexp(*lo, down);
}

/* Whether a is less than b; their tops are equal. */
static inline int tw_bins_less(const tw_bins *a, const tw_bins *b) {
    __int128 carry = 0;
    for (int i = TW_BINS - 1; i >= 0; i--) {
        carry += (__int128)(a->high[i] - b->high[i]) * ((int64_t)1 << TW_LIMB) + (a->low[i] - b->low[i]);
        if (i > 0) carry >>= TW_LIMB;
    }
    return carry < 0;
}

static inline void tw_bins8_clear(tw_bins8 *b) {
    memset(b, 0, sizeof(*b));
    for (int l = 0; l < 8; l++) b->tops[l] = TW_BINS;
}

/* One of the eight. */
static inline tw_bins tw_bins8_column(const tw_bins8 *b, int l) {
    tw_bins one = {b->tops[l], b->special[l], {0}, {0}};
    for (int i = 0; i < TW_BINS; i++) {
        one.low[i] = b->low[i][l];
        one.high[i] = b->high[i][l];
    }
    return one;
}

static inline void tw_bins8_put(tw_bins8 *b, int l, const tw_bins *one) {
    b->tops[l] = one->top;
    b->special[l] = one->special;
    for (int i = 0; i < TW_BINS; i++) {
        b->low[i][l] = one->low[i];
        b->high[i][l] = one->high[i];
    }
}

static inline void tw_bins8_raise(tw_bins8 *b, int l, int64_t top) {
    tw_bins one = tw_bins8_column(b, l);
    tw_bins_raise(&one, top);
    tw_bins8_put(b, l, &one);
}

static inline void tw_bins8_fold(tw_bins8 *b) {
    for (int i = 0; i < TW_BINS; i++)
        for (int l = 0; l < 8; l++) {
            const int64_t carry = b->low[i][l] >> TW_LIMB;
            b->high[i][l] += carry;
            b->low[i][l] -= carry * ((int64_t)1 << TW_LIMB);
        }
}

static inline void tw_bins8_merge(tw_bins8 *to, const tw_bins8 *from) {
    for (int l = 0; l < 8; l++) {
        tw_bins a = tw_bins8_column(to, l), b = tw_bins8_column(from, l);
        tw_bins_merge(&a, &b);
        tw_bins8_put(to, l, &a);
    }
}

/* ---------------------------------------------------------------- locks
 *
 * A row of sums that threads share is taken for as long as one row of data is added to it.
 */
static inline void tw_take(uint8_t *lock) {
    while (__atomic_test_and_set(lock, __ATOMIC_ACQUIRE))
        while (__atomic_load_n(lock, __ATOMIC_RELAXED)) {
#if defined(__x86_64__) || defined(__i386__)
            __builtin_ia32_pause();
#endif
        }
}

static inline void tw_release(uint8_t *lock) { __atomic_clear(lock, __ATOMIC_RELEASE); }

#endif
