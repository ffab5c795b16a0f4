"""
A photograph in few colours
===========================

The pixels of a photograph are points in three dimensions: red, green, blue. K-Means finds the few
colours that stand for all of them with the least error.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

import tilewise

photograph = load_sample_image("flower.jpg")
pixels = photograph.reshape(-1, 3).astype(np.float32) / 255
print(f"{len(pixels):,} pixels, {len(np.unique(pixels, axis=0)):,} colours")

# %%
# One fit for each number of colours. Every pixel takes the colour of its cluster; below each
# picture lies its palette, each colour as wide as its share of the pixels.

fig, axes = plt.subplots(2, 2, figsize=(7, 5.4), layout="constrained")
for ax, n_colours in zip(axes.flat, (3, 6, 12, 48), strict=True):
    model = tilewise.KMeans(n_colours, random_state=0).fit(pixels)
    colours = np.clip(model.cluster_centers_, 0, 1)
    picture = colours[model.labels_].reshape(photograph.shape)
    error = np.sqrt(model.inertia_ / pixels.size) * 255

    order = np.argsort(colours.sum(axis=1))
    shares = np.bincount(model.labels_, minlength=n_colours)[order] / len(pixels)
    edges = np.concatenate([[0], np.cumsum(shares)]) * photograph.shape[1]
    palette = np.empty((40, photograph.shape[1], 3), dtype=np.float32)
    for colour, left, right in zip(colours[order], edges[:-1], edges[1:], strict=True):
        palette[:, round(left) : round(right)] = colour
    ax.imshow(np.vstack([picture, np.ones_like(palette[:8]), palette]))
    ax.set_title(f"{n_colours} colours, error {error:.1f} of 255")
    ax.axis("off")

# %%
# Photographs are full of ties: 8-bit values, so that a pixel often lies exactly between two
# colours. Which of them it takes is decided by distances in float64, and among equals by the lower
# index, so the picture is the same on every machine.
