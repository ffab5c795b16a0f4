"""Figures: numbers as people read them, ticks, and pictures that show something."""

import io
import re
import xml.etree.ElementTree as ElementTree

import pytest

from tilewise.lab.charts import few_points, ticks
from tilewise.lab.experiments import EXPERIMENTS
from tilewise.lab.figures import (
    COLORS,
    GROUNDS,
    Axis,
    Figure,
    Mark,
    Series,
    shown,
    spread,
)  # fmt: skip

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


def luminance(color):
    """Relative luminance of a colour, as WCAG 2.2 defines it."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("color", COLORS)
def test_colours_stand_out_from_their_grounds(color, ground):
    # What graphics need, by WCAG 2.2, success criterion 1.4.11.
    low, high = sorted((luminance(color), luminance(ground)))
    assert (high + 0.05) / (low + 0.05) >= 3


def test_grounds_are_those_of_the_page():
    from importlib import resources

    style = (resources.files("tilewise.lab") / "report.css").read_text(encoding="utf-8")
    for name in ("--ground", "--panel"):
        found = re.findall(rf"{name}: (#[0-9a-f]{{6}});", style)
        assert len(found) == 2
        assert set(found) <= set(GROUNDS)


def test_ticks_are_what_was_measured_where_that_is_little():
    def over(xs, scale="log2"):
        axis = Axis("rows", scale, "rows")
        return Figure("f", "F", axis, Axis("y"), [Series("s", xs, [1.0] * len(xs))])

    assert few_points(over([50_000, 100_000, 200_000])) == [50_000, 100_000, 200_000]
    assert few_points(over([1, 2, 3], "log10")) is None
    assert few_points(over([1000, 1001, 2000])) is None  # their labels would overlap
    assert few_points(over(list(range(1, 9)))) is None
    chart = pytest.importorskip("tilewise.lab.charts").chart
    made = chart(over([50_000, 100_000, 200_000]))["layout"]["xaxis"]
    assert made["ticktext"] == ["50,000", "100,000", "200,000"]


def test_roofs_are_told_apart(result_of):
    figure = EXPERIMENTS["roofline"].figures(result_of("roofline"))[0]
    roofs = [series for series in figure.series if series.labelled]
    assert len(roofs) >= 3
    assert len({series.style for series in roofs}) == len(roofs)
    chart = pytest.importorskip("tilewise.lab.charts").chart
    data = chart(figure)["data"]
    for series in roofs:
        assert any(series.name in trace.get("text", [""])[0] for trace in data
                   if trace["mode"] == "text")  # fmt: skip


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
