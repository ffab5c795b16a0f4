/* Register tiles by register file: rows x vectors of running scores, plus the vectors
 * of one step of the depth and one broadcast, must fit.
 *   32 registers (AVX-512, NEON): 12 x 2 + 2 + 1 = 27;   16 registers: 6 x 2 + 2 + 1 = 15. */
#include "tw_kernels.h"
#include "tw_vector.h"

#if defined(__AVX512F__)
#define TW_TILE_ROWS 12
#define TW_ROW_PANEL_VECTORS 4
#define TW_GROUP 4
#elif defined(__aarch64__)
#define TW_TILE_ROWS 12
#define TW_ROW_PANEL_VECTORS 4
#define TW_GROUP 4
#else
#define TW_TILE_ROWS 6
#define TW_ROW_PANEL_VECTORS 2
#define TW_GROUP 4
#endif
#define TW_PANEL_VECTORS 2

#define T float
#define I int32_t
#define V tw_f4
#define VI tw_i4
#define VU tw_f4u
#define F(name) F4_##name
#define F4_min tw_min_f4
#define F4_max tw_max_f4
#define F4_less_select tw_less_select_f4
#define F4_not_above tw_not_above_f4
#define F4_lowest tw_lowest_f4
#include "tw_tile.h"
#undef T
#undef I
#undef V
#undef VI
#undef VU
#undef F

#define T double
#define I int64_t
#define V tw_f8
#define VI tw_i8
#define VU tw_f8u
#define F(name) F8_##name
#define F8_min tw_min_f8
#define F8_max tw_max_f8
#define F8_less_select tw_less_select_f8
#define F8_not_above tw_not_above_f8
#define F8_lowest tw_lowest_f8
#include "tw_tile.h"
#undef T
#undef I
#undef V
#undef VI
#undef VU
#undef F

#define S float
#define T float
#define W float
#define P(name) name##_f4f4
#include "tw_pack.h"
#undef S
#undef T
#undef W
#undef P
#define S float
#define T double
#define W double
#define P(name) name##_f4f8
#include "tw_pack.h"
#undef S
#undef T
#undef W
#undef P
#define S double
#define T float
#define W double
#define P(name) name##_f8f4
#include "tw_pack.h"
#undef S
#undef T
#undef W
#undef P
#define S double
#define T double
#define W double
#define P(name) name##_f8f8
#include "tw_pack.h"
#undef S
#undef T
#undef W
#undef P

/* Peak of multiply-add: twelve independent chains of registers, nothing else. */
#define TW_PROBE(NAME, T, V)                                                     \
    static double NAME(long repeats) {                                           \
        V sum[12], a = (V){0} + (T)0.999999, b = (V){0} + (T)1e-6;               \
        for (int j = 0; j < 12; j++) sum[j] = a + (T)j;                          \
        for (long i = 0; i < repeats; i++) {                                     \
            _Pragma("GCC unroll 12") for (int j = 0; j < 12; j++) sum[j] = sum[j] * a + b; \
        }                                                                        \
        double total = 0;                                                        \
        for (int j = 0; j < 12; j++) total += (double)sum[j][0];                 \
        return total;                                                            \
    }
TW_PROBE(multiply_adds_f4, float, tw_f4)
TW_PROBE(multiply_adds_f8, double, tw_f8)

const tw_tile_kernels TW_JOIN(tw_tile, TW_ISA) = {
    TW_VECTOR_BYTES, TW_TILE_ROWS, TW_PANEL_VECTORS, TW_ROW_PANEL_VECTORS, TW_GROUP,
    F4_assign, F4_certify, F4_assign_lanes, F4_certify_lanes, F4_scan,
    F8_assign, F8_certify, F8_assign_lanes, F8_certify_lanes, F8_scan,
    pack_f4f4, pack_lanes_f4f4, pack_f4f8, pack_lanes_f4f8,
    pack_f8f4, pack_lanes_f8f4, pack_f8f8, pack_lanes_f8f8,
    multiply_adds_f4, multiply_adds_f8,
};
