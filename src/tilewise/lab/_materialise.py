"""The process that `materialise` starts: one method, its seconds and its peak memory.

Run as ``python -m tilewise.lab._materialise JSON``; prints one JSON object.
"""

import contextlib
import ctypes
import json
import statistics
import sys
import time

import numpy as np

from tilewise._sizes import kernel_bytes
from tilewise.engine import assign
from tilewise.kernels._rows import Rows
from tilewise.plan import plan

from ._data import blobs
from .dtypes import plain_labels

# Timed runs in each process: at least, at most, and for how long.
FEWEST_RUNS, _MOST, _SECONDS = 3, 25, 0.25
#: The exit code that says that there was too little memory.
NO_ROOM = 71


def label(job, X, centers):
    """Labels of all rows by one method."""
    if job["method"] == "fused":
        chosen = plan(*X.shape, len(centers), X.dtype, n_threads=job["threads"])
        return assign(Rows(X), centers, chosen)
    return plain_labels(X, centers, len(X) if job["method"] == "whole" else job["chunk_rows"])


class Peak:
    """The most memory that the process holds while the body runs, beyond what it held before.

    Attributes
    ----------
    grown : int or None
        Bytes; None where the system does not say.
    """

    def __enter__(self):
        # What the allocator keeps for later would hide what the body needs.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        # Linux forgets the peak so far when it is told to; elsewhere peaks only rise.
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as refs:
            refs.write("5")
        self._before = _highest()
        return self

    def __exit__(self, *problem):
        after = _highest()
        self.grown = None if after is None else max(0, after - self._before)


def _highest():
    """The highest resident set of this process in bytes; None where the system does not say."""
    highest = kernel_bytes("/proc/self/status", "VmHWM")
    if highest is not None:
        return highest
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main():
    """Run the job of the command line once for its peak and some times more for its seconds."""
    import threadpoolctl

    job = json.loads(sys.argv[1])
    X, centers = blobs(job["rows"], job["features"], job["clusters"], job["dtype"])
    with threadpoolctl.threadpool_limits(job["threads"], "blas"):
        label(job, X[:64], centers)  # libraries are loaded, threads exist
        with Peak() as peak:
            labels = label(job, X, centers)
        samples, again = timed(lambda: label(job, X, centers))
    assert np.array_equal(labels, again)
    print(json.dumps({"seconds": statistics.median(samples), "peak_bytes": peak.grown}))


def timed(call):
    """Seconds of calls, and what the last one returned: a single one could meet anything."""
    samples, begin = [], time.perf_counter()
    while len(samples) < FEWEST_RUNS or (
        len(samples) < _MOST and time.perf_counter() - begin < _SECONDS
    ):
        start = time.perf_counter()
        found = call()
        samples.append(time.perf_counter() - start)
    return samples, found


if __name__ == "__main__":
    try:
        main()
    except MemoryError:
        sys.exit(NO_ROOM)
