"""Reduce a photograph to 64 colours, and let scikit-learn do the same beside it.

The pixels of ``china.jpg`` (the Summer Palace in Beijing, 427 × 640, bundled with scikit-learn)
are 273,280 points in three dimensions. K-Means finds the 64 colours that represent them best;
every pixel then takes the colour of its cluster.

Run it with ``make demo``, or ``python examples/demo.py`` where tilewise and Pillow are installed.
"""

import argparse
import pathlib
import statistics
import textwrap
import time

import numpy as np
import sklearn
import sklearn.cluster
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_image

import tilewise
from tilewise.lab._load import Meter
from tilewise.lab.quiet import headline

RULE = "─" * 78


def heading(text):
    """Print a heading."""
    print(f"\n{text}\n{RULE}")


def seconds(value):
    """Return a duration in the unit in which it reads best."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms"


def timed(call):
    """Return the seconds that a call took, and what it returned."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def phases(library, pixels, n_colours):
    """Run one K-Means in its phases, timing each, and whole.

    `library` offers scikit-learn's names: ``kmeans_plusplus`` and ``KMeans``.
    """
    seeding, (start, _) = timed(lambda: library.kmeans_plusplus(pixels, n_colours, random_state=0))
    iterating, _ = timed(lambda: library.KMeans(n_colours, init=start, n_init=1).fit(pixels))
    whole, model = timed(lambda: library.KMeans(n_colours, random_state=0).fit(pixels))
    predicting, labels = timed(lambda: model.predict(pixels))
    times = {
        "k-means++ seeding": seeding,
        "iterations": iterating,
        "whole fit": whole,
        "prediction": predicting,
    }
    return times, model, labels


def caption_font(size):
    """Return Pillow's own font; nothing needs to be installed for it."""
    return ImageFont.load_default(size=size)


def draw(before, after, captions, path):
    """Write two pictures side by side, each with a caption below it."""
    height, width, _ = before.shape
    gap, band = 16, 44
    sheet = Image.new("RGB", (2 * width + 3 * gap, height + 2 * gap + band), "white")
    pen = ImageDraw.Draw(sheet)
    for column, (picture, caption) in enumerate(zip((before, after), captions, strict=True)):
        left = gap + column * (width + gap)
        sheet.paste(Image.fromarray(picture), (left, gap))
        pen.text((left, gap + height + 12), caption, fill="black", font=caption_font(17))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def show_plan(model):
    """Print the plan that a fit used, a sentence to a line."""
    for sentence in model.chunk_plan_.sentences():
        print(textwrap.fill(sentence, 78, initial_indent="- ", subsequent_indent="  "))


def show_times(samples, n_iter, noise):
    """Print the medians of all phases, one library beside the other; ratios if it was quiet."""
    if noise:
        print(textwrap.fill(headline(noise), 78))
    print(f"{'':<22}{'tilewise':>14}{'scikit-learn':>16}{'times faster':>16}")
    for phase in samples["tilewise"][0]:
        ours, theirs = (
            statistics.median(run[phase] for run in samples[name])
            for name in ("tilewise", "scikit-learn")
        )
        ratio = "–" if noise else f"{theirs / ours:.1f}×"
        print(f"{phase:<22}{seconds(ours):>14}{seconds(theirs):>16}{ratio:>16}")
        if phase == "iterations":
            each = [seconds(t / n) for t, n in zip((ours, theirs), n_iter, strict=True)]
            print(f"{'  per iteration':<22}{each[0]:>14}{each[1]:>16}")


def main():
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--colours", type=int, default=64, help="default: 64")
    parser.add_argument("--runs", type=int, default=3, help="take medians of so many; default: 3")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("demo-output"))
    options = parser.parse_args()

    photograph = load_sample_image("china.jpg")
    height, width, depth = photograph.shape
    pixels = (photograph.reshape(-1, depth) / 255).astype(np.float32)

    heading(f"tilewise {tilewise.__version__} on this machine")
    print(tilewise.machine())

    libraries = {"tilewise": tilewise, "scikit-learn": sklearn.cluster}
    for library in libraries.values():  # start threads and load code outside the timed runs
        phases(library, pixels[:2000], 8)
    samples = {name: [] for name in libraries}
    models, labels = {}, {}
    meter = Meter()
    meter.before()
    with meter.during():
        for _ in range(options.runs):
            for name, library in libraries.items():
                times, models[name], labels[name] = phases(library, pixels, options.colours)
                samples[name].append(times)
    ours, theirs = models["tilewise"], models["scikit-learn"]

    heading(f"The plan for {len(pixels):,} pixels × {depth} channels, {options.colours} colours")
    show_plan(ours)

    heading(
        f"KMeans({options.colours}, random_state=0).fit, medians of {options.runs} runs taken in "
        "turn"
    )
    show_times(samples, (ours.n_iter_, theirs.n_iter_), meter.verdict()["noise"])
    equal = np.mean(labels["tilewise"] == labels["scikit-learn"])
    print(f"{'iterations until done':<22}{ours.n_iter_:>14}{theirs.n_iter_:>16}")
    print(f"{'inertia':<22}{ours.inertia_:>14.4f}{theirs.inertia_:>16.4f}")
    print(f"{'equal labels':<22}{equal:>14.2%}")
    seeds, _ = tilewise.kmeans_plusplus(pixels, options.colours, random_state=0)
    same = [
        estimator(options.colours, init=seeds, n_init=1).fit(pixels).labels_
        for estimator in (tilewise.KMeans, sklearn.cluster.KMeans)
    ]
    print(f"{'  from equal seeds':<22}{np.mean(same[0] == same[1]):>14.2%}")
    print(
        f"scikit-learn {sklearn.__version__} sums distances of float32 rows in float32 while it "
        "seeds,\nso it starts from other pixels and numbers its colours differently."
    )

    colours = np.clip(np.rint(ours.cluster_centers_ * 255), 0, 255).astype(np.uint8)
    reduced = colours[labels["tilewise"]].reshape(photograph.shape)
    distinct = len(np.unique(photograph.reshape(-1, depth), axis=0))
    error = np.sqrt(np.mean((reduced.astype(float) - photograph) ** 2))
    fit_time = statistics.median(run["whole fit"] for run in samples["tilewise"])
    path = options.output / f"summer-palace-{options.colours}-colours.png"
    captions = (
        f"before: {distinct:,} colours",
        f"after: {options.colours} colours in {seconds(fit_time)}, RMS error {error:.1f} of 255",
    )
    draw(photograph, reduced, captions, path)

    heading("The picture")
    print(path.resolve())
    print(f"{width} × {height} pixels; photograph: danielbuechele, CC BY 2.0")


if __name__ == "__main__":
    main()
