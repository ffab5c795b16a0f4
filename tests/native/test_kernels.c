/* The kernels of every instruction set against plain loops, without Python: what a cross
 * compiler and an emulator, or the sanitizers, can run.
 *
 * Scores are checked on small whole numbers, where every sum is exact, so that results must
 * be equal to the last bit in any order of additions. Buffers have exactly the promised size.
 */
#include "tw_cpu.h"
#include "tw_kernels.h"
#include "tw_pair.h"
#include "tw_screen.h"
#include "tw_split.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures, checks;
static const char *current = "";

#define CHECK(condition, ...)                                              \
    do {                                                                   \
        checks++;                                                          \
        if (!(condition) && failures++ < 20) {                             \
            printf("%s, line %d: %s: ", current, __LINE__, #condition);    \
            printf(__VA_ARGS__);                                           \
            printf("\n");                                                  \
        }                                                                  \
    } while (0)

static uint64_t state = 88172645463325252u;

static uint64_t next_random(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}
static int whole(int low, int high) { return low + (int)(next_random() % (uint64_t)(high - low + 1)); }
static double uniform(void) { return (double)(next_random() >> 11) * 0x1p-53; }

/* Exactly `size` bytes on a cache line, filled with values that spoil every sum. */
static void *buffer(size_t size) {
    void *memory;
    if (posix_memalign(&memory, 64, size ? size : 1)) abort();
    memset(memory, 255, size);
    return memory;
}

static const int DEPTHS[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 33, 64, 65, 130};
enum { N_DEPTHS = sizeof DEPTHS / sizeof *DEPTHS };

#define S float
#define N(name) name##_f4
#include "check_exact.h"
#include "check_sums.h"
#undef S
#undef N
#define S double
#define N(name) name##_f8
#include "check_exact.h"
#include "check_sums.h"
#undef S
#undef N

/* Rows that are screened. */
enum { SCREENED = 53, SCREENED_GROUPS = (SCREENED + 15) / 16 };
#define S float
#define N(name) name##_f4
#include "check_screen.h"
#include "check_look.h"
#undef S
#undef N
#define S double
#define N(name) name##_f8
#include "check_screen.h"
#include "check_look.h"
#undef S
#undef N

#define T float
#define I int32_t
#define N(name) name##_f4
#include "check_near.h"
#include "check_tile.h"
#undef T
#undef I
#undef N
#define T double
#define I int64_t
#define N(name) name##_f8
#include "check_near.h"
#include "check_tile.h"
#undef T
#undef I
#undef N

#define S float
#define T float
#define W float
#define N(name) name##_f4f4
#include "check_pack.h"
#undef S
#undef T
#undef W
#undef N
#define S float
#define T double
#define W double
#define N(name) name##_f4f8
#include "check_pack.h"
#undef S
#undef T
#undef W
#undef N
#define S double
#define T float
#define W double
#define N(name) name##_f8f4
#include "check_pack.h"
#undef S
#undef T
#undef W
#undef N
#define S double
#define T double
#define W double
#define N(name) name##_f8f8
#include "check_pack.h"
#undef S
#undef T
#undef W
#undef N

#include "check_split.h"

/* Bounds never become too good, and a row that is left out is settled. */
static void check_open_rows(const tw_tile_kernels *t) {
    enum { COUNT = 700, FIRST = 5, K = 9 };
    for (int round = 0; round < 40; round++) {
        int32_t *labels = buffer((FIRST + COUNT) * sizeof *labels);
        float *upper = buffer((FIRST + COUNT) * sizeof *upper), *lower = buffer((FIRST + COUNT) * sizeof *lower);
        float moves[K], largest = 0, runner_up = 0;
        int64_t *ids = buffer(COUNT * sizeof *ids);
        int32_t mover = -1;
        const float size = (float)pow(10, whole(-38, 30));
        for (int j = 0; j < K; j++) {
            moves[j] = round % 4 ? (float)uniform() * size * 0.1f : 0;
            if (moves[j] > largest) runner_up = largest, largest = moves[j], mover = j;
            else if (moves[j] > runner_up) runner_up = moves[j];
        }
        const int count = round % 3 ? COUNT - round : COUNT;
        float *up = buffer((FIRST + COUNT) * sizeof *up), *low = buffer((FIRST + COUNT) * sizeof *low);
        for (int i = 0; i < FIRST + COUNT; i++) {
            labels[i] = whole(0, K - 1);
            up[i] = upper[i] = (float)uniform() * size;
            low[i] = lower[i] = whole(0, 3) ? (float)uniform() * size : 0;
        }
        const int n = t->open_rows(count, FIRST, labels, upper, lower, moves, largest, runner_up, mover, ids);
        CHECK(n >= 0 && n <= count, "%d of %d", n, count);
        int listed = 0;
        for (int i = FIRST; i < FIRST + count; i++) {
            const double far = labels[i] == mover ? runner_up : largest;
            CHECK((double)upper[i] >= (double)up[i] + moves[labels[i]], "row %d", i);
            CHECK((double)lower[i] <= fmax(0, (double)low[i] - far), "row %d", i);
            CHECK(lower[i] >= 0, "row %d", i);
            if (listed < n && ids[listed] == i)
                listed++;
            else
                CHECK(upper[i] < lower[i], "row %d is not settled", i);
            CHECK((double)upper[i] <= ((double)up[i] + moves[labels[i]]) * (1 + 1e-6) + 1e-36, "row %d", i);
        }
        CHECK(listed == n, "%d of %d listed in order", listed, n);
        for (int i = 0; i < FIRST; i++) CHECK(upper[i] == up[i] && lower[i] == low[i], "row %d was touched", i);
        free(labels), free(upper), free(lower), free(ids), free(up), free(low);
    }
}

/* Squared distances in float of one row to rows as they lie: close to the true ones at any offset, infinity
 * behind the last one, and nothing beside the rows is read. */
static void check_single(const tw_tile_kernels *t) {
    for (int d = 0; d < N_DEPTHS; d++)
        for (int count = 1; count <= 40; count++) {
            const int depth = DEPTHS[d], room = (count + 15) / 16 * 16;
            float *x = buffer((size_t)depth * sizeof *x), *rows = buffer((size_t)(count * depth) * sizeof *rows);
            float *gaps = buffer((size_t)room * sizeof *gaps);
            int *picks = buffer((size_t)count * sizeof *picks);
            const double scale = pow(10, whole(-10, 10)), offset = whole(0, 1) * scale * 1000;
            const double error = (depth / 4.0 + 8) * 0x1p-24;
            float least = INFINITY;
            for (int l = 0; l < depth; l++) x[l] = (float)((uniform() - 0.5) * scale + offset);
            for (int i = 0; i < count * depth; i++) rows[i] = (float)((uniform() - 0.5) * scale + offset);
            if (count > 2) memcpy(rows + depth, x, (size_t)depth * sizeof *x);
            const float found = t->rough_gaps(x, rows, count, depth, gaps);
            for (int j = 0; j < count; j++) {
                double exact = 0;
                for (int l = 0; l < depth; l++) {
                    const double gap = (double)x[l] - rows[j * depth + l];
                    exact += gap * gap;
                }
                CHECK(fabs(gaps[j] - exact) <= error * exact, "depth %d, %d of %d: %a, not %a", depth, j, count,
                      (double)gaps[j], exact);
                least = gaps[j] < least ? gaps[j] : least;
            }
            CHECK(found == least, "depth %d, %d rows: the least is %a, not %a", depth, count, (double)found,
                  (double)least);
            for (int j = count; j < room; j++) gaps[j] = INFINITY;
            const float limit = gaps[whole(0, count - 1)];
            const int n = t->rough_picks(gaps, count, limit, picks);
            int at = 0;
            for (int j = 0; j < count; j++)
                if (gaps[j] <= limit) {
                    CHECK(at < n && picks[at] == j, "depth %d: pick %d is not %d", depth, at, j);
                    at++;
                }
            CHECK(at == n, "depth %d: %d picks, not %d", depth, n, at);
            x[0] = whole(0, 1) ? NAN : INFINITY;
            if (depth) CHECK(t->rough_gaps(x, rows, count, depth, gaps) == INFINITY, "depth %d: not finite", depth);
            free(x), free(rows), free(gaps), free(picks);
        }
}

#include "check_pair.h"

/* From `first` on a table holds pointers alone, and none of them is missing but the last few. */
static void check_table(const char *name, const void *table, size_t bytes, size_t first, int missing) {
    for (size_t at = first; at + (size_t)missing * sizeof(void (*)(void)) < bytes; at += sizeof(void (*)(void))) {
        void (*kernel)(void);
        memcpy(&kernel, (const char *)table + at, sizeof kernel);
        CHECK(kernel != NULL, "%s: nothing at byte %zu", name, at);
    }
}

/* Rows that are near some candidate are listed, all others not. */
static void check_near_rows(const tw_screen_kernels *k) {
    for (int n = 1; n <= TW_SCREEN_ROWS; n += whole(1, 15)) {
        int32_t *owner = buffer((size_t)n * 4);
        float *radius = buffer((size_t)n * 4), halves[5] = {1, 2, INFINITY, NAN, 0};
        uint16_t near[TW_SCREEN_GROUPS + 1];
        memset(near, 255, sizeof near);
        for (int i = 0; i < n; i++) {
            owner[i] = whole(0, 4);
            radius[i] = i % 11 == 7 ? NAN : i % 13 == 5 ? INFINITY : (float)whole(0, 4) / 2;
        }
        k->near_rows(n, owner, radius, halves, near);
        for (int i = 0; i < (n + 15) / 16 * 16; i++)
            CHECK((near[i / 16] >> i % 16 & 1) == (i < n && !(halves[owner[i < n ? i : 0]] > radius[i < n ? i : 0])), "row %d of %d", i, n);
        CHECK(near[(n + 15) / 16] == 65535, "no group behind the last one");
        free(owner), free(radius);
    }
}

static void check_screens(const tw_screen_kernels *screen) {
    check_near_rows(screen);
    check_screened_lanes_f4(screen);
    check_screened_lanes_f8(screen);
    check_rounding_f4(screen);
    check_rounding_f8(screen);
    check_copy_f4(screen);
    check_copy_f8(screen);
    check_look_f4(screen);
    check_look_f8(screen);
}

static void check_all(const char *name, const tw_tile_kernels *t, const tw_exact_kernels *e,
                      const tw_pair_kernels *p, const tw_split_kernels *s, const tw_screen_kernels *screen) {
    const int before = failures, checks_before = checks;
    current = name;
    check_table("tile", t, sizeof *t, offsetof(tw_tile_kernels, assign_f4), 0);
    check_table("exact", e, sizeof *e, 0, 0);
    check_table("pair", p, sizeof *p, offsetof(tw_pair_kernels, pack_f4), 0);
    /* Only AMX has a peak of its own. */
    check_table("split", s, sizeof *s, 0, strcmp(name, "amx") != 0);
    check_table("screen", screen, sizeof *screen, offsetof(tw_screen_kernels, lanes_f4), 0);
    check_exact_f4(e);
    check_exact_f8(e);
    check_sums_f4(e);
    check_sums_f8(e);
    check_tile_f4(t);
    check_tile_f8(t);
    check_pack_f4f4(t);
    check_pack_f4f8(t);
    check_pack_f8f4(t);
    check_pack_f8f8(t);
    check_open_rows(t);
    check_single(t);
    check_pair(p);
    check_split(t, s);
    check_screens(screen);
    CHECK(isfinite(t->multiply_adds_f4(1000)) && isfinite(t->multiply_adds_f8(1000)), "probe");
    printf("%-8s %9d checks, %d failed\n", name, checks - checks_before, failures - before);
}

#define TABLES(ISA) extern const tw_tile_kernels tw_tile_##ISA; extern const tw_exact_kernels tw_exact_##ISA; \
                    extern const tw_pair_kernels tw_pair_##ISA; extern const tw_split_kernels tw_split_##ISA; \
                    extern const tw_screen_kernels tw_screen_##ISA;
#define RUN(ISA) check_all(#ISA, &tw_tile_##ISA, &tw_exact_##ISA, &tw_pair_##ISA, &tw_split_##ISA, &tw_screen_##ISA)

#if defined(__x86_64__) || defined(__i386__)
TABLES(sse2)
TABLES(avx2)
TABLES(avx512)
#ifdef TW_HAS_AMX
extern const tw_split_kernels tw_split_amx;
#endif
#ifdef TW_HAS_VNNI
extern const tw_screen_kernels tw_screen_vnni;
#endif
int main(void) {
    RUN(sse2);
    if (tw_cpu_level() >= 1) RUN(avx2);
    if (tw_cpu_level() >= 2) RUN(avx512);
#ifdef TW_HAS_AMX
    if (tw_cpu_level() >= 3) check_all("amx", &tw_tile_avx512, &tw_exact_avx512, &tw_pair_avx512, &tw_split_amx,
                                       &tw_screen_avx512);
#endif
#ifdef TW_HAS_VNNI
    if (tw_cpu_level() >= 2 && __builtin_cpu_supports("avx512vnni")) {
        const int before = failures;
        current = "vnni";
        check_screens(&tw_screen_vnni);
        printf("vnni     %d failed\n", failures - before);
    }
#endif
#elif defined(__aarch64__)
TABLES(neon)
int main(void) {
    RUN(neon);
#else
TABLES(generic)
int main(void) {
    RUN(generic);
#endif
    return failures != 0;
}
