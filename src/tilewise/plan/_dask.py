"""What a task of a dask worker may use of the worker's threads."""

import sys
from collections.abc import Mapping

from ._facts import Fact

__all__ = ["nanny_threads", "worker_share"]


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


def nanny_threads(env: Mapping[str, str]) -> str | None:
    """Return the OMP_NUM_THREADS that a nanny gave this worker, or None if it gave none.

    A nanny sets it to what its configuration says, 1 by default: the worker has as many tasks at
    a time as threads. Another number was set by somebody for this process.
    """
    worker = _worker()
    if worker is None or not getattr(worker, "nanny", None):
        return None
    import dask

    given = dask.config.get("distributed.nanny.pre-spawn-environ", None) or {}
    number = str(given.get("OMP_NUM_THREADS", "")).strip()
    return number if number and number == env.get("OMP_NUM_THREADS", "").strip() else None


def _worker():
    module = sys.modules.get("distributed.worker")
    if module is None:
        return None
    try:
        return module.get_worker()
    except ValueError:
        return None
