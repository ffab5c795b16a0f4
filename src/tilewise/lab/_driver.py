"""One pass over the rows in a process of its own, without the rest of tilewise around it.

`cachegrind` runs this file, with a JSON object as its only argument. It imports the kernels
directly: everything that the package imports besides would be simulated too.
"""

import importlib
import json
import sys
import types


def hollow(name, folder):
    """Stand for a package, whose modules can be imported without its `__init__`."""
    package = types.ModuleType(name)
    package.__path__ = [f"{folder}/{name.replace('.', '/')}"]
    sys.modules[name] = package
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)
    return name


def imported(folder, np):
    """Import the modules of a pass and of rows, with as little of other packages as they need."""
    packages = folder.rpartition("/")[0]
    hollow("tilewise", packages)
    hollow("tilewise.kernels", packages)
    # Of scipy the kernels need the BLAS alone, and of its sparse matrices that these are none.
    libraries = np.__path__[0].rpartition("/")[0]
    hollows = [hollow("scipy", libraries), hollow("scipy.linalg", libraries)]
    hollows.append(hollow("scipy.sparse", libraries))
    sys.modules["scipy.sparse"].issparse = lambda rows: False
    try:
        importlib.import_module("scipy.linalg.cython_blas")
    except ImportError:
        for name in hollows:
            del sys.modules[name]
    names = ("tilewise.kernels._assign", "tilewise.kernels._rows")
    return tuple(map(importlib.import_module, names))


def main(job):
    """Set up rows and centres; run the pass as often as the job says.

    What it prints is one JSON object: whether the labels are right, the rows that were left
    open, and the address of every buffer under the names of `tilewise.plan.nest`.

    Parameters
    ----------
    job : dict
        folder (of the package), n, d, k, dtype, passes, update, and the fields of `LoopNest`
        under nest.
    """
    import numpy as np

    kernels, rows = imported(job["folder"], np)
    n, d, k = job["n"], job["d"], job["k"]
    # Every row is a centre of its own kind and a little more, so that no label is doubtful and
    # nothing but the pass is counted.
    centers = np.zeros((k, d))
    codes = np.arange(k)
    for column in range(d):
        centers[:, column] = (codes * (2 * column + 1) * 37 % 101) / 25.0
        centers[:, column] += 8.0 * (codes >> column % 16 & 1)
    nest = types.SimpleNamespace(**job["nest"])
    sums = importlib.import_module("tilewise.kernels._sums") if job["update"] else None

    def made(X):
        run = kernels.Assignment(rows.Rows(X), nest)
        run.set_centers(centers)
        if sums is None:
            return run, None
        grid = sums.Grid(np.full(d, 16.0), np.full(d, 2.0**-5), job["dtype"])
        return run, sums.Sums(grid, k, isa=nest.isa, n_threads=1, center_threads=1, own_bytes=0)

    def whole_pass(run, table, labels):
        first = left = 0
        while first < len(labels):
            first, _, _, _, open_rows, *_ = run.run(first, len(labels), labels, sums=table)
            left += open_rows
        return left

    # What the interpreter and the loader do once, when a pass is run for the first time, is no
    # part of the pass: one over other rows, in every process, has it done.
    whole_pass(*made(np.zeros((1, d), dtype=job["dtype"])), np.full(1, -1, dtype=np.int32))
    labels = np.full(n, -1, dtype=np.int32)
    X = np.empty((n, d), dtype=job["dtype"])
    for start in range(0, n, k):
        X[start : start + k] = centers[: min(k, n - start)]
    run, table = made(X)
    left = 0
    for _ in range(job["passes"]):
        left += whole_pass(run, table, labels)
    arrays = {"X": X, "labels": labels}
    at = {name: array.__array_interface__["data"][0] for name, array in arrays.items()}
    if table is not None:
        at |= table.addresses
    at |= {name: where for name, where in run.addresses.items() if name in job["known"]}
    right = bool((labels == np.arange(n) % k).all())
    print(json.dumps({"undecided": left, "right": right, "addresses": at}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
