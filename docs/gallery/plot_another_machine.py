"""
A plan for another machine
==========================

A plan is arithmetic on facts: caches, instruction set, threads. So it can be made for a machine
that is not here, from what ``tilewise info --json`` printed there, or, as below, from facts that
were made up. Nothing is measured on this page.
"""

import matplotlib.pyplot as plt
import numpy as np

import tilewise

here = tilewise.machine()


def machine_with(**facts):
    """This machine with some facts replaced."""
    told = {name: {"value": value, "source": "made up"} for name, value in facts.items()}
    return tilewise.Machine.from_dict(here.to_dict() | told)


machines = {
    "256 KiB of L2, AVX2": machine_with(l1d_bytes=32 << 10, l2_bytes=256 << 10, isa="avx2"),
    "1 MiB of L2, AVX-512": machine_with(l1d_bytes=32 << 10, l2_bytes=1 << 20, isa="avx512"),
    "2 MiB of L2, AVX-512": machine_with(l1d_bytes=48 << 10, l2_bytes=2 << 20, isa="avx512"),
    "3 MiB of L2, NEON": machine_with(l1d_bytes=128 << 10, l2_bytes=3 << 20, isa="neon"),
}
for name, machine in machines.items():
    plan = tilewise.plan(100_000, 128, 256, machine=machine)
    print(f"{name}: chunks of {plan.chunk_rows}, tiles of {plan.tile_rows} x {plan.panel_columns}")

# %%
# Rows per chunk by the length of a row. Short rows take another layout, with as many rows side by
# side as a vector holds, and other limits; the jump is where it changes.

columns = np.unique(np.geomspace(2, 2048, 120).astype(int))
fig, ax = plt.subplots(figsize=(6.2, 4), layout="constrained")
for name, machine in machines.items():
    rows = [tilewise.plan(10**6, int(d), 256, machine=machine).chunk_rows for d in columns]
    ax.plot(columns, rows, label=name)
ax.set_xscale("log", base=2)
ax.set_yscale("log", base=2)
ticks = [2, 8, 32, 128, 512, 2048]
ax.set_xticks(ticks, ticks)
counts = [16, 64, 256, 1024, 4096]
ax.set_yticks(counts, [f"{count:,}" for count in counts])
ax.set(xlabel="columns", ylabel="rows per chunk", title="Chunks for 256 centres in float32")
ax.legend()

# %%
# What fills L2 on each of them while 256 centres of 128 columns are compared: the packed chunk, and
# the panels of centres that it meets at a time. The rest is left to the data and to whatever else
# streams through. Large caches stay half empty: beyond some length, longer chunks were measured to
# gain nothing.

fig, ax = plt.subplots(figsize=(6.2, 3), layout="constrained")
for height, machine in enumerate(machines.values()):
    plan = tilewise.plan(100_000, 128, 256, machine=machine)
    l2 = machine.l2_bytes.value
    chunk = 4 * plan.chunk_rows * plan.n_features / l2
    panels = 4 * plan.panels_per_block * plan.panel_columns * (plan.n_features + 1) / l2
    ax.barh(height, 100 * chunk, color="#0072B2", label="chunk" if height == 0 else None)
    ax.barh(
        height, 100 * panels, left=100 * chunk, color="#D55E00",
        label="panels" if height == 0 else None,
    )  # fmt: skip
ax.set_yticks(range(len(machines)), machines)
ax.set(xlim=(0, 100), xlabel="% of L2", title="What fills L2")
ax.legend(loc="lower right")
ax.invert_yaxis()

# %%
# The same in words, for the first of them:

print(tilewise.plan(100_000, 128, 256, machine=machines["256 KiB of L2, AVX2"]))
