"""
Bytes that move, predicted and simulated
========================================

Time is noisy; bytes are not. Formulas say how many bytes a pass moves between two levels of the
caches, and a simulator follows each address of the same loops through caches that keep the lines
used last. Neither runs the kernels, so the machine may be one that is not here: this one has 32 KiB
of L1 and 256 KiB of L2.
"""

import matplotlib.pyplot as plt
import numpy as np

import tilewise
from tilewise.lab.simulate import CacheConfig, simulate_chunks

small = {"l1d_bytes": 32 << 10, "l2_bytes": 256 << 10, "isa": "avx2"}
facts = {name: {"value": value, "source": "made up"} for name, value in small.items()}
machine = tilewise.Machine.from_dict(tilewise.machine().to_dict() | facts)
caches = CacheConfig.of([(32 << 10, 8), (256 << 10, 16)])

# %%
# 1,024 centres of 64 columns are 256 KiB: as much as this L2 holds. With short chunks all of them
# are fetched again for every few rows; with long ones the chunk itself no longer fits.

n, d, k = 20_000, 64, 1024
sizes = [12, 24, 48, 96, 192, 384, 768]
found = simulate_chunks(n, d, k, sizes, machine=machine, config=caches, max_rows=2)
plan = tilewise.plan(n, d, k, n_threads=1, machine=machine)

fig, axes = plt.subplots(2, 1, figsize=(6.2, 6.2), sharex=True, layout="constrained")
rows = np.array([one.chunk_rows for one in found])
for number, (ax, name) in enumerate(zip(axes, ("L1 and L2", "L2 and memory"), strict=True)):
    predicted = np.array([one.predicted.flows[number].bytes for one in found]) / n
    simulated = np.array([one.simulated.flows[number].bytes for one in found]) / n
    ax.plot(rows, predicted, color="#0072B2", label="by formula")
    ax.plot(rows, simulated, "o", color="#D55E00", markersize=8, label="simulated")
    ax.axvline(plan.chunk_rows, color="gray", linestyle=":", linewidth=1.5)
    ax.set_xscale("log", base=2)
    ax.set_xticks(rows, rows)
    ax.set(title=f"Between {name}", ylabel="bytes per row")
    ax.set_ylim(0)
axes[1].text(plan.chunk_rows, axes[1].get_ylim()[1] * 0.9, " the plan's chunk", fontsize=9)
axes[1].set_xlabel("rows per chunk")
axes[0].legend()

# %%
# Where something only just fits, formula and simulation part: the formula jumps, while a cache
# slides, since its sets do not fill evenly.
#
# What moves, buffer by buffer, at the plan's own choice:

(own,) = simulate_chunks(n, d, k, [plan.chunk_rows], machine=machine, config=caches, max_rows=2)
flow = own.simulated.flows[1]
for name, (into, out) in sorted(flow.by_buffer.items(), key=lambda item: -sum(item[1])):
    if into + out > 0.01 * flow.bytes:
        print(f"{name:22} {into / n:8.1f} bytes a row in, {out / n:8.1f} out")
