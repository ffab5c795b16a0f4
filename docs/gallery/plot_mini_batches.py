"""
All rows or a few at a time
===========================

K-Means moves its centres once per pass over all rows, mini-batches after every thousand rows or so.
The same photograph, the same random start: who is where, after how many rows? Seeds are fixed and
nothing is timed, so this picture is the same everywhere.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

import tilewise

pixels = load_sample_image("china.jpg").reshape(-1, 3).astype(np.float32) / 255
sample = pixels[::20]
start = pixels[np.random.default_rng(0).choice(len(pixels), 64, replace=False)]


def course_of(step, steps, rows):
    """Rows read and error after each step, which reads so many; a step returns the model."""
    curve = []
    for number in range(1, steps + 1):
        model = step()
        curve.append((number * rows, np.sqrt(-model.score(sample) / sample.size) * 255))
    return np.array(curve)


# %%
# One step of the full algorithm is a fit of one iteration from the last centres; one step of the
# other is a ``partial_fit`` with random rows.

state = {"init": start}


def full_step():
    model = tilewise.KMeans(64, init=state["init"], n_init=1, max_iter=1, n_threads=1).fit(pixels)
    state["init"] = model.cluster_centers_
    return model


curves = {"all 273,280 pixels": course_of(full_step, 40, len(pixels))}
for batch, steps in ((1024, 250), (8192, 120)):
    rng = np.random.default_rng(1)
    model = tilewise.MiniBatchKMeans(64, init=start, n_init=1, n_threads=1, random_state=0)

    def mini_step(model=model, batch=batch, rng=rng):
        return model.partial_fit(pixels[rng.integers(0, len(pixels), batch)])

    curves[f"batches of {batch:,}"] = course_of(mini_step, steps, batch)

fig, ax = plt.subplots(figsize=(6.2, 4), layout="constrained")
for name, curve in curves.items():
    ax.plot(curve[:, 0], curve[:, 1], "o-" if name.startswith("all") else "-", ms=4, label=name)
ax.set(
    xscale="log", xlabel="rows read", ylabel="error of a pixel, of 255",
    title="64 colours, from random",
)  # fmt: skip
ax.legend()

# %%
# A row of a full pass costs less than a row of a batch: rows in order are fetched ahead, and later
# passes skip those whose label cannot have changed.
