"""Ctrl-C ends a long run soon and leaves nothing half done."""

import os

import pytest
from interrupting import share_after_ctrl_c

RUN = """
import gc
import numpy as np
from tilewise import KMeans, kmeans_plusplus

what, n, d, k, engine = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
ITERATIONS = 40
X = np.random.RandomState(0).standard_normal((n, d)).astype(np.float32)
model = KMeans(k, init=X[:k], n_init=1, max_iter=ITERATIONS, tol=0, engine=engine, n_threads=2)

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) // 1024

work = {
    "fit": lambda: model.fit(X),
    "refit": lambda: model.fit(X),
    "predict": lambda: [model.predict(X) for _ in range(40)],
    "transform": lambda: [None for _ in range(40) if model.transform(X) is None],
    "one_transform": lambda: model.transform(X),
    "seeding": lambda: kmeans_plusplus(X, n // 100, random_state=0),
}[what]
fitted = what in ("predict", "transform", "one_transform", "refit")
if fitted:
    model.set_params(max_iter=1).fit(X).set_params(max_iter=ITERATIONS)
before, memory = {}, 0
calls = 0

def again():
    # The first call is whole; it is forgotten, and a later one is interrupted.
    global before, memory, calls
    calls += 1
    if calls > 1 and not fitted:
        for name in [name for name in vars(model) if name.endswith("_")]:
            delattr(model, name)
    gc.collect()
    before = {name: id(value) for name, value in vars(model).items() if name.endswith("_")}
    memory = anonymous()
    work()

share = interrupted(again)
gc.collect()
after = {name: id(value) for name, value in vars(model).items() if name.endswith("_")}
after.pop("n_features_in_", None), before.pop("n_features_in_", None)
assert after == before, sorted(set(after.items()) ^ set(before.items()))
assert ("labels_" in after) == fitted
grown = anonymous() - memory
assert grown < 24, f"{grown} MiB are still held"
assert model.set_params(max_iter=1).fit(X[:1000]).labels_.shape == (1000,)
print(share)
"""


@pytest.mark.timeout(600)
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="sends SIGINT to itself")
@pytest.mark.parametrize(
    ("what", "n", "d", "k", "engine"),
    [
        ("fit", 400_000, 16, 256, "fused"),
        ("fit", 150_000, 64, 512, "fused"),
        ("fit", 150_000, 64, 512, "blas"),
        ("refit", 150_000, 40, 512, "fused"),
        ("predict", 400_000, 16, 256, "fused"),
        ("transform", 100_000, 16, 64, "fused"),
        ("one_transform", 10_000, 4_000, 800, "fused"),
        ("seeding", 60_000, 16, 0, "fused"),
    ],
)
def test_ctrl_c(what, n, d, k, engine):
    # A fixed threshold: glibc would raise it after large blocks, and keep what is freed.
    arguments = (what, n, d, k or 2, engine)
    share = share_after_ctrl_c(RUN, *arguments, MALLOC_MMAP_THRESHOLD_="1048576")
    # The signal comes after some 15 % of the work: who cannot be interrupted does the rest.
    assert share < 0.5
