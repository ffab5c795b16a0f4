/* IEEE 754 binary16 and bfloat16, widened without loss. No branch, so that loops become vectors; no
 * subnormal float on the way, so that flushing them to zero would change nothing. */
#ifndef TW_HALF_H
#define TW_HALF_H

#include <stdint.h>
#include <string.h>

static inline float tw_half_to_float(uint16_t half) {
    const uint32_t size = half & 0x7fffu, sign = (uint32_t)(half & 0x8000u) << 16;
    /* The exponent is biased by 15, in float by 127; all ones stay all ones. */
    const uint32_t normal = (size << 13) + (112u << 23) + (size >= 0x7c00u ? 112u << 23 : 0);
    /* Below the least normal number: 0.5 + size * 2^-24 is exact, and so is the difference. */
    const uint32_t raised = 0x3f000000u | size;
    float small, value;
    memcpy(&small, &raised, 4);
    small -= 0.5f;
    uint32_t bits;
    memcpy(&bits, &small, 4);
    bits = (size < 0x400u ? bits : normal) | sign;
    memcpy(&value, &bits, 4);
    return value;
}

/* The upper half of a float. */
static inline float tw_bfloat_to_float(uint16_t upper) {
    const uint32_t bits = (uint32_t)upper << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

#endif
