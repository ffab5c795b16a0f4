"""Memory stays flat: no copy of X, whatever it looks like.

RssAnon is measured: what a process has allocated, without the pages of mapped files, which
belong to the page cache and go when somebody needs the memory.
"""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status"),
    pytest.mark.timeout(180),
]

RUN = """
import sys, threading, time
import numpy as np
from tilewise import KMeans

path, what, variant, engine = sys.argv[1:5]
X = np.load(path, mmap_mode="r")
N_THREADS = 2

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))

# Everything is imported, the threads exist and BLAS has its buffers.
X = {"mapped": lambda: X, "strided": lambda: X[1::2, ::2], "turned": lambda: X[::-1, ::-1],
     "fortran": lambda: X.reshape(X.shape[::-1], order="C").T,
     "bytes": lambda: X.view(np.uint8), "swapped": lambda: X.view(">f4")}[variant]()
model = KMeans(16, init=np.asarray(X[: 16 * 997 : 997], dtype=np.float64), n_init=1, max_iter=3,
               tol=0, n_threads=N_THREADS, engine=engine)
model.fit(X[:50_000])
model.predict(X[:50_000])

most, running = 0, True
def sample():
    global most
    while running:
        most = max(most, anonymous())
        time.sleep(0.001)

before = anonymous()
sampler = threading.Thread(target=sample)
sampler.start()
result = getattr(model, what)(X)
running = False
sampler.join()
most = max(most, anonymous())  # the sampler may have had no turn
print(X.shape[0], most - before, N_THREADS)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A file of 400 MB that is as good as random; finite for every type it is read as."""
    path = tmp_path_factory.mktemp("memory") / "X.npy"
    X = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(6_400_000, 16))
    block = np.random.RandomState(0).uniform(1, 2, (100_000, 16)).astype(np.float32)
    # The lowest byte is the highest of the other byte order: a number of ordinary size.
    block.view(np.uint8)[:, ::4] = 64
    for start in range(0, len(X), len(block)):
        X[start : start + len(block)] = block
    X.flush()
    del X
    yield path
    path.unlink()


@pytest.mark.parametrize(
    ("what", "variant", "engine"),
    [
        ("fit", "mapped", "fused"),
        ("fit", "mapped", "blas"),
        ("fit", "strided", "fused"),
        ("fit", "fortran", "fused"),
        ("fit", "bytes", "fused"),
        ("fit", "swapped", "fused"),
        ("predict", "mapped", "fused"),
        ("predict", "turned", "fused"),
        ("predict", "bytes", "fused"),
        ("score", "mapped", "fused"),
    ],
)
def test_no_copy(data, what, variant, engine):
    done = subprocess.run(
        [sys.executable, "-c", RUN, os.fspath(data), what, variant, engine],
        capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    n_rows, grown, n_threads = map(int, done.stdout.split())
    per_row = 40 if what == "fit" else 16
    allowed = n_threads * 16 * 2**20 + per_row * n_rows
    assert grown <= allowed, f"{grown / 2**20:.0f} MiB beside the data"
    # What is measured includes at least the labels, so the measuring works.
    assert grown >= 4 * n_rows * 0.9 if what != "score" else grown > 0


def test_seeding_needs_a_few_bytes_per_row(data):
    code = RUN.replace("init=np.asarray(X[: 16 * 997 : 997], dtype=np.float64)", "random_state=0")
    assert code != RUN
    done = subprocess.run(
        [sys.executable, "-c", code, os.fspath(data), "fit", "mapped", "fused"],
        capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    n_rows, grown, n_threads = map(int, done.stdout.split())
    assert grown <= n_threads * 16 * 2**20 + 40 * n_rows


@pytest.mark.parametrize(("weighted", "per_row"), [(False, 5), (True, 32)])
def test_mini_batches_need_labels_and_little_else(data, weighted, per_row):
    """Weights may take what checking them takes, and 8 bytes a row for their sums."""
    code = RUN.replace("import KMeans", "import MiniBatchKMeans")
    code = re.sub(
        r"model = KMeans\(.*?engine=engine\)",
        "weights = np.linspace(1, 2, len(X)) if what == 'weighted' else None\n"
        "model = MiniBatchKMeans(16, random_state=0, n_threads=N_THREADS)",
        code,
        flags=re.DOTALL,
    )
    code = code.replace("getattr(model, what)(X)", "model.fit(X, sample_weight=weights)")
    assert "weights = " in code
    assert "sample_weight=weights" in code
    done = subprocess.run(
        [sys.executable, "-c", code, os.fspath(data), "weighted" if weighted else "fit",
         "mapped", "fused"],
        capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    n_rows, grown, n_threads = map(int, done.stdout.split())
    assert grown <= n_threads * 16 * 2**20 + per_row * n_rows
    assert grown >= 4 * n_rows * 0.9
