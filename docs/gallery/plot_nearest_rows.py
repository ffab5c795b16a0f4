"""
Patches that look alike
=======================

Cut a photograph into all of its small squares. Where else does a given square occur, or nearly so?
That is a search for nearest rows: each square of 12 × 12 pixels in three colours is a row of 432
numbers.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_sample_image

import tilewise

side, step = 12, 4
photograph = load_sample_image("china.jpg")
windows = sliding_window_view(photograph, (side, side, 3))[::step, ::step, 0]
shape = windows.shape[:2]
patches = windows.reshape(-1, side * side * 3).astype(np.float32)
print(f"{len(patches):,} patches of {patches.shape[1]} numbers, {patches.nbytes / 2**20:.0f} MiB")

# %%
# Four places: the ledge of a storey, tiles, leaves, and the water. ``argkmin`` finds the rows at
# the least distance, itself first. Patches that overlap one before are of no interest, so it asks
# for more than it shows.

queries = {"ledge": (232, 178), "tiles": (268, 205), "leaves": (350, 470), "water": (250, 520)}
rows = [(y // step) * shape[1] + x // step for y, x in queries.values()]
distances, indices = tilewise.argkmin(patches[rows], patches, 400)


def apart(candidates, count):
    """The first candidates that do not overlap those before."""
    chosen = []
    for index in candidates:
        place = np.array(divmod(index, shape[1])) * step
        if all(np.abs(place - other).max() >= side for other in chosen):
            chosen.append(place)
    return chosen[:count]


colors = ["#D55E00", "#0072B2", "#F0E442", "#CC79A7"]
fig = plt.figure(figsize=(7, 7.2), layout="constrained")
grid = fig.add_gridspec(5, 9, height_ratios=[5.6, 1, 1, 1, 1])
whole = fig.add_subplot(grid[0, :])
whole.imshow(photograph)
whole.set_title("Squares, and where the nearest others are")
whole.axis("off")
for number, (name, color) in enumerate(zip(queries, colors, strict=True)):
    for column, (y, x) in enumerate(apart(indices[number], 9)):
        ax = fig.add_subplot(grid[number + 1, column])
        ax.imshow(photograph[y : y + side, x : x + side])
        ax.set_xticks([])
        ax.set_yticks([])
        for spine in ax.spines.values():
            spine.set(visible=True, color=color, linewidth=3 if column == 0 else 1)
        if column == 0:
            ax.set_ylabel(name, rotation=0, ha="right", va="center")
        whole.add_patch(
            Rectangle((x, y), side, side, fill=column == 0, color=color, lw=2 - (column > 0))
        )

# %%
# All patches against all would be a matrix of this size; ``argkmin`` never has one:

print(f"{len(patches) ** 2 * 4 / 2**30:.1f} GiB")
