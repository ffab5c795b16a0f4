"""How much memory a task takes beyond its data: once in a fresh process, peak against before.

Run as a script it is the fresh process; `extra_bytes` starts it.
"""

import argparse
import ctypes
import gc
import json
import pathlib
import subprocess
import sys

import data
import peers

STATUS = pathlib.Path("/proc/self/status")
CLEAR_REFS = pathlib.Path("/proc/self/clear_refs")


def resident():
    """Return the bytes of memory that this process holds, and the most that it ever held."""
    fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return tuple(int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))


def give_back():
    """Return free memory to the system: a call that took it again would seem to take none."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if trim is not None:
        trim(0)


def fit(peer, n_samples, n_features, n_clusters, dtype):
    """Return a default fit of five iterations at most, to be measured, after a small one."""
    X = data.make("overlapping blobs", n_samples, n_features, n_clusters, dtype)
    peer.fit(X[: 4 * n_clusters], n_clusters)()
    model = peer.library.KMeans(n_clusters, random_state=0, max_iter=5)

    def call():
        model.fit(X)  # what it keeps counts

    return call


def argkmin(peer, n_x, n_y, n_features, n_neighbors, dtype):
    """Return a search for nearest rows, to be measured, after a small one."""
    X, Y = data.pairs("overlapping blobs", n_x, n_y, n_features, dtype)
    peer.argkmin(X[:1000], Y[:1000], n_neighbors)()
    return peer.argkmin(X, Y, n_neighbors)


def argmin_min(peer, n_x, n_y, n_features, dtype):
    """Return a search for the nearest row of each, to be measured, after a small one."""
    X, Y = data.pairs("overlapping blobs", n_x, n_y, n_features, dtype)
    peer.argmin_min(X[:1000], Y[:1000])()
    return peer.argmin_min(X, Y)


# What can be measured. Each makes the data and runs once on little of it, so that code is
# loaded and threads are there before anything is measured.
TASKS = {task.__name__: task for task in (fit, argkmin, argmin_min)}


def measure(name, task, sizes, dtype):
    """Return the extra bytes of one call, without those of the arrays that it returns."""
    (peer,), _ = peers.available([name])
    call = TASKS[task](peer, *sizes, dtype)
    data.forget()
    give_back()
    CLEAR_REFS.write_text("5")  # the peak starts again from here
    before, _ = resident()
    answer = call()
    _, peak = resident()
    return max(0, peak - before - sum(array.nbytes for array in answer or ()))


def extra_bytes(name, task, sizes, dtype):
    """Measure in a fresh process; raises RuntimeError with what it said if it failed."""
    told = subprocess.run(
        [sys.executable, __file__, name, task, dtype, *map(str, sizes)],
        capture_output=True,
        text=True,
    )
    if told.returncode:
        raise RuntimeError((told.stderr.strip() or "no message").splitlines()[-1])
    return json.loads(told.stdout.splitlines()[-1])


def main():
    """Measure once and print the bytes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("dtype")
    parser.add_argument("sizes", type=int, nargs="+")
    options = parser.parse_args()
    print(json.dumps(measure(**vars(options))))


if __name__ == "__main__":
    main()
