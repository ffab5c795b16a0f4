"""
An alphabet of patches
======================

K-Means on all small squares of two photographs finds an alphabet: the squares that stand for the
others best. Edges in all directions, sky, leaves, petals. Laying a photograph anew with letters
from it shows how much they say.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images

import tilewise

side, n_letters = 8, 144
photographs = [image[:424] for image in load_sample_images().images]


def squares(image):
    """All squares of an image that do not overlap, one per row."""
    height, width, _ = image.shape
    cut = image.reshape(height // side, side, width // side, side, 3)
    return cut.swapaxes(1, 2).reshape(-1, side * side * 3).astype(np.float32)


X = np.vstack([squares(image) for image in photographs])
model = tilewise.KMeans(n_letters, random_state=0).fit(X)
print(f"{len(X):,} squares, {n_letters} letters, {model.n_iter_} iterations")

# %%
# The letters, from dark to light.

letters = model.cluster_centers_.reshape(-1, side, side, 3)
order = np.argsort(letters.mean(axis=(1, 2, 3)))
wide = 18
sheet = np.ones((n_letters // wide * (side + 1), wide * (side + 1), 3))
for place, letter in enumerate(order):
    y, x = (side + 1) * (place // wide), (side + 1) * (place % wide)
    sheet[y : y + side, x : x + side] = np.clip(letters[letter] / 255, 0, 1)
fig, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
ax.imshow(sheet, interpolation="nearest")
ax.set_title(f"{n_letters} letters of {side} × {side} pixels")
ax.axis("off")

# %%
# And a photograph written in them.

image = photographs[1]
height, width, _ = image.shape
labels = model.predict(squares(image))
written = letters[labels].reshape(height // side, width // side, side, side, 3)
written = np.clip(written.swapaxes(1, 2).reshape(image.shape) / 255, 0, 1)
fig, axes = plt.subplots(1, 2, figsize=(7, 2.7), layout="constrained")
for ax, picture, name in (
    (axes[0], image, "A photograph"),
    (axes[1], written, "Written in letters"),
):
    ax.imshow(picture)
    ax.set_title(name)
    ax.axis("off")
