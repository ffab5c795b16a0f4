"""Figures: numbers as people read them, ticks, and pictures that show something."""

import io
import xml.etree.ElementTree as ElementTree

import pytest

from tilewise.lab.experiments import EXPERIMENTS
from tilewise.lab.figures import COLORS, Axis, Figure, Mark, Series, shown, spread, ticks

from .conftest import SMALL


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.9996, "s", "1 s"), (0.0123456, "s", "12.3 ms"), (4.2e-7, "s", "420 ns"),
        (1e-12, "s", "0.001 ns"), (0, "s", "0 ns"), (1023, "bytes", "1023 B"),
        (1536, "bytes", "1.5 KiB"), (480 * 2**20, "bytes", "480 MiB"),
        (2.5e15, "bytes", "2,274 TiB"),
        (123456, "rows", "123,456"), (1234.5, "", "1,234"), (0.5, "GB/s", "0.5 GB/s"),
        (float("nan"), "s", "–"), (None, "", "–"),
    ],
)  # fmt: skip
def test_numbers(value, unit, text):
    assert shown(value, unit) == text


def test_spreads():
    assert spread({"low": 1e-3, "high": 2e-3, "unit": "s"}) == "1 – 2 ms"
    assert spread({"low": 9e-4, "high": 2e-3, "unit": "s"}) == "900 µs – 2 ms"
    assert spread({"low": 3.0, "high": 4.0, "unit": "GB/s"}) == "3 – 4 GB/s"


@pytest.mark.parametrize(
    ("scale", "low", "high"),
    [("log10", 0.012, 0.019), ("log10", 1e-9, 1e-5), ("log10", 1e-12, 1e12), ("log2", 3, 70_000),
     ("log2", 4096, 2**34), ("log10", 5.0, 6.0)],
)  # fmt: skip
def test_ticks_are_few_rising_and_within(scale, low, high):
    values, texts = ticks(Axis("a", scale), low, high)
    assert 1 <= len(values) <= 8
    assert len(texts) == len(values)
    assert values == sorted(set(values))
    assert low * 0.99 <= values[0]
    assert values[-1] <= high * 1.01


def samples():
    lines = Figure(
        "a", "Lines", Axis("rows", "log2", "rows"), Axis("time", "log10", "s"),
        [Series("one", [1, 2, 4], [1e-3, 2e-3, 5e-3], [9e-4, 1e-3, 4e-3], [2e-3, 3e-3, 6e-3]),
         Series("two", [1, 4], [2e-3, 3e-3], style="dashed"),
         Series("three", [2], [4e-3], style="dots", texts=["here"])],
        [Mark("x", 2, "two", True), Mark("y", 3e-3, "roof")],
    )  # fmt: skip
    bars = Figure(
        "b", "Bars", Axis("how"), Axis("time", unit="s"),
        [Series("x", ["a", "b"], [1.0, 0.0], [0.5, 0.0], [1.5, 0.0]), Series("y", ["b"], [2.0])],
        [Mark("y", 1.0, "one")], kind="bars",
    )  # fmt: skip
    one = Figure("c", "One point", Axis("x", "log2", "bytes"), Axis("y"), [Series("s", [4], [0.0])])
    return [lines, bars, one]


@pytest.mark.parametrize("figure", samples(), ids=lambda figure: figure.title)
def test_pictures_are_not_blank(figure):
    np = pytest.importorskip("numpy")
    image = pytest.importorskip("matplotlib.image")
    from tilewise.lab import plots

    stream = io.BytesIO()
    plots.write(figure, stream, "png")
    stream.seek(0)
    pixels = image.imread(stream)[:, :, :3]
    assert pixels.shape[0] > 500
    assert pixels.shape[1] > 900
    assert 0.001 < np.mean(pixels.min(axis=2) < 0.9) < 0.6
    blue = np.array([int(COLORS[0][i : i + 2], 16) / 255 for i in (1, 3, 5)])
    assert (np.abs(pixels - blue).max(axis=2) < 0.02).sum() > 20


@pytest.mark.parametrize("name", list(SMALL))
def test_svg_is_well_formed_and_holds_its_words(result_of, name):
    pytest.importorskip("matplotlib")
    from tilewise.lab import plots

    for figure in EXPERIMENTS[name].figures(result_of(name)):
        streams = [io.BytesIO(), io.BytesIO()]
        for stream in streams:
            plots.write(figure, stream, "svg")
        assert streams[0].getvalue() == streams[1].getvalue()  # equal figures, equal files
        root = ElementTree.fromstring(streams[0].getvalue())
        told = " ".join(root.itertext())
        assert figure.title in told
        if len(figure.series) > 1:
            assert all(series.name in told for series in figure.series)


@pytest.mark.parametrize("figure", samples(), ids=lambda figure: figure.title)
def test_charts_of_the_page(figure):
    import json

    from tilewise.lab.charts import chart

    made = json.loads(json.dumps(chart(figure), allow_nan=False))
    names = {trace.get("name") for trace in made["data"]}
    assert {series.name for series in figure.series} <= names
    assert made["layout"]["xaxis"]["title"]["text"]
