#include "tw_kernels.h"
#include "tw_vector.h"

typedef double tw_eight __attribute__((vector_size(64)));
typedef double tw_four __attribute__((vector_size(32)));
typedef double tw_two __attribute__((vector_size(16)));
typedef float tw_row_f4 __attribute__((vector_size(32), aligned(4), may_alias));
typedef double tw_row_f8 __attribute__((vector_size(64), aligned(8), may_alias));
typedef double tw_eight_u __attribute__((vector_size(64), aligned(8), may_alias));

#define S float
#define E(name) name##_f4
#include "tw_exact.h"
#undef S
#undef E
#define S double
#define E(name) name##_f8
#include "tw_exact.h"

const tw_exact_kernels TW_JOIN(tw_exact, TW_ISA) = {
    distance_f4, distances_f4, distances_picked_f4, accumulate_f4, moments_f4,
    distance_f8, distances_f8, distances_picked_f8, accumulate_f8, moments_f8,
};
