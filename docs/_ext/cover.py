"""The picture of the first page: a photograph in strips of more and more colours."""

import matplotlib.pyplot as plt
import numpy as np
from recording import STYLE
from sklearn.datasets import load_sample_image

import tilewise

__all__ = ["draw_cover"]

COLOURS = (2, 4, 8, 16, 64, None)


def draw_cover(path):
    """Write the picture: each strip in the colours that KMeans found for the whole."""
    photograph = load_sample_image("china.jpg")
    height, width, _ = photograph.shape
    pixels = photograph.reshape(-1, 3).astype(np.float32) / 255
    picture = photograph.copy()
    edges = np.linspace(0, width, len(COLOURS) + 1).astype(int)
    for count, left, right in zip(COLOURS, edges[:-1], edges[1:], strict=True):
        if count is not None:
            model = tilewise.KMeans(count, random_state=0, max_iter=50).fit(pixels)
            reduced = np.rint(model.cluster_centers_ * 255).astype(np.uint8)[model.labels_]
            picture[:, left:right] = reduced.reshape(photograph.shape)[:, left:right]
    with plt.rc_context(STYLE):
        fig = plt.figure(figsize=(width / 100, height / 100), layout="none")
        axes = fig.add_axes((0, 0, 1, 1))
        axes.imshow(picture)
        axes.axis("off")
        for count, left, right in zip(COLOURS, edges[:-1], edges[1:], strict=True):
            if left:
                axes.axvline(left - 0.5, color="white", linewidth=1.5)
            axes.text(
                (left + right) / 2, height - 16, "all" if count is None else count, ha="center",
                va="center", fontsize=13, fontweight="bold", color="white",
                bbox={"boxstyle": "round,pad=0.3", "color": "black", "alpha": 0.6},
            )  # fmt: skip
        fig.savefig(path, dpi=170)
        plt.close(fig)
