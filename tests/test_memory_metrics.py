"""Memory of distances and neighbours: nothing beside the answer, whatever the number of pairs."""

import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status"),
    pytest.mark.timeout(180),
]

RUN = """
import sys, threading, time
import numpy as np
import scipy.sparse as sp
import tilewise

what, n, m, d, form = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
rng = np.random.RandomState(0)
X, Y = (rng.standard_normal((rows, d)).astype(np.float32) for rows in (n, m))
if form == "sparse":
    X, Y = (sp.random_array((rows, d), density=0.02, format="csr", dtype=np.float32,
                            rng=np.random.default_rng(0)) for rows in (n, m))

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))

def chunks(X, Y):
    for D in tilewise.pairwise_distances_chunked(X, Y, working_memory=8, n_threads=2):
        del D

def matrix(X, Y):
    tilewise.pairwise_distances(X, Y, out=out[: X.shape[0], : Y.shape[0]], n_threads=2)

if what.startswith("matrix"):
    out = np.lib.format.open_memmap(sys.argv[6], mode="w+", dtype=np.float32, shape=(n, m))
work = {
    "argmin": lambda X, Y: tilewise.pairwise_distances_argmin_min(X, Y, n_threads=2),
    "argkmin": lambda X, Y: tilewise.argkmin(X, Y, 10, n_threads=2),
    "manhattan": lambda X, Y: tilewise.argkmin(X, Y, 10, metric="manhattan", n_threads=2),
    "correlation": lambda X, Y: tilewise.argkmin(X, Y, 10, metric="correlation"),
    "radius": lambda X, Y: tilewise.radius_neighbors(X, Y, 0.01, n_threads=2),
    "chunks": chunks,
    "matrix": matrix,
}[what]
work(X[:2000], Y[:2000])  # everything is imported, the threads exist

most, running = 0, True
def sample():
    global most
    while running:
        most = max(most, anonymous())
        time.sleep(0.001)

before = anonymous()
sampler = threading.Thread(target=sample)
sampler.start()
result = work(X, Y)
running = False
sampler.join()
most = max(most, anonymous())  # the sampler may have had no turn
print(most - before)
"""


def grown(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize(
    ("what", "n", "m", "d", "form"),
    [
        ("argmin", 20_000, 20_000, 4, "dense"),
        ("argkmin", 20_000, 20_000, 4, "dense"),
        ("argkmin", 40_000, 5_000, 4, "dense"),
        ("argkmin", 1, 1_000_000, 8, "dense"),
        ("argkmin", 20_000, 8_000, 500, "sparse"),
        ("manhattan", 15_000, 15_000, 4, "dense"),
        ("manhattan", 2, 2_000_000, 4, "dense"),
        ("correlation", 8_000, 8_000, 4, "dense"),
        ("radius", 20_000, 20_000, 4, "dense"),
        ("chunks", 15_000, 15_000, 4, "dense"),
        ("chunks", 10_000, 5_000, 500, "sparse"),
    ],
)
def test_flat(what, n, m, d, form):
    """A share of the n × m pairs would be hundreds of MiB."""
    used = grown(what, n, m, d, form)
    answer = n * 10 * 16 + n * 100
    assert used <= 40 * 2**20 + 2 * answer, f"{used / 2**20:.0f} MiB"


def test_a_matrix_into_a_file(tmp_path):
    used = grown("matrix", 10_000, 10_000, 8, "dense", tmp_path / "D.npy")
    assert used <= 24 * 2**20, f"{used / 2**20:.0f} MiB"
