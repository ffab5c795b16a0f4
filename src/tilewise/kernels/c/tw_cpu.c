#include "tw_cpu.h"

#include "tw_sets.h"

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
#elif TW_IS_X86
static int has_amx(void) { return 0; }
#endif

#if TW_IS_X86
#include <cpuid.h>

/* Not every compiler has a name for it. The registers are those of AVX. */
static int has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
}
#endif

/* The operating system must save the registers too; the compiler's run-time support asks
 * XGETBV for that. */
int tw_cpu_level(void) {
    int level = -1;
#if TW_IS_X86
    __builtin_cpu_init();
#endif
#define RISE(NAME, BASE, SPLIT, RUNS) \
    if (!(RUNS)) return level;        \
    level++;
    TW_SETS(RISE)
#undef RISE
    return level;
}
