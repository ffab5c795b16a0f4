"""
Chunk sizes on this machine
===========================

How many rows should be packed and scored at a time? Too few, and each call and each panel of
centres serves only those few; too many, and the chunk outgrows the cache that the plan meant for
it. Two shapes, both engines, one thread; stars mark what the plan chooses by itself.
"""

import sys
import time

import matplotlib.pyplot as plt
import numpy as np

import tilewise

# Counts the time of this thread alone; on Windows in steps too coarse to use.
clock = time.perf_counter if sys.platform == "win32" else time.thread_time
rng = np.random.default_rng(0)
shapes = {"32 columns, 64 centres": (24_000, 32, 64), "256 columns, 512 centres": (3_000, 256, 512)}


def sweep(X, C, engine, sizes, rounds=4):
    """Least seconds of an assignment for each chunk size, the sizes taking turns."""
    models = {
        size: tilewise.KMeans(
            len(C), init=C, n_init=1, n_threads=1, engine=engine, chunk_size=size
        ).fit(C)
        for size in sizes
    }
    best = dict.fromkeys(sizes, np.inf)
    for _ in range(rounds):
        for size, model in models.items():
            start = clock()
            model.predict(X)
            best[size] = min(best[size], clock() - start)
    return np.array(list(best.values()))


# %%
# Doubling from one tile of rows up to all of them. A chunk ends where its shard ends, so beyond the
# length of a shard nothing changes any more.

fig, axes = plt.subplots(2, 1, figsize=(6.2, 6.4), layout="constrained")
for ax, (name, (n, d, k)) in zip(axes, shapes.items(), strict=True):
    X = rng.normal(size=(n, d)).astype(np.float32)
    for engine, color in (("blas", "#D55E00"), ("fused", "#0072B2")):
        plan = tilewise.plan(n, d, k, n_threads=1, engine=engine)
        sizes = [plan.tile_rows * 2**power for power in range(11)]
        sizes = [size for size in sizes if size < 2 * min(n, plan.shard_rows)]
        ns = sweep(X, X[:k], engine, sizes) / n * 1e9
        ax.plot(sizes, ns, "o-", color=color, label=engine)
        chosen = min(plan.chunk_rows, sizes[-1])
        at = np.interp(np.log(chosen), np.log(sizes), ns)
        ax.plot(chosen, at, "*", color=color, markersize=18, mec="white")
        print(f"{name}, {engine}: {plan.reasons['chunk_rows']}")
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes[::2], [f"{size:,}" for size in sizes[::2]])
    ax.set(title=name, ylabel="ns per row", xlabel="rows per chunk")
    ax.set_ylim(0)
    ax.legend()

# %%
# The engine ``blas`` pays for small chunks: every one of them is a call, and small products are
# slow. The fused engine makes no call per chunk and keeps no buffer of scores: it hardly cares.
# :doc:`The lesson on chunk sizes </course/2-chunk-size>` has the curve with both of its arms.
