"""What dask says of threads: a worker's share of its own, and variables that a nanny sets."""

import sys
from collections.abc import Mapping

from ._facts import Fact

__all__ = ["set_by_nanny", "worker_share"]

_VARIABLE = "OMP_NUM_THREADS"


def worker_share() -> Fact | None:
    """Return the threads of the worker whose task this thread runs, by its running tasks.

    None outside of tasks. Nothing is imported: a worker has done so.
    """
    worker = _worker()
    if worker is None:
        return None
    threads = max(1, int(worker.state.nthreads))
    tasks = max(1, int(worker.state.executing_count))
    said = f"{threads} thread{'s' if threads > 1 else ''}"
    if tasks > 1:
        said += f" for {tasks} tasks"
    return Fact(max(1, threads // tasks), f"dask worker of {said}")


def set_by_nanny(env: Mapping[str, str]) -> bool:
    """Whether OMP_NUM_THREADS is what a nanny sets, 1 by default: a thread for each task.

    A nanny sets it for its worker and, on the way, in the process that it lives in, which is the
    user's where that has started a cluster of its own. Another number is somebody else's.
    """
    text = env.get(_VARIABLE, "").strip()
    worker = _worker()
    if worker is not None and getattr(worker, "nanny", None):
        import dask

        given = [dask.config.get("distributed.nanny.pre-spawn-environ", None) or {}]
    else:
        nannies = getattr(sys.modules.get("distributed.nanny"), "Nanny", None)
        given = [nanny.pre_spawn_env for nanny in list(getattr(nannies, "_instances", ()))]
    return bool(text) and any(str(each.get(_VARIABLE, "")).strip() == text for each in given)


def _worker():
    module = sys.modules.get("distributed.worker")
    if module is None:
        return None
    try:
        return module.get_worker()
    except ValueError:
        return None
