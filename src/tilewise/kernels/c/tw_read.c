/* Reading alone, for the memory mountain and the roofline: as fast as one instruction set can,
 * or one word out of so many. Nothing is computed that could hide the reads.
 */
#include "tw_read.h"
#include "tw_vector.h"

#define TW_JOIN2(a, b) a##_##b
#define TW_JOIN(a, b) TW_JOIN2(a, b)
#define WORDS (TW_VECTOR_BYTES / 8)

/* words is (count), whole lines; eight chains, more than the latency of an addition needs with
 * two loads per cycle. */
static double read_all(const double *words, ptrdiff_t count, long passes) {
    tw_f8 sum[8] = {{0}};
    for (long pass = 0; pass < passes; pass++) {
        ptrdiff_t i = 0;
        for (; i + 8 * WORDS <= count; i += 8 * WORDS)
            _Pragma("GCC unroll 8") for (int j = 0; j < 8; j++) sum[j] += *(const tw_f8u *)(words + i + j * WORDS);
        for (; i + WORDS <= count; i += WORDS) sum[0] += *(const tw_f8u *)(words + i);
        /* Every pass reads afresh: what another thread could have written is not known. */
        __asm__ volatile("" ::: "memory");
    }
    double total = 0;
    for (int j = 0; j < 8; j++) total += sum[j][0];
    return total;
}

/* One word out of `stride`; words is (count). */
static double read_strided(const double *words, ptrdiff_t count, ptrdiff_t stride, long passes) {
    double sum[8] = {0};
    for (long pass = 0; pass < passes; pass++) {
        ptrdiff_t i = 0;
        for (; i + 7 * stride < count; i += 8 * stride)
            _Pragma("GCC unroll 8") for (int j = 0; j < 8; j++) sum[j] += words[i + j * stride];
        for (; i < count; i += stride) sum[0] += words[i];
        __asm__ volatile("" ::: "memory");
    }
    double total = 0;
    for (int j = 0; j < 8; j++) total += sum[j];
    return total;
}

const tw_read_kernels TW_JOIN(tw_read, TW_ISA) = {
    .vector_bytes = TW_VECTOR_BYTES, .read_all = read_all, .read_strided = read_strided,
};
