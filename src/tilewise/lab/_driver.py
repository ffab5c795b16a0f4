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


def main(job):
    """Set up rows and centres; run the pass as often as the job says.

    Parameters
    ----------
    job : dict
        folder (of the package), n, d, k, dtype, passes, update, and the arguments of
        `Assignment` under sizes.
    """
    import numpy as np

    packages = job["folder"].rpartition("/")[0]
    hollow("tilewise", packages)
    hollow("tilewise.kernels", packages)
    # Of scipy the kernels need the BLAS alone, and of its sparse matrices that these are none.
    libraries = np.__path__[0].rpartition("/")[0]
    made = [hollow("scipy", libraries), hollow("scipy.linalg", libraries)]
    made.append(hollow("scipy.sparse", libraries))
    sys.modules["scipy.sparse"].issparse = lambda rows: False
    try:
        importlib.import_module("scipy.linalg.cython_blas")
    except ImportError:
        for name in made:
            del sys.modules[name]
    kernels = importlib.import_module("tilewise.kernels._assign")
    rows = importlib.import_module("tilewise.kernels._rows")
    n, d, k = job["n"], job["d"], job["k"]
    # Every row is a centre of its own kind and a little more, so that no label is doubtful and
    # nothing but the pass is counted.
    centers = np.zeros((k, d))
    codes = np.arange(k)
    for column in range(d):
        centers[:, column] = (codes * (2 * column + 1) * 37 % 101) / 25.0
        centers[:, column] += 8.0 * (codes >> column % 16 & 1)
    labels = np.full(n, -1, dtype=np.int32)
    X = np.empty((n, d), dtype=job["dtype"])
    for start in range(0, n, k):
        X[start : start + k] = centers[: min(k, n - start)]
    run = kernels.Assignment(rows.Rows(X), k, update=job["update"], **job["sizes"])
    run.set_centers(centers)
    shift = np.zeros(d) if job["update"] else None
    left = 0
    for _ in range(job["passes"]):
        first = 0
        while first * job["sizes"]["shard_rows"] < n:
            count, *counts = run.run(first, labels, update=2 * job["update"], shift=shift)
            first += count
            left += counts[3]
    print(json.dumps({"undecided": left, "right": bool((labels == np.arange(n) % k).all())}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
