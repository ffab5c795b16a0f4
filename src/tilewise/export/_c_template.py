"""The C of an exported model, in parts that `_c` puts together.

``@`` stands for the name and an underscore, ``@@`` for the same in capitals; ``$`` goes before what
`_c` fills in.

Why labels are exact. D(j) is the squared distance to centre j, D̂(j) the canonical one: float64 and
all terms positive, so |D̂ - D| ≤ θ D with θ = 1.001 (d/8 + 6) 2⁻⁵³ (docs/exact-labels.md). A cheap
score s(j) comes first. Let b be the canonical winner of the centres seen so far. The functions
named ``above`` are such that

    (1)  D̂(j) ≤ D̂(b)  implies  s(j) ≤ above(s(b)),    for any two centres j and b.

So if s(j) > above(s(b)), b stays; if above(s(j)) < s(b), j is the new winner; else the canonical
distances are compared, and of equal ones the lower index wins.

*float32 rows.* u = 2⁻²⁴. A difference, and its square after it, have an error of at most 3 u of the
square. Eight columns, or the fewer at the end, meet in at most six additions. The sums of eight are
added by Kahan's method, with an error of 2 u + O(d u²) of the total (Higham, Accuracy and Stability
of Numerical Algorithms, 2nd ed., 4.3). All terms are positive, so for d ≤ 2²⁰

    |s - D| ≤ γ D,  γ = 12 u,   and (1) gives  s(j) ≤ (1 + γ)(1 + θ) / ((1 - γ)(1 - θ)) s(b)
                                                    ≤ (1 + 25 u) s(b)

`above` multiplies by 1 + 28 u, which also pays for rounding the product. The first columns have no
larger sum than all: a centre may be left as soon as theirs exceeds the limit. Where a compiler
contracts, there is less rounding.

*Underflow.* A square, or a difference that the processor flushes to zero, loses at most 2⁻¹²⁶: d of
them less than 2⁻¹⁰², that is u/8 of 10⁻²². Scores below that count as 10⁻²².
*Overflow.* A score that overflows says D (1 + γ) ≥ 2¹²⁸ and is infinite or, from then on, NaN. An
infinite s(j) fails only a finite limit; `above` of a finite s(j) is below infinity only if
D(j) < 2¹²⁸ / (1 + γ). NaN fails every comparison. So (1) holds, or canonical distances decide.

*Bytes.* Centres are rounded to q / 2ᶠ with whole q, and s = Σ (2ᶠ x - q)² has no error. Let P = √s.
Coordinates are wrong by ½ at most, so |P - 2ᶠ√D| ≤ √d / 2, and (1) gives

    P(j) ≤ (P(b) + √d/2)(1 + 1.01 θ) + √d/2
    s(j) ≤ s(b) + 2 √d P(b) + d + 2.1 θ (P(b) + √d)²
         ≤ s(b) + t s(b) + d/t + 1.01 d + 2.1 θ s(b)         since 2 √d P ≤ t P² + d/t for any t

With t = 2⁻²⁰ (1 - 2⁻⁹), that is at most s(b) + 2⁻²⁰ s(b) + d (2²⁰ + 2¹¹ + 8) for d ≤ 2²⁰. `above`
has 2¹² in place of 2¹¹ + 8; less than 1 of that goes to the bits that the shift drops.

*float64 rows* have no score. Values beyond 2⁴⁸⁰ and below 2⁻⁴⁰⁰ are multiplied by a power of two as
`predict` does it (`tilewise.engine.ranges`).
"""

GUARDS = """\
#include <float.h>
$includes
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \\
    defined(_M_FP_FAST)
#error "$name.h: fast mathematics changes labels; compile this file without -ffast-math, /fp:fast"
#endif
#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#error "$name.h: -ffinite-math-only hides NaN; compile this file without it"
#endif
#if FLT_MANT_DIG != 24 || DBL_MANT_DIG != 53
#error "$name.h: needs float of 32 and double of 64 bits (AVR: -mdouble=64)"
#endif
#if defined(FLT_EVAL_METHOD)
#if FLT_EVAL_METHOD == 2 || FLT_EVAL_METHOD < 0
#error "$name.h: x87 arithmetic changes labels; compile with -msse2 -mfpmath=sse"
#endif
#endif
#if defined(_M_IX86_FP) && _M_IX86_FP < 2
#error "$name.h: x87 arithmetic changes labels; compile with /arch:SSE2"
#endif

/* A size below zero: constants are of single precision (-fsingle-precision-constant), which changes
 * labels. */
typedef char @@DOUBLE_CONSTANTS[sizeof(0.1) == sizeof(double) ? 1 : -1];

/* A fused multiply-add rounds once where two operations round twice: none in these functions.
 * GCC does not inline a function with this attribute into one without it. */
#if defined(__clang__)
#define @@FUNCTION static inline
#define @@SELDOM static __attribute__((noinline, unused))
#define @@UNFUSED _Pragma("clang fp contract(off) reassociate(off)")
/* Its -ffp-contract=fast does not heed the pragma. */
#define @@ROUNDED(product) __asm__("" : "+m"(product))
#elif defined(__GNUC__)
#define @@FUNCTION static inline __attribute__((optimize("fp-contract=off")))
#define @@SELDOM static __attribute__((noinline, unused, optimize("fp-contract=off")))
#define @@UNFUSED
#else
#define @@FUNCTION static inline
#define @@SELDOM static inline
#if defined(_MSC_VER)
#pragma fp_contract(off)
#define @@UNFUSED
#else
#define @@UNFUSED _Pragma("STDC FP_CONTRACT OFF")
#endif
#endif
#ifndef @@ROUNDED
#define @@ROUNDED(product)
#endif

"""

CENTERS = """\
#define @@CLUSTERS $k
#define @@FEATURES $d

typedef $value @value; /* a number of a row */
typedef $real @real; /* a number of a centre, and a distance */

/* With @@UPDATE the centres lie in memory and can move, else in flash. */
#ifdef @@UPDATE
#define @@STORAGE static
#else
#define @@STORAGE static const
#endif

@@STORAGE @real @centers[$k][$d] = {
$centers
};

#ifdef @@UPDATE
/* How many rows each centre stands for. Lower them, and the centres follow new rows faster. */
static @real @counts[$k] = {
$counts
};
#endif
"""

CANONICAL = """
/* The canonical squared distance: column l goes to running sum l % 8. */
@@SELDOM double @squared(const @value *x, const @real *c) {
    @@UNFUSED
    double s[8], sum, gap;
    int i, l;
    for (i = 0; i < 8; i++) {
        sum = 0;
        for (l = i; l < @@FEATURES; l += 8) {
            gap = (double)x[l] - (double)c[l];
            gap *= gap;
            @@ROUNDED(gap);
            sum += gap;
        }
        s[i] = sum;
    }
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}
"""

# The same, of values times a power of two.
CANONICAL_SCALED = """
/* The canonical squared distance: column l goes to running sum l % 8. Where squares overflow (way
 * -1) numbers are multiplied by scale, where they vanish (1) differences are. */
@@FUNCTION double @squared(const double *x, const double *c, int way, double scale) {
    @@UNFUSED
    double s[8], sum, gap, other;
    int i, l;
    for (i = 0; i < 8; i++) {
        sum = 0;
        for (l = i; l < @@FEATURES; l += 8) {
            gap = x[l];
            other = c[l];
            if (way < 0) {
                gap *= scale;
                other *= scale;
                @@ROUNDED(gap);
                @@ROUNDED(other);
            }
            gap -= other;
            if (way > 0) gap *= scale;
            gap *= gap;
            @@ROUNDED(gap);
            sum += gap;
        }
        s[i] = sum;
    }
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}
"""

SCORE_FLOAT = """
/* The squared distance in float; what it exceeds as soon as it exceeds limit. Eight columns are
 * added plainly, the sums of eight by Kahan's method: the error is below 12 u of it, u = 2^-24. */
@@FUNCTION float @score(const float *x, const float *c, float limit) {
    @@UNFUSED
    float total = 0, missing = 0, a, b, e, f, g;
    int l;
    for (l = 0; l + 8 <= @@FEATURES; l += 8, x += 8, c += 8) {
        g = x[0] - c[0]; a = g * g;
        g = x[1] - c[1]; b = g * g;
        g = x[2] - c[2]; e = g * g;
        g = x[3] - c[3]; f = g * g;
        g = x[4] - c[4]; a += g * g;
        g = x[5] - c[5]; b += g * g;
        g = x[6] - c[6]; e += g * g;
        g = x[7] - c[7]; f += g * g;
        a = ((a + b) + (e + f)) - missing;
        b = total + a;
        missing = (b - total) - a;
        total = b;
        if (total > limit) return total;
    }
    a = 0;
    for (; l < @@FEATURES; l++) {
        g = *x++ - *c++;
        a += g * g;
    }
    return total + (a - missing);
}

/* If the distance to j is at most that to b, score(j) <= above(score(b)): twice 12 u, and what is
 * rounded. Below 1e-22 squares underflow. NaN stays NaN. */
@@FUNCTION float @above(float score) {
    return (score < 1e-22f ? 1e-22f : score) * $grow; /* 1 + 28 u */
}
"""

SCORE_BYTES = """
#define @@ONE $one /* fixed has the centres as whole numbers of 1/$one */
@@STORAGE int32_t @fixed[$k][$d] = {
$fixed
};

/* The squared distance to a rounded centre, without error; what it exceeds as soon as it exceeds
 * limit. */
@@FUNCTION uint64_t @score(const uint8_t *x, const int32_t *c, uint64_t limit) {
    uint64_t total = 0;
    int32_t g;
    int l;
    for (l = 0; l + 4 <= @@FEATURES; l += 4, x += 4, c += 4) {
        g = x[0] * (int32_t)@@ONE - c[0]; total += (uint64_t)((int64_t)g * g);
        g = x[1] * (int32_t)@@ONE - c[1]; total += (uint64_t)((int64_t)g * g);
        g = x[2] * (int32_t)@@ONE - c[2]; total += (uint64_t)((int64_t)g * g);
        g = x[3] * (int32_t)@@ONE - c[3]; total += (uint64_t)((int64_t)g * g);
        if (total > limit) return total;
    }
    for (; l < @@FEATURES; l++) {
        g = *x++ * (int32_t)@@ONE - *c++;
        total += (uint64_t)((int64_t)g * g);
    }
    return total;
}

/* If the distance to j is at most that to b, score(j) <= above(score(b)): rounding moved centres by
 * at most e = sqrt(FEATURES) / 2, and 4 e r <= r^2 / 2^20 + 4 e^2 2^20. */
@@FUNCTION uint64_t @above(uint64_t score) {
    return score + (score >> 20) + (uint64_t)@@FEATURES * 1052672u; /* 2^20 + 2^12 */
}
"""

# Scores of float rows may be NaN; bytes are always finite.
CHECK_FLOAT = """\
    if (!(low <= FLT_MAX))
        for (j = 0; j < @@FEATURES; j++)
            if (!(row[j] - row[j] == 0)) return -1;
"""

PREDICT_SCORED = """
@@FUNCTION int @predict(const @value *row) {
    @@UNFUSED
    $score low = @score(row, @${looked}[0], $most), limit, s;
    int best = 0, j;
$check\
    for (j = 1; j < @@CLUSTERS; j++) {
        limit = @above(low);
        s = @score(row, @${looked}[j], limit);
        if (s > limit) continue;
        if (@above(s) < low ||
            @squared(row, @centers[j]) < @squared(row, @centers[best])) {
            low = s;
            best = j;
        }
    }
    return best;
}
"""

PREDICT_DOUBLE = """
@@FUNCTION int @predict(const double *row) {
    @@UNFUSED
    double most = 0, scale = 1, least, s;
    int way = 0, best = 0, j;
    for (j = 0; j < @@FEATURES; j++) {
        s = row[j] < 0 ? -row[j] : row[j];
        if (!(s <= DBL_MAX)) return -1;
        if (s > most) most = s;
    }
    if ($large) { /* 2^480; squares overflow */
        way = -1;
        scale = $down; /* 2^-560 */
    }
$tiny\
    least = @squared(row, @centers[0], way, scale);
    for (j = 1; j < @@CLUSTERS; j++) {
        s = @squared(row, @centers[j], way, scale);
        if (s < least) {
            least = s;
            best = j;
        }
    }
    return best;
}
"""

TINY = """\
    if (most < $low) { /* 2^-400; squares vanish, for these centres too */
        way = 1;
        scale = $up;
    }
"""

ROOT = """
/* The square root, by Newton's method from above. */
@@FUNCTION @real @root(@real square) {
    @@UNFUSED
    @real y = 1, before;
    if (!(square > 0)) return 0;
    while (y * y < square) y *= 2;
    while (y * y > 4 * square) y /= 2;
    do {
        before = y;
        y = (y + square / y) / 2;
    } while (y < before);
    return before;
}
"""

DISTANCE_FLOAT = """
/* Where the square has no room in float, it is multiplied by 2^200 or divided by it. */
@@SELDOM float @distance(const @value *x, const float *c) {
    @@UNFUSED
    const double up = $up200, down = $down200;
    float s = $squared;
    double square;
    if (s >= 1e-22f && s <= 1e30f) return @root(s);
    square = @squared(x, c);
    if (square > 1) return @root((float)(square * down)) * ${up100}f;
    return @root((float)(square * up)) * ${down100}f;
}
"""

DISTANCE_DOUBLE = """
@@SELDOM double @distance(const double *x, const double *c) {
    @@UNFUSED
    const double up = $up, down = $down; /* 2^560 */
    double s = @squared(x, c, 0, 1);
    if (s >= $vanishing && s <= DBL_MAX) return @root(s); /* 2^-960 */
    if (s > 1) return @root(@squared(x, c, -1, down)) * up;
    return @root(@squared(x, c, 1, up)) * down;
}
"""

DISTANCE_BYTES = """
@@SELDOM double @distance(const uint8_t *x, const double *c) {
    return @root(@squared(x, c));
}
"""

NEAREST = """
@@FUNCTION int @nearest(const @value *row, @real *distance) {
    int best = @predict(row);
    if (best >= 0) *distance = @distance(row, @centers[best]);
    return best;
}

@@FUNCTION int @transform(const @value *row, @real *distances) {
    int j;
$check\
    for (j = 0; j < @@CLUSTERS; j++) distances[j] = @distance(row, @centers[j]);
    return 0;
}
"""

CHECK_ROW = """\
    for (j = 0; j < @@FEATURES; j++)
        if (!(row[j] - row[j] == 0)) return -1;
"""

UPDATE = """
#ifdef @@UPDATE
/* Move one centre by those of the rows that have its label. */
@@FUNCTION void @move(int j, const @value *rows, int n, const int *labels) {
    @@UNFUSED
    const @value *x;
    @real sum;
    int i, l;
    for (i = 0; i < n; i++)
        if (labels[i] == j) @counts[j] += 1;
    for (l = 0; l < @@FEATURES; l++) {
        sum = 0;
        for (i = 0, x = rows + l; i < n; i++, x += @@FEATURES)
            if (labels[i] == j) sum += (@real)*x - @centers[j][l];
        @centers[j][l] += sum / @counts[j];
$refresh\
    }
}

@@FUNCTION int @update(const @value *rows, int n, int *labels) {
    const @value *row = rows;
    int i, j;
    for (i = 0; i < n; i++, row += @@FEATURES) {
        labels[i] = @predict(row);
        if (labels[i] < 0) return -1;
    }
    for (j = 0; j < @@CLUSTERS; j++)
        for (i = 0; i < n; i++)
            if (labels[i] == j) {
                @move(j, rows, n, labels);
                break;
            }
    return 0;
}
#endif
"""

REFRESH = """\
        @fixed[j][l] = (int32_t)((double)@centers[j][l] * @@ONE + 0.5);
"""
