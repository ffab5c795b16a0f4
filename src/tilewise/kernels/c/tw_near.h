/* Candidates: which columns of the scores of a row may still be among its k lowest, or lie
 * below a limit. Included once per score type with T, I, V, VI, VU and F(name) defined.
 *
 * A row keeps the scores and indices of its candidates in the order in which they came. Once
 * it holds more than its trigger, the k-th lowest score t of them bounds what can still count:
 * a column whose score exceeds t by more than the errors of both cannot be among the k closest
 * by the canonical distance (docs/exact-neighbors.md). Such columns are dropped, and not kept again.
 */
#include <assert.h>

#define LANES ((int)(TW_VECTOR_BYTES / sizeof(T)))

/* How many more candidates a row takes in before it is thinned out again (measured). */
#define TW_GROWTH(k) ((k) / 2 + 12)

TW_INLINE uint32_t F(tail)(int count, int start) {
    return count - start < LANES ? (1u << (count - start)) - 1 : (uint32_t)((1ull << LANES) - 1);
}

TW_INLINE int F(count_not_above)(const T *scores, int count, T limit) {
    const V bound = F(splat)(limit);
    int found = 0;
    for (int j = 0; j < count; j += LANES)
        found += __builtin_popcount(F(not_above)(*(const VU *)(scores + j), bound) & F(tail)(count, j));
    return found;
}

/* Numbers in the order of their values, and back: halving their distance ends after as many
 * steps as they have bits, whatever they are. */
TW_INLINE I F(ordered)(T value) {
    union { T value; I bits; } u = {value};
    return u.bits < 0 ? u.bits ^ (I)(~0ull >> (65 - 8 * sizeof(I))) : u.bits;
}

TW_INLINE T F(middle)(T low, T high) {
    const I a = F(ordered)(low), b = F(ordered)(high);
    const I middle = (a & b) + ((a ^ b) >> 1);
    union { I bits; T value; } u = {middle < 0 ? middle ^ (I)(~0ull >> (65 - 8 * sizeof(I))) : middle};
    return u.value;
}

/* A number that at least k of count scores, but few more, do not exceed. At most `most` do not,
 * unless several scores equal it. */
static T F(threshold)(const T *scores, int count, int k, int most) {
    T low = scores[0], high = scores[0];
    if (count >= 2 * LANES) {
        V least = *(const VU *)scores, greatest = least;
        for (int j = LANES; j < count; j += LANES) {
            const V v = *(const VU *)(scores + (j + LANES <= count ? j : count - LANES));
            least = F(min)(v, least);
            greatest = F(max)(v, greatest);
        }
        for (int l = 0; l < LANES; l++) {
            low = least[l] < low ? least[l] : low;
            high = greatest[l] > high ? greatest[l] : high;
        }
    } else {
        for (int j = 1; j < count; j++) {
            low = scores[j] < low ? scores[j] : low;
            high = scores[j] > high ? scores[j] : high;
        }
    }
    int below = 0, found = count;
    /* low itself may be the answer: from here on it is a number with too few scores. */
    if (found > most) {
        const int ties = F(count_not_above)(scores, count, low);
        if (ties >= k) return low;
        below = ties;
    }
    for (int step = 0; found > most; step++) {
        T middle;
        if (step < 12) {
            /* As if scores were spread evenly; every third step halves. */
            const T share = step % 3 == 2 ? (T)0.5 : (T)((k + most) / 2 - below) / (T)(found - below);
            middle = low + (high - low) * (share < (T)0.05 ? (T)0.05 : share > (T)0.95 ? (T)0.95 : share);
        } else {
            middle = F(middle)(low, high);
        }
        if (!(middle > low && middle < high)) {
            middle = F(middle)(low, high);
            if (!(middle > low && middle < high)) break;
        }
        const int here = F(count_not_above)(scores, count, middle);
        if (here < k) {
            low = middle;
            below = here;
        } else {
            high = middle;
            found = here;
        }
    }
    return high;
}

TW_INLINE double F(near_error)(const tw_near *near, double x, double c, double split_error) {
    return near->alpha * (x * c + 0.5 * c * c) + split_error * c + near->beta * (x + c) * (x + c) + near->eta * (1 + x);
}

/* Columns with a higher score than this are farther than k others whose scores do not exceed t. */
static T F(limit_above)(const tw_near *near, int row, T t) {
    if (!near->norms) return t * (T)(1 + near->share);
    const double slack = 1 + 1e-3 + near->nu, largest = near->largest_norm;
    /* The last term covers norms that underflowed. */
    const double x =
        __builtin_sqrt((double)((const T *)near->norms)[row]) * slack + (sizeof(T) == 4 ? 0x1p-56 : 0x1p-500);
    const double split_error = near->split_errors ? (double)near->split_errors[row] : 0;
    /* How long a column with such a score can be. */
    double c = largest;
    if (near->alpha < 1e-3) {
        const double wide = (x + split_error) * 1.0025;
        const double square = wide * wide + 2 * (t > 0 ? 1.0025 * (double)t : (double)t) + 3 * near->eta * (1 + x);
        c = wide + (square > 0 ? __builtin_sqrt(square) * 1.001 : 0);
        c = c < largest ? c : largest;
    }
    const double own = F(near_error)(near, x, c, split_error), reach = x * x + 2 * ((double)t + own);
    double other = x + (reach > 0 ? __builtin_sqrt(reach) * (1 + 1e-6) : 0);
    other = other < largest ? other : largest;
    const double limit = (double)t + own + F(near_error)(near, x, other, split_error);
    /* Rounding to the type of the scores must not lower it. */
    const double above = limit + (sizeof(T) == 4 ? 0x1p-22 : 0x1p-51) * __builtin_fabs(limit);
    const double most = sizeof(T) == 4 ? 3e38 : 1e308;
    return (T)(above < most ? above : most);
}

/* Drops the candidates of a row that cannot count. Exact scores are cut to exactly k, of equal
 * ones the first. */
static __attribute__((noinline)) void F(compact)(const tw_near *near, int row) {
    T *scores = (T *)near->scores + row * near->stride;
    I *indices = (I *)near->indices + row * near->stride;
    T *limits = (T *)near->limits;
    const int count = near->counts[row], k = near->k;
    if (!k || count <= k) return;
    const int exact = !near->norms && near->share == 0, spare = exact ? 0 : k / 8 + 1;
    const T t = F(threshold)(scores, count, k, k + spare);
    T limit = F(limit_above)(near, row, t);
    limit = limit < limits[row] ? limit : limits[row];
    const V bound = F(splat)(limit);
    int kept = 0, equal = 0;
    if (exact) {
        /* Of those at t only the first may stay. */
        equal = k;
        for (int j = 0; j < count; j++) equal -= scores[j] < t;
        for (int j = 0; j < count; j++) {
            const int stays = scores[j] < t || (scores[j] == t && equal-- > 0);
            scores[kept] = scores[j];
            indices[kept] = indices[j];
            kept += stays;
        }
    } else {
        for (int j = 0; j < count; j += LANES) {
            const V s = *(const VU *)(scores + j);
                const VI i = *(const VI *)(indices + j);
            const uint32_t bits = F(not_above)(s, bound) & F(tail)(count, j);
            F(keep)(scores + kept, indices + kept, s, i, bits);
            kept += __builtin_popcount(bits);
        }
    }
    limits[row] = limit;
    near->counts[row] = kept;
    const int next = kept + TW_GROWTH(k);
    near->triggers[row] = next < near->room ? next : near->room;
}

/* Adds the lanes of s that do not exceed the limit. */
TW_INLINE void F(push)(const tw_near *near, int row, V s, VI index, uint32_t bits) {
    const int count = near->counts[row];
    const ptrdiff_t at = row * near->stride + count;
    assert(count + LANES <= near->stride); /* a whole vector may be written */
    F(keep)((T *)near->scores + at, (I *)near->indices + at, s, index, bits);
    near->counts[row] = count + __builtin_popcount(bits);
}

/* Where candidates are kept: the columns from `first` on. */
typedef struct {
    I first;
    const tw_near *near;
} F(pushing);

/* min(a, b) keeps b where a is NaN: a NaN among the scores of a row would hide others. It comes
 * with a norm that is not finite, and such rows have a limit that nothing passes. */
TW_INLINE void F(push_tile)(const int vectors, V acc[TW_TILE_ROWS][TW_PANEL_VECTORS], int tile, int panel,
                            const void *what) {
    const tw_near *near = ((const F(pushing) *)what)->near;
    const I first = ((const F(pushing) *)what)->first + panel * vectors * LANES;
    const int row = tile * TW_TILE_ROWS;
    const T *limits = (const T *)near->limits + row;
    uint32_t some = 0;
#pragma GCC unroll 16
    for (int r = 0; r < TW_TILE_ROWS; r++) {
        V least = acc[r][0];
#pragma GCC unroll 4
        for (int v = 1; v < vectors; v++) least = F(min)(acc[r][v], least);
        some |= (uint32_t)(F(not_above)(least, F(splat)(limits[r])) != 0) << r;
    }
    if (__builtin_expect(!some, 1)) return;
    V stored[TW_TILE_ROWS][TW_PANEL_VECTORS];
    VI lane = {0};
    for (int l = 0; l < LANES; l++) lane[l] = l;
#pragma GCC unroll 16
    for (int r = 0; r < TW_TILE_ROWS; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) stored[r][v] = acc[r][v];
    for (; some; some &= some - 1) {
        const int r = __builtin_ctz(some);
        const V limit = F(splat)(limits[r]);
        for (int v = 0; v < vectors; v++) {
            const uint32_t bits = F(not_above)(stored[r][v], limit);
            F(push)(near, row + r, stored[r][v], lane + (first + v * LANES), bits);
        }
        if (near->counts[row + r] >= near->triggers[row + r]) F(compact)(near, row + r);
    }
}

/* One by one: a vector of counts would wait for the last of them to be stored. */
TW_INLINE int F(any_full)(const tw_near *near, int first, int n_rows) {
    for (int r = first; r < first + n_rows; r++)
        if (near->counts[r] > near->room) return 1;
    return 0;
}

TW_INLINE int F(full_tile)(const void *what, int tile) {
    return F(any_full)(((const F(pushing) *)what)->near, tile * TW_TILE_ROWS, TW_TILE_ROWS);
}

/* Scores rows, from `tile` on, against n_panels panels, the first column being `first`, and
 * keeps the candidates. Returns the tile to go on with: the one after a tile with a full row. */
static int F(select)(const T *tiles, int n_tiles, int tile, int depth, int depth_block, const T *panels,
                     int n_panels, int panel_vectors, I first, const tw_near *near, T *scratch) {
    const F(meeting) m = {tiles, panels, n_tiles, depth, depth_block, n_panels, scratch, NULL, 0};
    const F(pushing) p = {first, near};
    if (panel_vectors == 1) return F(walk)(1, &m, tile, F(push_tile), &p, F(full_tile));
    return F(walk)(TW_PANEL_VECTORS, &m, tile, F(push_tile), &p, F(full_tile));
}

/* The same for values that already stand in memory, and are exact or err by a share of
 * themselves. NaN counts as infinite. Returns how many were taken in: fewer than count only
 * where the row is full of candidates that a share leaves open. */
static int F(feed)(const tw_near *near, int row, const T *values, int count, I first) {
    const V infinite = F(splat)(__builtin_inf());
    const T *limits = (const T *)near->limits;
    VI lane = {0};
    for (int l = 0; l < LANES; l++) lane[l] = l;
    for (int j = 0; j < count; j += LANES) {
        V v;
        if (count - j >= LANES) {
            v = *(const VU *)(values + j);
        } else {
            T part[LANES] __attribute__((aligned(TW_VECTOR_BYTES))) = {0};
            for (int l = 0; l < count - j; l++) part[l] = values[j + l];
            v = *(const V *)part;
        }
        const VI number = v == v;
        v = (V)(((VI)v & number) | ((VI)infinite & ~number));
        const uint32_t bits = F(not_above)(v, F(splat)(limits[row])) & F(tail)(count, j);
        if (!bits) continue;
        F(push)(near, row, v, lane + (first + j), bits);
        if (near->counts[row] < near->triggers[row]) continue;
        F(compact)(near, row);
        if (near->counts[row] > near->room) return count - j < LANES ? count : j + LANES;
    }
    return count;
}

/* Largest distance of a coordinate from the origin, NaN if one is not finite. */
static T F(extent)(const T *const *rows, int n_rows, int depth, const T *origin) {
    V largest = {0}, broken = {0};
    T most = 0, nought = 0;
    for (int r = 0; r < n_rows; r++) {
        int l = 0;
        for (; l + LANES <= depth; l += LANES) {
            const V gap = *(const VU *)(rows[r] + l) - *(const VU *)(origin + l);
            largest = F(max)(F(max)(gap, -gap), largest);
            broken += gap * 0;
        }
        for (; l < depth; l++) {
            const T gap = rows[r][l] - origin[l], size = gap < 0 ? -gap : gap;
            most = size > most ? size : most;
            nought += gap * 0;
        }
    }
    for (int l = 0; l < LANES; l++) {
        most = largest[l] > most ? largest[l] : most;
        nought += broken[l];
    }
    return most + nought;
}

#undef LANES
#undef TW_GROWTH
