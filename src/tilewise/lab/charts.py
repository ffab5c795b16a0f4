"""Figures drawn once, as plain values: for plotly in a browser, and for `plots`.

Colours that depend on light or dark are written as ``@ink``, ``@muted`` and ``@grid``; the script
of the page puts the right ones in.
"""

import itertools
import math
import textwrap
from dataclasses import replace
from typing import Any

from .figures import COLORS, NOTHING, Axis, Figure, Mark, shown

__all__ = ["chart", "drawable", "few_points", "ticks"]

_DASHES = {
    "line": "solid", "dashed": "dash", "dotted": "dot", "dashdot": "longdashdot", "dots": "solid",
}  # fmt: skip
_MACHINE_DASHES = ("solid", "dash", "dot", "longdashdot")
_PATTERNS = ("", "/", ".", "x")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross")
_WRAP = 18
_LABEL = 0.3  # share of the width for names at the left ends of lines


def chart(figure: Figure) -> dict[str, Any]:
    """Traces and layout of a figure.

    Parameters
    ----------
    figure : Figure

    Returns
    -------
    dict
        ``data`` and ``layout`` as Plotly.newPlot takes them.

    Examples
    --------
    >>> from tilewise.lab.charts import chart
    >>> from tilewise.lab.figures import Axis, Figure, Series
    >>> made = chart(Figure("f", "F", Axis("x"), Axis("y"), [Series("s", [1, 2], [3, 4])]))
    >>> made["data"][0]["name"]
    's'
    """
    figure = drawable(figure)
    if not figure.series:
        return {"data": [], "layout": _layout(figure) | {
            "xaxis": {"title": {"text": figure.x.label}, "visible": False},
            "yaxis": {"title": {"text": figure.y.label}, "visible": False},
            "annotations": [{"text": NOTHING, "showarrow": False}], "height": 260,
        }}  # fmt: skip
    return _bars(figure) if figure.kind == "bars" else _lines(figure)


def _layout(figure):
    return {
        "font": {"size": 13, "color": "@ink"}, "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)", "margin": {"l": 62, "r": 14, "t": 10, "b": 48},
        "hovermode": "closest", "autosize": True,
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        "showlegend": sum(not series.labelled for series in figure.series) > 1,
    }  # fmt: skip


def _color(series, number):
    return COLORS[(number if series.color is None else series.color) % len(COLORS)]


def _lines(figure):
    data, together = [], any(series.machine for series in figure.series)
    for number, series in enumerate(figure.series):
        color = _color(series, number)
        if series.low is not None and series.high is not None:
            data.append(
                {"type": "scatter", "mode": "lines", "fill": "toself", "fillcolor": color + "2e",
                 "x": [*series.x, *reversed(series.x)], "y": [*series.high, *reversed(series.low)],
                 "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False,
                 "legendgroup": series.name}
            )  # fmt: skip
        texts = [
            f"{figure.x.label}: {shown(x, figure.x.unit)}<br>{figure.y.label}: "
            f"{shown(y, figure.y.unit)}" + (f"<br>{series.texts[i]}" if series.texts else "")
            for i, (x, y) in enumerate(zip(series.x, series.y, strict=True))
        ]
        mode = {"line": "lines+markers", "dots": "markers"}.get(series.style, "lines")
        mode = "lines" if series.labelled else mode
        dash = _DASHES[series.style]
        if series.machine and dash == "solid":
            dash = _MACHINE_DASHES[series.machine % len(_MACHINE_DASHES)]
        # Of several machines, equal series have equal marks.
        place = series.color if together and series.color is not None else number
        symbol = _SYMBOLS[place % len(_SYMBOLS)] + ("-open" if series.machine % 2 else "")
        data.append(
            {"type": "scatter", "mode": mode, "name": _text(series.name),
             "legendgroup": series.name,
             "x": list(series.x), "y": list(series.y), "text": texts,
             "hovertemplate": "%{text}<extra>" + _text(series.name) + "</extra>",
             "showlegend": not series.labelled,
             "line": {"color": color, "dash": dash, "width": 2},
             "marker": {"color": color, "symbol": symbol,
                        "size": 10 if series.style == "dots" else 6}}
        )  # fmt: skip
    xs = [x for s in figure.series for x in s.x]
    ys = [y for s in figure.series for y in (*s.y, *(s.low or ()), *(s.high or ()))]
    x_marks = sorted((m for m in figure.marks if m.axis == "x"), key=lambda m: m.value)
    y_marks = [m for m in figure.marks if m.axis == "y"]
    x_range = _range(figure.x, xs + [m.value for m in x_marks], 0.02, False)
    named = [series for series in figure.series if series.labelled]
    if named:
        x_range[0] -= _LABEL * (x_range[1] - x_range[0])
    y_range = _range(figure.y, ys + [m.value for m in y_marks], 0.04)
    places = [m.value if figure.x.scale == "linear" else math.log10(m.value) for m in x_marks]
    sides = mark_sides([(place - x_range[0]) / (x_range[1] - x_range[0]) for place in places])
    top = headroom(sides)
    y_range = [y_range[0], y_range[1] + (y_range[1] - y_range[0]) * top / (1 - top)]
    data += _mark_traces(figure, x_marks, y_marks, x_range, y_range, sides)
    for series, y in zip(named, _apart(figure.y, named, y_range), strict=True):
        mark = Mark("y", y, series.name)
        data.append(_label(mark, "@ink", series.x[0], y, "middle left"))
    layout = _layout(figure) | {
        "xaxis": _axis(figure.x, x_range, min(xs), max(xs), few_points(figure)),
        "yaxis": _axis(figure.y, y_range, min(ys), max(ys)),
    }
    return {"data": data, "layout": layout}


def _range(axis, values, margin, from_zero=True):
    low, high = min(values), max(values)
    if axis.scale == "linear":
        pad = (high - low or abs(high) or 1) * margin
        return [0 if from_zero and low >= 0 else low - pad, high + pad]
    low, high = math.log10(low), math.log10(high)
    pad = max(high - low, 0.1) * margin
    return [low - pad, high + pad]


def _value(axis, place):
    return place if axis.scale == "linear" else 10.0**place


def _apart(axis, named, span):
    """Heights of the names of lines: those of their left ends, spread where they would overlap."""
    places = [s.y[0] if axis.scale == "linear" else math.log10(s.y[0]) for s in named]
    least, found = 0.055 * (span[1] - span[0]), {}
    below = -math.inf
    for place, number in sorted((place, number) for number, place in enumerate(places)):
        below = found[number] = max(place, below + least)
    return [_value(axis, found[number]) for number in range(len(named))]


def _mark_traces(figure, x_marks, y_marks, x_range, y_range, sides):
    """Marks as traces, so that they follow any scale; labels of lines that are close are apart."""
    made = []
    bottom, top = y_range
    for mark, (left, level) in zip(x_marks, sides, strict=True):
        ink = "@ink" if mark.strong else "@muted"
        line = {"color": ink, "width": 1.4 if mark.strong else 1,
                "dash": "solid" if mark.strong else "dot"}  # fmt: skip
        height = top - (top - bottom) * (0.035 + 0.06 * level)
        made.append(
            {"type": "scatter", "mode": "lines", "x": [mark.value] * 2,
             "y": [_value(figure.y, bottom), _value(figure.y, top)], "line": line,
             "hoverinfo": "skip", "showlegend": False}
        )  # fmt: skip
        made.append(_label(mark, ink, mark.value, _value(figure.y, height),
                           "middle left" if left else "middle right"))  # fmt: skip
    for mark in y_marks:
        ink = "@ink" if mark.strong else "@muted"
        ends = [_value(figure.x, place) for place in x_range]
        made.append(
            {"type": "scatter", "mode": "lines", "x": ends, "y": [mark.value] * 2,
             "line": {"color": ink, "width": 1.4}, "hoverinfo": "skip", "showlegend": False}
        )  # fmt: skip
        # At the right end there is room: lines that climb to a roof reach it before.
        made.append(_label(mark, ink, ends[1], mark.value, "top left"))
    return made


def _label(mark, ink, x, y, position):
    return {"type": "scatter", "mode": "text", "x": [x], "y": [y],
            "text": [f"\u00a0{_text(mark.label)}\u00a0"],
            "textposition": position, "textfont": {"color": ink, "size": 12},
            "hoverinfo": "skip", "showlegend": False, "cliponaxis": False}  # fmt: skip


def _axis(axis, span, low, high, points=None):
    made = {"title": {"text": axis.label, "standoff": 8}, "range": span, "gridcolor": "@grid",
            "zeroline": False, "linecolor": "@muted", "automargin": True}  # fmt: skip
    if axis.scale != "linear":
        values, texts = ticks(axis, low * 0.999, high * 1.001, 7)
        if points:
            values, texts = points, [shown(value, axis.unit) for value in points]
        made |= {"type": "log", "tickvals": values, "ticktext": texts}
    elif axis.unit:
        values = _round_values(*span)
        made |= {
            "tickvals": values,
            "ticktext": [shown(v, axis.unit) if v else "0" for v in values],
        }
    elif span[1] - span[0] <= 12 and all(float(v).is_integer() for v in (low, high)):
        made["dtick"] = 1
    return made


def _round_values(low, high, most=6):
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _bars(figure):
    data, names = [], list(dict.fromkeys(name for s in figure.series for name in s.x))
    for number, series in enumerate(figure.series):
        # Spaces keep the number off its bar, or off the axis where the bar is nothing.
        texts = [f"\u00a0\u00a0{shown(y, figure.y.unit)}" for y in series.y]
        trace = {
            "type": "bar", "orientation": "h", "name": _text(series.name), "x": list(series.y),
            "y": [_wrapped(name) for name in series.x], "text": texts, "textposition": "outside",
            "cliponaxis": False,
            "hovertemplate": "%{y}: %{text}<extra>" + _text(series.name) + "</extra>",
            "marker": {
                "color": _color(series, number),
                "pattern": {"shape": _PATTERNS[series.machine % len(_PATTERNS)],
                            "fillmode": "overlay" if not series.machine else "replace"},
            },
        }  # fmt: skip
        if series.low is not None and series.high is not None:
            # Told by pointing in a page, where whiskers would cross the numbers at the ends.
            unit = figure.y.unit
            ends = list(zip(series.low, series.y, series.high, strict=True))
            trace["error_x"] = {
                "visible": False, "type": "data", "symmetric": False,
                "array": [max(0.0, high - y) for _, y, high in ends],
                "arrayminus": [max(0.0, y - low) for low, y, _ in ends],
            }  # fmt: skip
            trace["customdata"] = [
                f"{shown(low, unit)} – {shown(high, unit)}" for low, _, high in ends
            ]
            trace["hovertemplate"] = (
                "%{y}: %{text}, quartiles %{customdata}<extra>" + _text(series.name) + "</extra>"
            )
        data.append(trace)
    marks = [mark.value for mark in figure.marks if mark.axis == "y"]
    most = max(*(max(s.y) for s in figure.series), *marks, 0) or 1.0
    span = [0, most * 1.22]
    layout = _layout(figure) | {
        "barmode": "group", "bargap": 0.25,
        "xaxis": _axis(figure.y, span, 0, most),
        "yaxis": {"autorange": "reversed", "categoryorder": "array", "automargin": True,
                  "categoryarray": [_wrapped(name) for name in names], "ticks": ""},
        "height": max(260, 130 + 30 * len(names) * max(1, len(figure.series))),
    }  # fmt: skip
    for mark in figure.marks:
        if mark.axis == "y":
            ends = [_wrapped(names[0]), _wrapped(names[-1])]
            data.append(
                {"type": "scatter", "mode": "lines", "x": [mark.value] * 2, "y": ends,
                 "line": {"color": "@ink", "width": 1.4}, "name": mark.label, "hoverinfo": "skip"}
            )  # fmt: skip
    return {"data": data, "layout": layout}


def _text(name):
    # plotly takes some tags for formatting; names are names.
    return str(name).replace("<", "&lt;")


def _wrapped(name):
    return "<br>".join(map(_text, textwrap.wrap(str(name), _WRAP))) or _text(name)


def mark_sides(places: list[float], near: float = 0.16) -> list[tuple[bool, int]]:
    """Of vertical marks at shares of the width: is the label on the left, and how far down?

    Of several close marks the first has its label on the left, the others each a line lower.
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
    """What the labels of vertical marks take of the height, at the top, as a share."""
    return line * (1 + max(level for _, level in sides)) + 0.02 if sides else 0.0


def few_points(figure: Figure, most: int = 6) -> list[float] | None:
    """What was measured along x, where that is few values that lie well apart.

    Such values are better ticks than round numbers between which they fall.
    """
    found = sorted({x for series in figure.series for x in series.x})
    if figure.x.scale != "log2" or not 1 < len(found) <= most:
        return None
    steps = [math.log(b / a) for a, b in itertools.pairwise(found)]
    return found if min(steps) >= 0.12 * math.log(found[-1] / found[0]) else None


def ticks(axis: Axis, low: float, high: float, most: int = 8) -> tuple[list[float], list[str]]:
    """Places and texts of ticks on a logarithmic axis: round numbers, not too many."""
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
    """A figure without what its axes cannot show: zeros where a scale is logarithmic."""
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
