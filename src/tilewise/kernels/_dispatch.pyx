"""Which compilations of the kernels exist, and which of them this machine can run."""

import os

cdef extern from "c/tw_cpu.h" nogil:
    int tw_cpu_level()

cdef extern from *:
    """
    #include "c/tw_kernels.h"
    #include "c/tw_pair.h"
    #include "c/tw_split.h"
    #if defined(__x86_64__) || defined(__i386__)
    #define TW_IS_X86 1
    extern const tw_tile_kernels tw_tile_sse2, tw_tile_avx2, tw_tile_avx512;
    extern const tw_exact_kernels tw_exact_sse2, tw_exact_avx2, tw_exact_avx512;
    extern const tw_pair_kernels tw_pair_sse2, tw_pair_avx2, tw_pair_avx512;
    extern const tw_split_kernels tw_split_sse2, tw_split_avx2, tw_split_avx512;
    /* AMX has tiles for products alone; all else is AVX-512. */
    static const tw_tile_kernels *const tw_tiles[] = {&tw_tile_sse2, &tw_tile_avx2, &tw_tile_avx512, &tw_tile_avx512};
    static const tw_exact_kernels *const tw_exacts[] = {&tw_exact_sse2, &tw_exact_avx2, &tw_exact_avx512,
                                                        &tw_exact_avx512};
    static const tw_pair_kernels *const tw_pairs[] = {&tw_pair_sse2, &tw_pair_avx2, &tw_pair_avx512, &tw_pair_avx512};
    #ifdef TW_HAS_AMX
    extern const tw_split_kernels tw_split_amx;
    #else
    #define tw_split_amx tw_split_avx512
    #endif
    static const tw_split_kernels *const tw_splits[] = {&tw_split_sse2, &tw_split_avx2, &tw_split_avx512,
                                                        &tw_split_amx};
    #else
    #define TW_IS_X86 0
    extern const tw_tile_kernels TW_JOIN(tw_tile, TW_BASELINE);
    extern const tw_exact_kernels TW_JOIN(tw_exact, TW_BASELINE);
    extern const tw_pair_kernels TW_JOIN(tw_pair, TW_BASELINE);
    extern const tw_split_kernels TW_JOIN(tw_split, TW_BASELINE);
    static const tw_split_kernels *const tw_splits[] = {&TW_JOIN(tw_split, TW_BASELINE)};
    static const tw_tile_kernels *const tw_tiles[] = {&TW_JOIN(tw_tile, TW_BASELINE)};
    static const tw_exact_kernels *const tw_exacts[] = {&TW_JOIN(tw_exact, TW_BASELINE)};
    static const tw_pair_kernels *const tw_pairs[] = {&TW_JOIN(tw_pair, TW_BASELINE)};
    #endif
    #define TW_STRING2(x) #x
    #define TW_STRING(x) TW_STRING2(x)
    """
    const tw_tile_kernels* const* tw_tiles
    const tw_exact_kernels* const* tw_exacts
    const tw_pair_kernels* const* tw_pairs
    const tw_split_kernels* const* tw_splits
    const char* TW_BASELINE_NAME "TW_STRING(TW_BASELINE)"
    int TW_IS_X86

cdef extern from "c/tw_threads.h" nogil:
    int tw_omp_max_threads()
    int tw_has_openmp()
    int tw_usable_threads(int wanted)
    int tw_enter_loop(int wanted)
    void tw_leave_loop()
    int tw_loops_running()
    int tw_pool_lost
    void tw_watch_forks()

_NAMES = ("sse2", "avx2", "avx512", "amx") if TW_IS_X86 else (TW_BASELINE_NAME.decode(),)


def available_isas():
    """Names of the instruction sets that this build has and this machine runs, rising."""
    return list(_NAMES[: tw_cpu_level() + 1])


def isa():
    """Name of the instruction set in use: the widest, or what TILEWISE_ISA asks for."""
    available = available_isas()
    wanted = os.environ.get("TILEWISE_ISA", "").strip().lower()
    if not wanted:
        return available[len(available) - 1]
    if wanted not in available:
        raise ValueError(
            f"TILEWISE_ISA={wanted!r} is not available here: this build on this machine "
            f"runs {', '.join(available)}."
        )
    return wanted


def has_openmp():
    """Whether the kernels were compiled with OpenMP; without it they use one thread."""
    return bool(tw_has_openmp())


def omp_max_threads():
    """Threads that OpenMP would use for the next parallel loop of this thread."""
    return tw_omp_max_threads()


cdef int usable_threads(int wanted) noexcept nogil:
    return tw_usable_threads(wanted)


cdef int enter_loop(int wanted) noexcept nogil:
    return tw_enter_loop(wanted)


cdef void leave_loop() noexcept nogil:
    tw_leave_loop()


def loops_running():
    """How many parallel loops run now, in all threads of the process."""
    return tw_loops_running()


def pool_lost():
    """Whether this process is the fork of one whose OpenMP threads it cannot use."""
    return bool(tw_pool_lost)


tw_watch_forks()


def tile_shape(str name):
    """Sizes of the register tile of one instruction set, in rows, vectors and bytes."""
    cdef const tw_tile_kernels* table = tile_kernels(name)
    return {
        "vector_bytes": table.vector_bytes,
        "tile_rows": table.tile_rows,
        "panel_vectors": table.panel_vectors,
        "row_panel_vectors": table.row_panel_vectors,
        "group": table.group,
    }


cdef int _position(str name) except -1:
    available = available_isas()
    if name not in available:
        raise ValueError(f"instruction set {name!r} is not available here: {', '.join(available)} are")
    return available.index(name)


cdef const tw_tile_kernels* tile_kernels(str isa) except NULL:
    return tw_tiles[_position(isa)]


cdef const tw_exact_kernels* exact_kernels(str isa) except NULL:
    return tw_exacts[_position(isa)]


cdef const tw_pair_kernels* pair_kernels(str isa) except NULL:
    return tw_pairs[_position(isa)]


cdef const tw_split_kernels* split_kernels(str isa) except NULL:
    return tw_splits[_position(isa)]
