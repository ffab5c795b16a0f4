"""Cluster rows that lie on the workers of a Dask cluster, and watch it on Dask's dashboard.

Starts a cluster of two worker processes on this machine. Tasks make the rows, so no process ever
holds all of them. Afterwards one process fits the same rows, as a stream, and the bits are
compared.

    python examples/dask_cluster.py                          # about ten seconds
    python examples/dask_cluster.py --kill                   # a worker dies in the middle
    python examples/dask_cluster.py --rows 5e7 --wait        # time to look at the dashboard
    python examples/dask_cluster.py --scheduler tcp://host:8786

Needs ``pip install "tilewise[dask]"``, and for the dashboard ``pip install bokeh``.
"""

import argparse
import importlib.util
import os
import signal
import threading
import time

import dask
import dask.array as da
import numpy as np
from distributed import Client

import tilewise
from tilewise.dask import KMeans

COLUMNS, CLUSTERS, SPREAD = 16, 32, 0.8
PARTITION = 25_000
PARAMETERS = {"n_clusters": CLUSTERS, "random_state": 0, "max_iter": 20}


def make_partition(number, rows):
    """Rows around centres that all partitions share; the same rows whenever a task is run again."""
    centres = np.random.default_rng(0).normal(size=(CLUSTERS, COLUMNS))
    rng = np.random.default_rng([1, number])
    near = centres[rng.integers(CLUSTERS, size=rows)]
    return (near + SPREAD * rng.normal(size=near.shape)).astype(np.float32)


def make_rows(rows):
    """All rows as a dask array: nothing is made yet."""
    sizes = [min(PARTITION, rows - first) for first in range(0, rows, PARTITION)]
    made = [dask.delayed(make_partition)(number, size) for number, size in enumerate(sizes)]
    blocks = [
        da.from_delayed(block, (size, COLUMNS), np.float32)
        for block, size in zip(made, sizes, strict=True)
    ]
    return da.concatenate(blocks)


def kill_later(client, seconds):
    """Kill the process of one worker, as a machine that fails does."""
    pid = next(iter(client.run(os.getpid).values()))
    threading.Timer(seconds, os.kill, (pid, signal.SIGKILL)).start()


def fitted(X):
    """Fit the rows on the cluster, and tell what its passes took."""
    start = time.perf_counter()
    model = KMeans(**PARAMETERS).fit(X)
    print(f"\nFitted in {time.perf_counter() - start:.1f} s: {model.n_iter_} iterations.")
    print(model.stream_report_)
    return model


def main():
    """Fit on a cluster and in one process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=float, default=4e5, help="400,000 by default")
    parser.add_argument("--scheduler", help="address of your cluster; rows are made there")
    parser.add_argument("--kill", action="store_true", help="kill a worker during the fit")
    parser.add_argument("--wait", action="store_true", help="keep the dashboard until Enter")
    args = parser.parse_args()
    if args.kill and args.scheduler:
        parser.error("--kill is for the cluster that this program starts")
    where = {"address": args.scheduler} if args.scheduler else {
        "n_workers": 2, "threads_per_worker": 1,
    }  # fmt: skip
    with Client(**where) as client:
        print(f"Dashboard: {client.dashboard_link}")
        if importlib.util.find_spec("bokeh") is None:
            print("It needs bokeh: pip install bokeh")
        X = make_rows(int(args.rows))
        print(f"{len(X):,} rows of {COLUMNS} columns in {X.numblocks[0]} partitions.")
        if args.kill:
            kill_later(client, 2.0)
            print("A worker will be killed in two seconds.")
        model = fitted(X)
        labels = model.labels_.compute()
        print(f"\nThe largest cluster has {np.bincount(labels).max():,} rows.")
        alone = tilewise.KMeans(**PARAMETERS).fit(X)
        equal = (
            np.array_equal(labels, alone.labels_)
            and model.cluster_centers_.tobytes() == alone.cluster_centers_.tobytes()
            and model.inertia_ == alone.inertia_
        )
        print(f"The same bits as in one process: {'yes' if equal else 'NO'}.")
        if args.wait:
            input("Press Enter to end. ")


if __name__ == "__main__":
    main()
