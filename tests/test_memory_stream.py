"""A file several times larger than the memory that there is: a hard limit, in a process."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS"),
    pytest.mark.timeout(300),
]

RUN = """
import resource, sys
import numpy as np
from tilewise import KMeans, MiniBatchKMeans

kind, path, out = sys.argv[1], sys.argv[2], sys.argv[5]
limit, room = int(sys.argv[3]), int(sys.argv[4])
how = {"memory_limit": limit, "random_state": 0, "n_threads": 2, "init_size": 2000}
model = {
    "KMeans": KMeans(16, max_iter=3, tol=0, **how),
    "MiniBatchKMeans": MiniBatchKMeans(16, max_iter=1, batch_size=4096, **how),
}[kind]
# Threads, buffers of libraries and the reader are there before it is measured.
small = np.random.RandomState(0).standard_normal((20_000, 32)).astype(np.float32)
np.save(out, small)
model.fit(out)
model.predict(out)

def size(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

held = size("VmRSS")
# Beyond what is mapped now, no more than the limit and the stack of the reader's thread.
resource.setrlimit(resource.RLIMIT_AS, (size("VmSize") + limit + room, resource.RLIM_INFINITY))
model.fit(path)
labels = model.predict(path, out=out)
print(size("VmHWM") - held, model.stream_plan_.total_bytes, len(labels), model.inertia_)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A file of 320 MB."""
    path = tmp_path_factory.mktemp("stream") / "X.npy"
    X = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(2_500_000, 32))
    block = np.random.RandomState(0).uniform(1, 2, (100_000, 32)).astype(np.float32)
    for start in range(0, len(X), len(block)):
        X[start : start + len(block)] = block
    X.flush()
    del X
    yield path
    path.unlink()


@pytest.mark.parametrize("kind", ["KMeans", "MiniBatchKMeans"])
def test_the_limit_is_kept(data, tmp_path, kind):
    limit, room = 64 * 2**20, 16 * 2**20
    done = subprocess.run(
        [sys.executable, "-c", RUN, kind, str(data), str(limit), str(room),
         str(tmp_path / "L.npy")],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "MALLOC_ARENA_MAX": "2"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    grown, planned, n_labels, inertia = done.stdout.split()
    assert int(planned) <= limit
    assert int(grown) <= limit + room
    assert int(n_labels) == 2_500_000
    assert float(inertia) > 0
