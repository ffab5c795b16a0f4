"""Ctrl-C ends a long search or matrix soon."""

import os

import pytest
from interrupting import share_after_ctrl_c

RUN = """
import numpy as np
import scipy.sparse as sp
import tilewise

what = sys.argv[1]
X = np.random.RandomState(0).standard_normal((60_000, 64)).astype(np.float32)
few = X[:1500]
rows = sp.random_array((60_000, 5000), density=0.01, rng=0, format="csr")
same = sp.csr_array(np.tile(rows[:20].toarray(), (400, 1)))
work = {
    "matrix": lambda: tilewise.pairwise_distances(few, few, metric="minkowski", p=1.5),
    "argkmin": lambda: tilewise.argkmin(X, None, 10),
    "argmin": lambda: tilewise.pairwise_distances_argmin(X, X),
    "radius": lambda: tilewise.radius_neighbors(X, None, 1.0),
    "manhattan": lambda: tilewise.argkmin(X[:8000], None, 10, metric="manhattan"),
    "correlation": lambda: tilewise.argkmin(X[:6000], None, 10, metric="correlation"),
    "csr_argkmin": lambda: tilewise.argkmin(rows[:10_000], None, 10),
    "csr_duplicates": lambda: tilewise.argkmin(same, None, 10),
    "csr_radius": lambda: tilewise.radius_neighbors(rows[:10_000], None, 1.0),
    "csr_dense": lambda: tilewise.argkmin(rows[:6000, :64].tocsr(), X, 10),
    "chunks": lambda: [None for D in tilewise.pairwise_distances_chunked(X[:20_000])],
}[what]
print(interrupted(work))
assert tilewise.argkmin(few, None, 1)[1].shape == (1500, 1)
"""


@pytest.mark.timeout(600)
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
    # The signal comes after some 15 % of the work: who cannot be interrupted does the rest.
    assert share_after_ctrl_c(RUN, what) < 0.5
