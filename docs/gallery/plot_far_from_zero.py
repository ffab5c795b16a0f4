"""
float32 far from zero
=====================

Dates, map coordinates and sensor readings often lie far from zero with small differences between
them. The usual formula for distances, ‖x‖² − 2 x·y + ‖y‖², then subtracts large numbers that are
nearly equal, and in float32 nothing is left of the difference. The same data, in the same type, by
direct differences and with exact decisions, keep their clusters.
"""

import matplotlib.pyplot as plt
import numpy as np

import tilewise

rng = np.random.default_rng(0)
angles = rng.uniform(0, 2 * np.pi, 4000)
ring = np.column_stack([np.cos(angles), np.sin(angles)]) + 0.12 * rng.normal(size=(4000, 2))
X = (ring + 1500).astype(np.float32)
turns = np.arange(8) * np.pi / 4
centers = (np.column_stack([np.cos(turns), np.sin(turns)]) + 1500).astype(np.float32)

# %%
# The nearest of eight centres for each point: by the formula in float32, and by tilewise.

product = ((centers**2).sum(axis=1) - 2 * X @ centers.T).argmin(axis=1)
exact = tilewise.pairwise_distances_argmin(X, centers)

fig, axes = plt.subplots(1, 2, figsize=(7, 3.7), sharex=True, sharey=True, layout="constrained")
for ax, labels, name in ((axes[0], product, "The formula"), (axes[1], exact, "tilewise")):
    ax.scatter(*(X - 1500).T, c=labels, cmap="tab10", vmin=0, vmax=9, s=5)
    ax.plot(*(centers - 1500).T, "k+", markersize=11, mew=2)
    wrong = (labels != exact).mean()
    ax.set_title(f"{name}: {wrong:.0%} wrong")
    ax.set_aspect("equal")
    ax.grid(visible=False)
fig.suptitle("Nearest centre in float32, 1500 from zero")

# %%
# How it grows with the offset. The points are the same; only the origin moves.

offsets = np.geomspace(1, 30_000, 16)
shares = []
for offset in offsets:
    moved, there = (ring + offset).astype(np.float32), (centers - 1500 + offset)
    there = there.astype(np.float32)
    truth = ((moved[:, None].astype(float) - there.astype(float)) ** 2).sum(axis=2).argmin(axis=1)
    by_product = ((there**2).sum(axis=1) - 2 * moved @ there.T).argmin(axis=1)
    ours = tilewise.pairwise_distances_argmin(moved, there)
    shares.append([(by_product != truth).mean(), (ours != truth).mean()])

fig, ax = plt.subplots(figsize=(6.2, 3.4), layout="constrained")
ax.plot(offsets, 100 * np.array(shares)[:, 0], "o-", color="#D55E00", label="the formula, float32")
ax.plot(offsets, 100 * np.array(shares)[:, 1], "s-", color="#0072B2", label="tilewise, float32")
ax.set(xscale="log", xlabel="distance from zero", ylabel="wrong labels, %", title="Wrong labels")
ax.legend()
