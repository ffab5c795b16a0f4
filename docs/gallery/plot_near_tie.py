"""
Near a tie
==========

Halfway between two centres both are equally near, and rounding decides. This looks very closely at
such a border, through a window of thirty millionths, at what each way says about points on
both sides of it.
"""

import matplotlib.pyplot as plt
import numpy as np

import tilewise

centers = np.array([[8.3, 4.2], [8.7, 4.9]], dtype=np.float32)
middle = centers.astype(float).mean(axis=0)
across = np.diff(centers.astype(float), axis=0)[0]
across /= np.linalg.norm(across)
along = np.array([-across[1], across[0]])

# %%
# A grid around the middle, turned so that the border runs upright through it. The coordinates are
# float32, so points can only lie where float32 numbers are.

size = 480
steps = np.linspace(-1, 1, size)
u, v = np.meshgrid(steps * 1.5e-5, steps * 1.5e-5)
points = (middle + u[..., None] * across + v[..., None] * along).reshape(-1, 2)
X = points.astype(np.float32)

rounded = ((centers**2).sum(axis=1) / 2 - X @ centers.T).argmin(axis=1)
decided = tilewise.pairwise_distances_argmin(X, centers)

fig, axes = plt.subplots(1, 2, figsize=(7, 4), layout="constrained")
for ax, labels, name in (
    (axes[0], rounded, "Scores in float32"),
    (axes[1], decided, "tilewise: decided exactly"),
):
    ax.imshow(labels.reshape(size, size), cmap="PuOr", vmin=-0.6, vmax=1.6, interpolation="nearest")
    ax.set_title(name)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel("30 millionths wide")

# %%
# The small steps are those of the float32 grid: points between its places round to them. On the
# left a score decides that is itself rounded to float32, and the border breaks up into stripes. On
# the right each label is the lowest index at the least distance, summed in float64:

difference = X[:, None].astype(float) - centers.astype(float)
distances = (difference**2).sum(axis=2)
print("decided otherwise by float32 scores:", f"{(rounded != distances.argmin(axis=1)).mean():.1%}")
print("decided otherwise by tilewise:", (decided != distances.argmin(axis=1)).sum())

# %%
# Deciding everything in float64 would be slow. So fast scores rank, with a proven bound on their
# error, and only what the bound leaves open is looked at again
# (:doc:`the proof </exact-labels>`). On other data that is next to nothing:

from tilewise import engine  # noqa: E402

rng = np.random.default_rng(0)
rows = rng.normal(size=(50_000, 32)).astype(np.float32)
run = engine.Pass(engine.Rows(rows), 64, tilewise.plan(50_000, 32, 64))
run.assign(rows[:64].astype(np.float64))
print(f"{run.undecided:,} of {run.scored:,} rows were left open by rounding")
