"""Ctrl-C ends a long search or matrix soon."""

import os
import subprocess
import sys

import pytest

RUN = """
import os, signal, sys, threading, time
import numpy as np
import scipy.sparse as sp
import tilewise

what = sys.argv[1]
X = np.random.RandomState(0).standard_normal((60_000, 64)).astype(np.float32)
few = X[:3000]
rows = sp.random_array((60_000, 5000), density=0.01, rng=0, format="csr")
same = sp.csr_array(np.tile(rows[:20].toarray(), (400, 1)))
work = {
    "matrix": lambda: tilewise.pairwise_distances(few, few, metric="minkowski", p=1.5),
    "argkmin": lambda: tilewise.argkmin(X, None, 10),
    "argmin": lambda: tilewise.pairwise_distances_argmin(X, X),
    "radius": lambda: tilewise.radius_neighbors(X, None, 1.0),
    "manhattan": lambda: tilewise.argkmin(X, None, 10, metric="manhattan"),
    "correlation": lambda: tilewise.argkmin(X, None, 10, metric="correlation"),
    "csr_argkmin": lambda: tilewise.argkmin(rows, None, 10),
    "csr_duplicates": lambda: tilewise.argkmin(same, None, 10),
    "csr_radius": lambda: tilewise.radius_neighbors(rows, None, 1.0),
    "csr_dense": lambda: tilewise.argkmin(rows[:, :64].tocsr(), X, 10),
    "chunks": lambda: [None for D in tilewise.pairwise_distances_chunked(X)],
}[what]
sent = []

def interrupt():
    time.sleep(0.5)
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
try:
    for _ in range(1000):
        work()
except KeyboardInterrupt:
    print(time.perf_counter() - sent[0])
else:
    sys.exit("not interrupted")
assert tilewise.argkmin(few, None, 1)[1].shape == (3000, 1)
"""


@pytest.mark.timeout(120)
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="sends SIGINT to itself")
@pytest.mark.parametrize(
    "what",
    [
        "matrix",
        "argkmin",
        "argmin",
        "radius",
        "manhattan",
        "correlation",
        "csr_argkmin",
        "csr_duplicates",
        "csr_radius",
        "csr_dense",
        "chunks",
    ],
)
def test_ctrl_c(what):
    done = subprocess.run(
        [sys.executable, "-c", RUN, what], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2.0
