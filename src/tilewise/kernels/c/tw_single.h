/* The names that tw_tile.h, tw_near.h and tw_csr.h go by, for float32. No guard: whoever includes
 * it takes them away again before the next type. */
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
#define F4_keep tw_keep_f4
#define F4_root __builtin_sqrtf
