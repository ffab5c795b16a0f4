"""What a figure is, however it is drawn: series over two axes, marks, and words beside it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tilewise._sizes import sized

__all__ = [
    "COLORS", "GROUNDS", "NOTHING", "Axis", "Conclusion", "Figure", "Mark", "Series", "Table",
    "measured", "shown", "spread",
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


def measured(name: str, entries: Sequence[dict[str, Any]], key: str, **how: Any) -> Series:
    """Return a series of medians with their quartiles.

    Parameters
    ----------
    name : str
    entries : sequence of dict
        Measurements of a result.
    key : str
        Which value of a measurement's ``case`` is the x of its point.
    **how
        For `Series`.

    Returns
    -------
    Series

    Examples
    --------
    >>> from tilewise.lab.figures import measured
    >>> entry = {"case": {"threads": 2}, "median": 0.2, "low": 0.1, "high": 0.4}
    >>> measured("tilewise", [entry], "threads").high
    [0.4]
    """
    xs = [entry["case"][key] for entry in entries]
    median, low, high = ([e[part] for e in entries] for part in ("median", "low", "high"))
    return Series(name, xs, median, low, high, **how)


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
