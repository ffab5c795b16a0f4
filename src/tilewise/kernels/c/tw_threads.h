/* Threads of parallel loops: how many a loop gets, and what becomes of them when a process forks.
 * The one place with state that outlives a call; every access to it is atomic.
 */
#ifndef TW_THREADS_H
#define TW_THREADS_H

#include <stdatomic.h>

#ifdef _OPENMP
#include <omp.h>
static int tw_omp_max_threads(void) { return omp_get_max_threads(); }
static int tw_omp_num_procs(void) { return omp_get_num_procs(); }
static int tw_has_openmp(void) { return 1; }
#else
static int tw_omp_max_threads(void) { return 1; }
static int tw_omp_num_procs(void) { return 1; }
static int tw_has_openmp(void) { return 0; }
#endif

/* Loops that run now, in all threads of the process. Each leaves the others their share of the
 * processors, so that fits from several Python threads do not crowd each other. */
static atomic_int tw_running;

/* Whether this process must do without the threads of its OpenMP runtime. */
static atomic_int tw_pool_lost;

static int tw_usable_threads(int wanted) { return wanted < 1 || atomic_load(&tw_pool_lost) ? 1 : wanted; }

static int tw_enter_loop(int wanted) {
    const int running = atomic_fetch_add(&tw_running, 1) + 1;
    const int share = tw_omp_num_procs() / running;
    return tw_usable_threads(running == 1 || wanted < share ? wanted : share > 1 ? share : 1);
}

static void tw_leave_loop(void) { atomic_fetch_sub(&tw_running, 1); }

static int tw_loops_running(void) { return atomic_load(&tw_running); }

/* ---------------------------------------------------------------- fork
 *
 * The threads of an OpenMP runtime do not survive a fork, but GNU's runtime in the child believes
 * they do and waits for them for ever, also where another library of the process had started them.
 * Before a fork they are therefore ended (omp_pause_resource_all, OpenMP 5.0, 2.15.10); the parent
 * and the child each start new ones when they need them. Where that cannot be done, the child
 * uses one thread.
 */
#if defined(_OPENMP) && !defined(_WIN32)
#include <pthread.h>

static atomic_int tw_pool_ended;

#if defined(TW_HAS_OMP_PAUSE)
#include <dlfcn.h>

/* Several copies of a runtime may be loaded; the threads that matter are those of the copy whose
 * functions this module calls. */
static int tw_same_runtime(void) {
    Dl_info pause, loops;
    return dladdr((void *)omp_pause_resource_all, &pause) && dladdr((void *)omp_get_max_threads, &loops) &&
           pause.dli_fbase == loops.dli_fbase;
}

static void tw_before_fork(void) {
    atomic_store(&tw_pool_ended, tw_same_runtime() && omp_pause_resource_all(omp_pause_soft) == 0);
}
#else
static void tw_before_fork(void) { atomic_store(&tw_pool_ended, 0); }
#endif

static void tw_after_fork(void) {
    atomic_store(&tw_running, 0);
    if (!atomic_load(&tw_pool_ended)) atomic_store(&tw_pool_lost, 1);
}

static void tw_watch_forks(void) {
    static atomic_int watched;
    if (!atomic_exchange(&watched, 1)) pthread_atfork(tw_before_fork, NULL, tw_after_fork);
}
#else
static void tw_watch_forks(void) {}
#endif

#endif
