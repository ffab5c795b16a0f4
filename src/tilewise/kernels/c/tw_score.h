/* The names that tw_tile.h, tw_near.h and tw_csr.h go by, for scores of TW_SCORE bytes. No guard:
 * included once before each type. */
#undef T
#undef I
#undef V
#undef VI
#undef VU
#undef F
#undef ROOT
#if TW_SCORE == 4
#define T float
#define I int32_t
#define V tw_f4
#define VI tw_i4
#define VU tw_f4u
#define F(name) name##_f4
#define ROOT __builtin_sqrtf
#else
#define T double
#define I int64_t
#define V tw_f8
#define VI tw_i8
#define VU tw_f8u
#define F(name) name##_f8
#define ROOT __builtin_sqrt
#endif
#undef TW_SCORE
