"""What a figure is, however it is drawn: series over two axes, marks, and words beside it."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tilewise._sizes import sized

__all__ = [
    "COLORS", "GROUNDS", "NOTHING", "Axis", "Conclusion", "Figure", "Mark", "Series", "Table",
    "drawable", "few_points", "headroom", "mark_sides", "shown", "spread", "ticks",
]  # fmt: skip

#: The first three are Okabe and Ito's ("Color universal design", 2008), the others were sought so
#: that all have a contrast of 3 with every ground, light or dark, and stay apart in the colour
#: visions that Machado, Oliveira and Fernandes model (2009). The last is for what is not measured.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#B430F2", "#966D3C", "#737487", "#888888")
#: What figures are drawn on: pictures, the page and its panels, in the light and in the dark.
GROUNDS = ("#ffffff", "#f5f7f9", "#15181b", "#1e2226")

#: What stands where a figure has no point that its axes can show.
NOTHING = "nothing here could be measured"


class Conclusion(str):
    """A sentence that compares what was timed; not said where the machine was too busy for it."""

    __slots__ = ()


@dataclass(frozen=True)
class Axis:
    """A label, a scale and what the numbers are.

    Attributes
    ----------
    label : str
    scale : {"linear", "log2", "log10"}, default="linear"
    unit : {"", "bytes", "s", "rows"}, default=""
        How numbers are written: sizes as KiB and MiB, times as ms and µs.
    """

    label: str
    scale: str = "linear"
    unit: str = ""


@dataclass(frozen=True)
class Series:
    """Points under one name; `x` holds numbers, or names where the figure has bars.

    Attributes
    ----------
    name : str
    x, y : sequence
    low, high : sequence of float, optional
        Ends of the band or of the bars of spread.
    style : {"line", "dashed", "dotted", "dashdot", "dots"}, default="line"
    color : int, optional
        Place in `COLORS`; that of the series in its figure by default.
    texts : sequence of str, optional
        What to say of each point besides its numbers.
    labelled : bool, default=False
        Whether the name stands at the left end of the line instead of in the legend.
    expected : bool, default=False
        Whether this was reckoned or simulated, not measured.
    machine : int, default=0
        Which of several machines: drawn with other dashes and open marks.
    """

    name: str
    x: Sequence[Any]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    style: str = "line"
    color: int | None = None
    texts: Sequence[str] | None = None
    labelled: bool = False
    expected: bool = False
    machine: int = 0


@dataclass(frozen=True)
class Mark:
    """A line across the figure at a value of one axis.

    Attributes
    ----------
    axis : {"x", "y"}
    value : float
    label : str
    strong : bool, default=False
    concluded : bool, default=False
        Whether it was read off what was timed, as a `Conclusion` is.
    """

    axis: str
    value: float
    label: str
    strong: bool = False
    concluded: bool = False


@dataclass(frozen=True)
class Figure:
    """One figure with the words that explain it.

    Attributes
    ----------
    key : str
        Name for files and anchors.
    title : str
    x, y : Axis
    series : list of Series
    marks : list of Mark
    words : list of str
        Paragraphs in plain words, with the numbers of this run.
    kind : {"lines", "bars"}, default="lines"
    source : str, default=""
        The machine that it was measured on, for pictures that leave the page.
    timed : bool, default=True
        Whether it shows times or rates, which a busy machine spoils; bytes and labels stay.
    warning : str, default=""
        Why nothing can be concluded from it.
    """

    key: str
    title: str
    x: Axis
    y: Axis
    series: list[Series]
    marks: list[Mark] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    kind: str = "lines"
    source: str = ""
    timed: bool = True
    warning: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The figure as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Table:
    """Rows of text under headings, and sentences below them.

    Attributes
    ----------
    columns : list of str
    rows : list of list of str
    notes : list of str
    concluded : tuple of int
        Places of the columns that compare what was timed.
    """

    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    concluded: tuple[int, ...] = ()


def shown(value: float | None, unit: str = "", digits: int = 3) -> str:
    """Write a number as people read it.

    Examples
    --------
    >>> from tilewise.lab.figures import shown
    >>> shown(0.00123, "s"), shown(49152, "bytes"), shown(1234567, "rows"), shown(None)
    ('1.23 ms', '48 KiB', '1,234,567', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if unit == "bytes":
        return sized(value)
    if unit == "s":
        for size, name in ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")):
            if abs(value) >= size * 0.9995 or name == "ns":
                return f"{_short(value / size, digits)} {name}"
    if unit == "rows":
        return f"{round(value):,}"
    text = _short(value, digits)
    return f"{text} {unit}" if unit else text


def spread(entry: dict[str, Any]) -> str:
    """The quartiles of a measurement, with their unit once where it is the same.

    Examples
    --------
    >>> from tilewise.lab.figures import spread
    >>> spread({"low": 0.001, "high": 0.0012, "unit": "s"})
    '1 – 1.2 ms'
    """
    low, high = (shown(entry[end], entry["unit"]) for end in ("low", "high"))
    number, _, unit = low.rpartition(" ")
    return f"{number if high.endswith(' ' + unit) else low} – {high}"


def mark_sides(places: list[float], near: float = 0.16) -> list[tuple[bool, int]]:
    """Where the labels of vertical marks stand, so that none lies on another or on its line.

    Parameters
    ----------
    places : list of float
        Where the marks are, rising, as shares of the width.
    near : float, default=0.16
        What a label takes of the width.

    Returns
    -------
    list of (bool, int)
        Whether the label is left of its mark, and how many labels it stands below the top: the
        first of several close marks has it on the left, the others each one lower.

    Examples
    --------
    >>> from tilewise.lab.figures import mark_sides
    >>> mark_sides([0.3, 0.35, 0.4, 0.7])
    [(True, 0), (False, 1), (False, 2), (False, 0)]
    """
    sides, level = [], 0
    for number, at in enumerate(places):
        before = at - places[number - 1] if number else at
        after = (places[number + 1] if number + 1 < len(places) else 1.0) - at
        left = after < near <= before
        level = 0 if left or before >= near or not number else level + 1
        sides.append((left, level))
    return sides


def headroom(sides: list[tuple[bool, int]], line: float = 0.06) -> float:
    """What the labels of vertical marks take of the height, at the top.

    Parameters
    ----------
    sides : list of (bool, int)
        From `mark_sides`.
    line : float, default=0.06
        What a line of text takes of the height.

    Returns
    -------
    float
        A share of the height; 0 without marks.

    Examples
    --------
    >>> from tilewise.lab.figures import headroom
    >>> headroom([]), round(headroom([(True, 0), (False, 1)]), 2)
    (0.0, 0.14)
    """
    return line * (1 + max(level for _, level in sides)) + 0.02 if sides else 0.0


def few_points(figure: Figure, most: int = 6) -> list[float] | None:
    """Return what was measured along x, where that is few values that lie well apart.

    Such values are better ticks than round numbers between which they fall.

    Parameters
    ----------
    figure : Figure
        With a logarithmic x axis.
    most : int, default=6

    Returns
    -------
    list of float or None

    Examples
    --------
    >>> from tilewise.lab.figures import Axis, Figure, Series, few_points
    >>> rows = Axis("rows", "log2", "rows")
    >>> few_points(Figure("f", "F", rows, Axis("s"), [Series("a", [500, 1000], [1.0, 2.0])]))
    [500, 1000]
    """
    found = sorted({x for series in figure.series for x in series.x})
    if figure.x.scale != "log2" or not 1 < len(found) <= most:
        return None
    steps = [math.log(b / a) for a, b in itertools.pairwise(found)]
    return found if min(steps) >= 0.12 * math.log(found[-1] / found[0]) else None


def _short(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1e9:
        return f"{value:.{digits - 1}e}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    if abs(value) < 1e-4:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{digits}g}"


def ticks(axis: Axis, low: float, high: float, most: int = 8) -> tuple[list[float], list[str]]:
    """Places and texts of ticks on a logarithmic axis: round numbers, not too many.

    Parameters
    ----------
    axis : Axis
        With a logarithmic scale.
    low, high : float
        Ends of the axis, above zero.
    most : int, default=8

    Returns
    -------
    values : list of float
    texts : list of str

    Examples
    --------
    >>> from tilewise.lab.figures import Axis, ticks
    >>> ticks(Axis("working set", "log2", "bytes"), 4096, 65536)
    ([4096.0, 8192.0, 16384.0, 32768.0, 65536.0], ['4 KiB', '8 KiB', '16 KiB', '32 KiB', '64 KiB'])
    """
    if axis.scale == "log2":
        first, last = math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9)
        step = max(1, -(-(last - first + 1) // most))
        values = [2.0**p for p in range(first, last + 1, step)]
    else:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        for factors in (
            (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8),
            (1, 2, 3, 4, 6, 8),
            (1, 2, 5),
            (1, 3),
            (1,),
        ):
            values = [f * 10.0**p for p in range(first, last + 1) for f in factors]
            values = [v for v in values if low * 0.999 <= v <= high * 1.001]
            if len(values) <= most:
                break
        else:
            values = values[:: -(-len(values) // most)]
    return values, [shown(value, axis.unit) for value in values]


def drawable(figure: Figure) -> Figure:
    """A figure without what its axes cannot show: zeros where a scale is logarithmic.

    Parameters
    ----------
    figure : Figure

    Returns
    -------
    Figure
        Perhaps with fewer points, marks and series than were given, perhaps with none.

    Examples
    --------
    >>> from tilewise.lab.figures import Axis, Figure, Series, drawable
    >>> made = Figure("f", "F", Axis("x"), Axis("y", "log10"), [Series("s", [1, 2], [0.0, 3.0])])
    >>> drawable(made).series[0].y
    [3.0]
    """
    if figure.kind == "bars":
        return figure
    logs = {name: axis.scale != "linear" for name, axis in (("x", figure.x), ("y", figure.y))}
    marks = [m for m in figure.marks if m.value > 0 or not logs.get(m.axis)]
    series = [s for s in (_shown_part(s, **logs) for s in figure.series) if s.x]
    return replace(figure, marks=marks, series=series)


def _shown_part(series, x, y):
    keep = [
        i for i, (a, b) in enumerate(zip(series.x, series.y, strict=True))
        if (a > 0 or not x) and (b > 0 or not y)
    ]  # fmt: skip
    if len(keep) < len(series.x):
        parts = {
            name: values and [values[i] for i in keep]
            for name in ("x", "y", "low", "high", "texts")
            if (values := getattr(series, name)) is not None
        }
        series = replace(series, **parts)
    if y and series.low is not None and min(series.low, default=1) <= 0:
        # A band that reaches down to nothing ends at the lowest point.
        floor = min(series.y)
        series = replace(series, low=[low if low > 0 else min(floor, b) for low, b in
                                      zip(series.low, series.y, strict=True)])  # fmt: skip
    return series
