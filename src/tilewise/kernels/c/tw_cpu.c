#include "tw_cpu.h"

#if defined(TW_HAS_AMX) && defined(TW_EMULATE_AMX)
/* The tiles are plain memory, but numbers are split by the instructions of bfloat16. */
static int has_amx(void) { return __builtin_cpu_supports("avx512bf16") != 0; }
#elif defined(TW_HAS_AMX)
#include <cpuid.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux hands out the tile registers on request only, for the life of a process: see
 * Documentation/arch/x86/xstate.rst of its sources. */
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

static int has_amx(void) {
    static atomic_int known = -1;
    unsigned a, b, c, d, a1, b1, c1, d1;
    if (known < 0)
        known = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) && (d >> 24 & 1) &&
                __get_cpuid_count(7, 1, &a1, &b1, &c1, &d1) && (a1 >> 5 & 1) &&
                syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
    return known;
}
#elif defined(__x86_64__) || defined(__i386__)
static int has_amx(void) { return 0; }
#endif

/* The operating system must save the registers too; the compiler's run-time support asks
 * XGETBV for that. */
int tw_cpu_level(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
        return 2 + has_amx();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}
