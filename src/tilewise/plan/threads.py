"""How many threads a run uses, and which fact decided.

An argument wins, then ``TILEWISE_NUM_THREADS``. Otherwise the smallest of four bounds: the
caller's OMP_NUM_THREADS, the control group's quota, the affinity mask, and the limit that the
OpenMP runtime holds for the calling thread, which is where threadpoolctl and joblib write.
Nothing is changed: the number goes to every parallel loop as its ``num_threads``.

In a task of a dask worker a fifth bound is the worker's threads, divided by the tasks that it runs
at the moment. There the OMP_NUM_THREADS of a nanny does not count, and neither does a limit of the
runtime of the same size, which comes from it: it is one thread for each task, so that a task that
runs alone would leave the worker's other threads idle. To have one thread there, pass
``n_threads=1`` or set ``TILEWISE_NUM_THREADS``. A process that starts a cluster of its own finds
the nanny's variable in its environment as well: it does not count where the runtime, which reads
the variable when it is loaded, knows of more threads.
"""

import math
import numbers
import os
from collections.abc import Mapping

from ._dask import set_by_nanny, worker_share
from ._facts import Fact, whole_number
from .machine import Machine
from .machine import machine as this_machine

__all__ = ["MAX_THREADS", "n_threads"]

#: Largest number accepted: several times the CPUs of the largest two-socket servers, and low
#: enough that a slip of digits does not exhaust memory with one workspace per thread.
MAX_THREADS = 4096

_RANGE = f"a whole number from 1 to {MAX_THREADS}"


def n_threads(
    requested: int | None = None,
    *,
    machine: Machine | None = None,
    env: Mapping[str, str] | None = None,
    openmp_limit: int | None = None,
) -> Fact:
    """Choose the number of threads.

    Parameters
    ----------
    requested : int, optional
        The caller's wish, from 1 to 4096.
    machine : Machine, optional
        Facts to use; those of this machine by default.
    env : mapping, optional
        Environment; the process's own by default.
    openmp_limit : int, optional
        What the OpenMP runtime would start; asked by default.

    Returns
    -------
    Fact of int
        The number, and the argument, variable or fact that decided it.

    Raises
    ------
    ValueError
        If `requested` or ``TILEWISE_NUM_THREADS`` is not a whole number in range.

    Examples
    --------
    >>> from tilewise.plan.threads import n_threads
    >>> n_threads(1).value
    1
    """
    env = os.environ if env is None else env
    machine = this_machine() if machine is None else machine
    wish = _wish(requested, env)
    if not machine.openmp.value:
        return Fact(1, "built without OpenMP")
    if _pool_lost():
        return Fact(1, "a fork of a process whose OpenMP threads it cannot use")
    if wish is not None:
        return wish
    if openmp_limit is None:
        from ..kernels import _dispatch

        openmp_limit = _dispatch.omp_max_threads()
    bounds = []
    share = worker_share()
    if share is not None:
        bounds.append(share)
    asked, openmp_limit = _without_nanny(env, share is not None, openmp_limit)
    if asked:
        bounds.append(Fact(asked, "OMP_NUM_THREADS"))
    quota = machine.cgroup_cpus
    if quota.value is not None:
        # Part of a CPU still needs a thread to use it.
        bounds.append(Fact(max(1, math.ceil(quota.value)), quota.source))
    bounds.append(machine.n_cpus)
    if openmp_limit is not None:
        bounds.append(Fact(max(1, openmp_limit), "OpenMP limit"))
    # min keeps the first of equals, so the list goes from the most deliberate to the least.
    return min(bounds, key=lambda fact: fact.value)


def _wish(requested: int | None, env: Mapping[str, str]) -> Fact | None:
    if requested is not None:
        whole = isinstance(requested, numbers.Integral) and not isinstance(requested, bool)
        if not whole or not 1 <= requested <= MAX_THREADS:
            raise ValueError(f"n_threads={requested!r} is not {_RANGE}")
        return Fact(int(requested), "n_threads")
    text = env.get("TILEWISE_NUM_THREADS", "").strip()
    if not text:
        return None
    count = whole_number(text)
    if count is None or not 1 <= count <= MAX_THREADS:
        raise ValueError(f"TILEWISE_NUM_THREADS={text!r:.60} is not {_RANGE}")
    return Fact(count, "TILEWISE_NUM_THREADS")


def _without_nanny(env: Mapping[str, str], in_task: bool, openmp_limit: int):
    """Return OMP_NUM_THREADS, 0 if unusable, and the runtime's limit, without what a nanny set."""
    asked = _omp_num_threads(env)
    if not asked or not set_by_nanny(env):
        return asked, openmp_limit
    if in_task:
        return 0, None if openmp_limit == asked else openmp_limit
    return (0 if openmp_limit > asked else asked), openmp_limit


def _omp_num_threads(env: Mapping[str, str]) -> int:
    """Return the first entry of OMP_NUM_THREADS, which counts the outermost level; 0 if unusable.

    OpenMP runtimes pass over a value that they cannot read, and so does this.
    """
    first = env.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return whole_number(first) or 0


def _pool_lost() -> bool:
    from ..kernels import _dispatch

    return _dispatch.pool_lost()
