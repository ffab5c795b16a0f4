"""Fits and predictions beside each other: processes, threads, and after fork."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits
from worker_fit import X, fit

from tilewise import KMeans, machine
from tilewise.kernels import _dispatch
from tilewise.plan import n_threads


@pytest.mark.parametrize("backend", ["loky", "threading"])
@pytest.mark.timeout(120)
def test_parallel_fits(backend):
    alone = [fit(seed)[:2] for seed in range(6)]
    together = joblib.Parallel(n_jobs=2, backend=backend)(
        joblib.delayed(fit)(seed) for seed in range(6)
    )
    assert [found[:2] for found in together] == alone


@pytest.mark.timeout(120)
def test_workers_share_the_cpus():
    found = joblib.Parallel(n_jobs=2, backend="loky")(joblib.delayed(fit)(s) for s in range(2))
    share = max(1, machine().n_cpus.value // 2)
    if "OMP_NUM_THREADS" in os.environ:  # joblib leaves it to whoever has set it
        share = min(n_threads().value, machine().n_cpus.value)
    assert {threads for _, _, threads in found} == {share}


@pytest.mark.timeout(120)
@pytest.mark.skipif(not _dispatch.has_openmp(), reason="built without OpenMP")
def test_inner_limits_are_kept():
    with joblib.parallel_config(backend="loky", n_jobs=2, inner_max_num_threads=1):
        found = joblib.Parallel()(joblib.delayed(fit)(seed) for seed in range(2))
    assert {threads for _, _, threads in found} == {1}
    with threadpool_limits(1, user_api="openmp"):
        assert fit(0)[2] == 1


@pytest.mark.timeout(120)
@pytest.mark.parametrize("engine", ["fused", "blas"])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_concurrent_predictions_of_one_model(engine, n_threads):
    model = KMeans(20, random_state=0, max_iter=3, engine=engine, n_threads=n_threads).fit(X)
    labels, distances = model.predict(X), model.transform(X)

    def work(i):
        rows = slice(i, len(X) - 97 * i)
        return np.array_equal(model.predict(X[rows]), labels[rows]) and np.array_equal(
            model.transform(X[rows]), distances[rows]
        )

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(40)))


def blas_threads():
    return sorted(
        (library["filepath"], library["num_threads"])
        for library in threadpool_info()
        if library["user_api"] == "blas"
    )


@pytest.mark.timeout(120)
def test_concurrent_blas_restores_threads():
    """The limit on BLAS belongs to the whole process: the last one out must lift it."""
    before = blas_threads()
    wide = np.random.RandomState(0).standard_normal((40_000, 40))
    model = KMeans(16, random_state=0, max_iter=2, engine="blas", n_threads=1).fit(wide)
    labels = model.predict(wide)

    def work(i):
        return np.array_equal(model.predict(wide[: 9_000 + i * 500]), labels[: 9_000 + i * 500])

    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert all(pool.map(work, range(60)))
            assert blas_threads() == before


FORK = """
import os, signal, sys, time
import numpy as np
from tilewise import KMeans, kmeans_plusplus
X = np.random.RandomState(0).standard_normal((20_000, 12)).astype(np.float32)
threads = None if sys.argv[1] == "None" else int(sys.argv[1])

def fit():
    model = KMeans(20, random_state=0, max_iter=5, n_threads=threads).fit(X)
    return model.inertia_, float(model.transform(X).sum()), int(model.predict(X).sum())

before = fit()
reader, writer = os.pipe()
child = os.fork()
if not child:
    signal.alarm(80)  # ends a child that waits for threads that fork did not copy
    os.write(writer, repr(fit()).encode())
    os._exit(0)
os.close(writer)
_, status = os.waitpid(child, 0)
assert status == 0, f"the child ended with status {status}"
assert os.read(reader, 1000).decode() == repr(before)
assert fit() == before
"""


@pytest.mark.timeout(120)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("threads", ["None", "1", "2"])
def test_fit_after_fork(threads):
    done = subprocess.run(
        [sys.executable, "-c", FORK, threads], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(120)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_pool():
    code = """
import multiprocessing
import numpy as np
from tilewise import KMeans

X = np.random.RandomState(0).standard_normal((20_000, 12))

def fit(seed):
    return KMeans(20, random_state=seed, max_iter=3).fit(X).inertia_

if __name__ == "__main__":
    alone = [fit(seed) for seed in range(3)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(fit, range(3)).get(timeout=80) == alone
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


OTHERS_THREADS = """
import ctypes, os, signal, sys
import numpy as np
from tilewise import KMeans, plan
from tilewise.kernels import _dispatch

# Another library has started the threads of the OpenMP runtimes of this process.
body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
started = 0
for path in {line.split()[-1] for line in open("/proc/self/maps") if "libgomp" in line}:
    try:
        ctypes.CDLL(path).GOMP_parallel(body, None, 2, 0)
        started += 1
    except AttributeError:
        pass
if not started:
    sys.exit("no libgomp")

X = np.random.RandomState(0).standard_normal((60_000, 24)).astype(np.float32)
reader, writer = os.pipe()
child = os.fork()
if not child:
    signal.alarm(80)  # ends a child that waits for threads that fork did not copy
    model = KMeans(20, init=X[:20], n_init=1, max_iter=3, n_threads=2).fit(X)
    one = _dispatch.pool_lost()
    assert plan(60_000, 24, 20, n_threads=2).n_threads == (1 if one else 2)
    os.write(writer, repr((model.inertia_, model.n_iter_)).encode())
    os._exit(0)
os.close(writer)
_, status = os.waitpid(child, 0)
assert status == 0, f"the child ended with status {status}"
model = KMeans(20, init=X[:20], n_init=1, max_iter=3, n_threads=2).fit(X)
assert os.read(reader, 1000).decode() == repr((model.inertia_, model.n_iter_))
assert not _dispatch.pool_lost()
"""


@pytest.mark.timeout(120)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for GNU's OpenMP runtime")
def test_fit_after_fork_where_others_used_openmp():
    """As after torch's first product: pytorch#17199, faiss#5206."""
    done = subprocess.run(
        [sys.executable, "-c", OTHERS_THREADS], capture_output=True, text=True, timeout=100
    )
    if "no libgomp" in done.stderr:
        pytest.skip("no OpenMP runtime of GNU's here")
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(120)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forks_of_forks_and_of_threads():
    code = """
import os, signal, threading
import numpy as np
from tilewise import KMeans
X = np.random.RandomState(0).standard_normal((20_000, 12))

def fit():
    return KMeans(20, random_state=0, max_iter=3, n_threads=2).fit(X).inertia_

def child_of(action):
    child = os.fork()
    if not child:
        signal.alarm(80)
        os._exit(action())
    return os.waitpid(child, 0)[1]

before = fit()
def grandchild():
    return fit() != before
def child():
    return fit() != before or child_of(grandchild) != 0
assert child_of(child) == 0
# While another thread is inside a loop, and from a thread that is not the main one.
status = []
busy = threading.Thread(target=lambda: [fit() for _ in range(20)])
busy.start()
forker = threading.Thread(target=lambda: status.append((fit(), child_of(child))))
forker.start()
forker.join(); busy.join()
assert status == [(before, 0)], status
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
