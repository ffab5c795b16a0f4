/* The reading loops that one instruction set offers. */
#ifndef TW_READ_H
#define TW_READ_H

#include "tw_kernels.h"

#include <stddef.h>

typedef struct {
    int vector_bytes;
    double (*read_all)(const double *words, ptrdiff_t count, long passes);
    double (*read_strided)(const double *words, ptrdiff_t count, ptrdiff_t stride, long passes);
} TW_BY_NAME tw_read_kernels;

#endif
