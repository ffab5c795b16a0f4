"""Which compilations of the kernels exist, and which of them this machine can run."""

import os

from cython.parallel cimport prange, threadid
from libc.stdint cimport int64_t

cdef extern from "c/tw_cpu.h" nogil:
    int tw_cpu_level()

cdef extern from *:
    """
    #include "c/tw_kernels.h"
    #include "c/tw_pair.h"
    #include "c/tw_screen.h"
    #include "c/tw_sets.h"
    #include "c/tw_split.h"
    typedef struct {
        const char *name;
        const tw_tile_kernels *tile;
        const tw_exact_kernels *exact;
        const tw_pair_kernels *pair;
        const tw_split_kernels *split;
        const tw_screen_kernels *screen, *vnni;
    } tw_set;
    #define TW_DECLARE(NAME, BASE, SPLIT, RUNS)                 \\
        extern const tw_tile_kernels TW_JOIN(tw_tile, BASE);    \\
        extern const tw_exact_kernels TW_JOIN(tw_exact, BASE);  \\
        extern const tw_pair_kernels TW_JOIN(tw_pair, BASE);    \\
        extern const tw_screen_kernels TW_JOIN(tw_screen, BASE); \\
        extern const tw_split_kernels TW_JOIN(tw_split, SPLIT);
    TW_SETS(TW_DECLARE)
    #define TW_STRING2(x) #x
    #define TW_STRING(x) TW_STRING2(x)
    #define TW_SET(NAME, BASE, SPLIT, RUNS)                                                           \\
        {TW_STRING(NAME), &TW_JOIN(tw_tile, BASE), &TW_JOIN(tw_exact, BASE), &TW_JOIN(tw_pair, BASE), \\
         &TW_JOIN(tw_split, SPLIT), &TW_JOIN(tw_screen, BASE), TW_VNNI_OF(BASE)},
    #ifdef TW_HAS_VNNI
    extern const tw_screen_kernels tw_screen_vnni;
    #define TW_VNNI_sse2 NULL
    #define TW_VNNI_avx2 NULL
    #define TW_VNNI_avx512 &tw_screen_vnni
    #define TW_VNNI_OF(BASE) TW_JOIN(TW_VNNI, BASE)
    #define TW_RUNS_VNNI (__builtin_cpu_init(), __builtin_cpu_supports("avx512vnni"))
    #else
    #define TW_VNNI_OF(BASE) NULL
    #define TW_RUNS_VNNI 0
    #endif
    static int tw_runs_vnni(void) { return TW_RUNS_VNNI != 0; }
    static const tw_set tw_sets[] = {TW_SETS(TW_SET)};
    """
    ctypedef struct tw_set:
        const char* name
        const tw_tile_kernels* tile
        const tw_exact_kernels* exact
        const tw_pair_kernels* pair
        const tw_split_kernels* split
        const tw_screen_kernels* screen
        const tw_screen_kernels* vnni

    const tw_set* tw_sets
    bint tw_runs_vnni() nogil

cdef extern from "c/tw_threads.h" nogil:
    int tw_omp_max_threads()
    int tw_has_openmp()
    int tw_usable_threads(int wanted)
    int tw_enter_loop(int wanted)
    void tw_leave_loop()
    int tw_loops_running()
    int tw_pool_lost
    void tw_watch_forks()


def available_isas():
    """Names of the instruction sets that this build has and this machine runs, rising."""
    return [tw_sets[i].name.decode() for i in range(tw_cpu_level() + 1)]


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


cdef void _run_shard(block_body body, void* work, int64_t first, int64_t stop, int64_t block,
                     int thread) noexcept nogil:
    cdef int count
    while first < stop:
        count = <int>min(block, stop - first)
        body(work, first, count, thread)
        first += count


cdef void run_blocks(block_body body, void* work, int64_t first, int64_t stop, int64_t shard, int64_t block,
                     int n_threads) noexcept:
    cdef int64_t s, begin = first // shard, end = (stop + shard - 1) // shard
    cdef int threads = enter_loop(<int>min(<int64_t>n_threads, end - begin))
    with nogil:
        if threads <= 1:
            for s in range(begin, end):
                _run_shard(body, work, max(first, s * shard), min(stop, (s + 1) * shard), block, 0)
        else:
            for s in prange(begin, end, schedule="dynamic", chunksize=1, num_threads=threads):
                _run_shard(body, work, max(first, s * shard), min(stop, (s + 1) * shard), block, threadid())
    leave_loop()


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


def has_byte_products(str name):
    """Whether the kernels of this instruction set add up products of bytes in one instruction here."""
    return tw_sets[_position(name)].vnni != NULL and tw_runs_vnni() != 0


cdef int _position(str name) except -1:
    available = available_isas()
    if name not in available:
        raise ValueError(f"instruction set {name!r} is not available here: {', '.join(available)} are")
    return available.index(name)


cdef const tw_tile_kernels* tile_kernels(str isa) except NULL:
    return tw_sets[_position(isa)].tile


cdef const tw_exact_kernels* exact_kernels(str isa) except NULL:
    return tw_sets[_position(isa)].exact


cdef const tw_pair_kernels* pair_kernels(str isa) except NULL:
    return tw_sets[_position(isa)].pair


cdef const tw_split_kernels* split_kernels(str isa) except NULL:
    return tw_sets[_position(isa)].split


cdef const tw_screen_kernels* screen_kernels(str isa, bint vnni=True) except NULL:
    cdef const tw_set* own = &tw_sets[_position(isa)]
    return own.vnni if vnni and own.vnni != NULL and tw_runs_vnni() else own.screen
