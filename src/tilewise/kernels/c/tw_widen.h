/* Widening of numbers that lie side by side, as one instruction set does it. Nothing is rounded. */
#ifndef TW_WIDEN_H
#define TW_WIDEN_H

#include "tw_kernels.h"
#include "tw_rows.h"

/* By kind of the numbers, then 0 for float and 1 for double; NULL where numbers would be rounded. */
typedef struct {
    tw_widener of[TW_KINDS][2];
} TW_BY_NAME tw_widen_kernels;

#endif
