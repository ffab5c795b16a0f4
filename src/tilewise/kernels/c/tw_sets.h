/* The instruction sets of a build, rising: K(name, base, split, runs). The tables of kernels are those
 * of `base`, and of `split` where numbers are split into parts of bfloat16; `runs` tells whether this
 * processor, and its operating system, have them. */
#ifndef TW_SETS_H
#define TW_SETS_H

#if defined(__x86_64__) || defined(__i386__)
#define TW_IS_X86 1
#define TW_RUNS(NAME) __builtin_cpu_supports(NAME)
#ifdef TW_HAS_AMX
#define TW_AMX_SPLIT amx
#else
#define TW_AMX_SPLIT avx512
#endif
/* AMX has tiles for products alone; all else is AVX-512. */
#define TW_SETS(K)                                                                                       \
    K(sse2, sse2, sse2, 1)                                                                               \
    K(avx2, avx2, avx2, TW_RUNS("avx2") && TW_RUNS("fma") && has_f16c())                                 \
    K(avx512, avx512, avx512,                                                                            \
      TW_RUNS("avx512f") && TW_RUNS("avx512vl") && TW_RUNS("avx512dq") && TW_RUNS("avx512bw"))           \
    K(amx, avx512, TW_AMX_SPLIT, has_amx())
#else
#define TW_IS_X86 0
#define TW_SETS(K) K(TW_BASELINE, TW_BASELINE, TW_BASELINE, 1)
#endif

#endif
