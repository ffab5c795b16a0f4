"""Figures as PNG or SVG, drawn with matplotlib (extra ``lab``)."""

from typing import BinaryIO

from .figures import (
    COLORS,
    NOTHING,
    Figure,
    drawable,
    few_points,
    headroom,
    mark_sides,
    shown,
    ticks,
)

__all__ = ["write"]

# Narrow, so that the words can still be read where a page is as wide as a phone.
_INCHES = (6.4, 4.4)
_STYLES = {"line": "-", "dashed": "--", "dotted": ":", "dashdot": "-.", "dots": "None"}
_MARKERS = "osD^vP"
_WARNING = "#8a4b00"


def write(figure: Figure, stream: BinaryIO, kind: str = "png") -> None:
    """Draw a figure.

    Parameters
    ----------
    figure : Figure
    stream : binary stream
        Where to write.
    kind : {"png", "svg"}, default="png"

    Raises
    ------
    ModuleNotFoundError
        Without matplotlib.
    """
    import matplotlib as mpl

    # Text stays text in an SVG, and equal figures give equal files.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tilewise", "font.size": 10}):
        canvas = _drawn(figure)
        meta = {"Date": None} if kind == "svg" else None
        canvas.savefig(stream, format=kind, dpi=150, metadata=meta)


def _drawn(figure):
    from matplotlib.figure import Figure as Canvas

    figure = drawable(figure)
    canvas = Canvas(figsize=_INCHES, layout="constrained")
    axes = canvas.add_subplot()
    lines = bool(figure.source) + bool(figure.warning)
    axes.set_title(figure.title, loc="left", fontsize=11.5, fontweight="bold",
                   pad=12 + 14 * lines)  # fmt: skip
    if not figure.series:
        axes.set_axis_off()
        axes.text(0.5, 0.5, NOTHING, ha="center", va="center", transform=axes.transAxes)
        return canvas
    (_bars if figure.kind == "bars" else _lines)(axes, figure)
    across = figure.kind == "bars"
    axes.grid(True, axis="x" if across else "y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if figure.source:
        _line(axes, f"Measured on {figure.source}", 13, color="#666666")
    if figure.warning:
        # The reasons are too long for a picture; that there are some must not be lost with a page.
        _line(axes, "The machine was not quiet: too noisy to tell", 13 * lines, color=_WARNING,
              fontweight="bold")  # fmt: skip
    if sum(not series.labelled for series in figure.series) > 1:
        # Below the axes, so that it never covers a point.
        canvas.legend(
            *axes.get_legend_handles_labels(), loc="outside lower center",
            ncols=min(2, len(figure.series)), frameon=False, fontsize=9,
        )  # fmt: skip
    return canvas


def _line(axes, text, height, **style):
    """A line of text between the title and the axes."""
    axes.annotate(text, (0, 1), xycoords="axes fraction", xytext=(0, height),
                  textcoords="offset points", fontsize=8.5, **style)  # fmt: skip


def _color(series, number):
    return COLORS[(number if series.color is None else series.color) % len(COLORS)]


def _lines(axes, figure):
    for number, series in enumerate(figure.series):
        color = _color(series, number)
        marked = series.style in ("line", "dots") and not series.labelled
        marker = _MARKERS[number % len(_MARKERS)] if marked else ""
        dots = series.style == "dots"
        axes.plot(
            series.x, series.y, linestyle=_STYLES[series.style], color=color,
            label="_nolegend_" if series.labelled else series.name, marker=marker,
            markersize=7 if dots else 4, linewidth=1.8 if series.style == "line" else 1.4,
            zorder=4 if dots else 3, markeredgecolor="white", markeredgewidth=0.6 if dots else 0,
        )  # fmt: skip
        if series.low is not None and series.high is not None:
            axes.fill_between(series.x, series.low, series.high, color=color, alpha=0.18, lw=0)
    for name in ("x", "y"):
        _scale(axes, figure, name)
    axes.set_xlabel(figure.x.label)
    axes.set_ylabel(figure.y.label)
    _names(axes, figure)
    _marks(axes, figure)


def _names(axes, figure):
    """Names at the left ends of their lines, where the axis is given room for them."""
    named = sorted((s for s in figure.series if s.labelled), key=lambda s: s.y[0])
    if not named:
        return
    low, high = axes.get_xlim()
    axes.set_xlim(low / (high / low) ** 0.28 if figure.x.scale != "linear" else
                  low - 0.28 * (high - low), high)  # fmt: skip
    if figure.x.scale != "linear":
        _scale(axes, figure, "x")
    to_axes = axes.transData + axes.transAxes.inverted()
    below = -1.0
    for series in named:
        height = to_axes.transform((series.x[0], series.y[0]))[1]
        below = max(height, below + 0.05)
        axes.annotate(
            series.name, (series.x[0], below), xycoords=("data", "axes fraction"), xytext=(-4, 0),
            textcoords="offset points", fontsize=8.5, ha="right", va="center", color="#444444",
        )  # fmt: skip


def _scale(axes, figure, name):
    axis = figure.x if name == "x" else figure.y
    place = axes.xaxis if name == "x" else axes.yaxis
    if axis.scale == "linear":
        if name == "y":
            axes.set_ylim(bottom=0)
        if axis.unit:
            place.set_major_formatter(
                lambda value, position: shown(value, axis.unit) if value else "0"
            )
        elif all(float(x).is_integer() for line in axes.lines for x in line.get_xdata()):
            if name == "x":
                place.get_major_locator().set_params(integer=True)
        return
    (axes.set_xscale if name == "x" else axes.set_yscale)(
        "log", base=2 if axis.scale == "log2" else 10
    )
    low, high = axes.get_xlim() if name == "x" else axes.get_ylim()
    values, texts = ticks(axis, low, high)
    points = few_points(figure) if name == "x" else None
    if points:
        values, texts = points, [shown(value, axis.unit) for value in points]
    place.set_ticks(values, texts)
    place.set_ticks([], minor=True)
    (axes.set_xlim if name == "x" else axes.set_ylim)(low, high)


def _marks(axes, figure):
    # Labels stand beside their lines at the top, where the figure is given room for them: left of
    # the first of several lines that are close together, right of the others, each one lower.
    xs = sorted((m for m in figure.marks if m.axis == "x"), key=lambda m: m.value)
    low, high = axes.get_xlim()
    to_axes = axes.transData + axes.transAxes.inverted()
    xs = [m for m in xs if low <= m.value <= high]
    places = [to_axes.transform((m.value, axes.get_ylim()[0]))[0] for m in xs]
    sides = mark_sides(places)
    _headroom(axes, figure, headroom(sides))
    for mark, at, (left, level) in zip(xs, places, sides, strict=True):
        color = "#222222" if mark.strong else "#777777"
        axes.axvline(mark.value, color=color, linewidth=1.2 if mark.strong else 0.9,
                     linestyle="-" if mark.strong else ":", zorder=2)  # fmt: skip
        axes.annotate(
            mark.label, (at, 0.99 - 0.06 * level), xycoords="axes fraction",
            xytext=(-4 if left else 4, 0), textcoords="offset points", fontsize=8.5,
            color=color, ha="right" if left else "left", va="top",
            bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.85},
            zorder=5,
        )  # fmt: skip
    for mark in figure.marks:
        if mark.axis == "y":
            color = "#222222" if mark.strong else "#777777"
            axes.axhline(mark.value, color=color, linewidth=1.2, zorder=2)
            axes.annotate(
                mark.label, (0.99, mark.value), xycoords=("axes fraction", "data"), ha="right",
                xytext=(0, 4), textcoords="offset points", fontsize=8.5, color=color,
                bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.85},
            )  # fmt: skip


def _headroom(axes, figure, share):
    low, high = axes.get_ylim()
    more = share / (1 - share)
    if figure.y.scale == "linear":
        axes.set_ylim(low, low + (high - low) * (1 + more))
    else:
        axes.set_ylim(low, high * (high / low) ** more)
        values, texts = ticks(figure.y, low, high)
        axes.yaxis.set_ticks(values, texts)
        axes.yaxis.set_ticks([], minor=True)


def _bars(axes, figure):
    names = list(dict.fromkeys(name for series in figure.series for name in series.x))
    count = len(figure.series)
    height = 0.8 / count
    for number, series in enumerate(figure.series):
        places = [names.index(name) + (number - (count - 1) / 2) * height for name in series.x]
        errors = None
        if series.low is not None and series.high is not None:
            errors = [
                [max(0.0, y - low) for y, low in zip(series.y, series.low, strict=True)],
                [max(0.0, high - y) for y, high in zip(series.y, series.high, strict=True)],
            ]
        axes.barh(places, series.y, height * 0.92, xerr=errors, label=series.name,
                  color=_color(series, number), ecolor="#444444", capsize=2)  # fmt: skip
        for place, y, far in zip(places, series.y, series.high or series.y, strict=True):
            axes.annotate(
                shown(y, figure.y.unit), (max(y, far), place), xytext=(4, 0),
                textcoords="offset points", va="center", fontsize=8.5,
            )  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    # What stands far outside of the axes cannot be drawn at all.
    marks = [mark.value for mark in figure.marks if mark.axis == "y"]
    axes.set_xlim(0, max(axes.get_xlim()[1], *marks, 0) * 1.1)
    axes.set_xlabel(figure.y.label)
    if figure.y.unit:
        axes.xaxis.set_major_formatter(
            lambda value, position: shown(value, figure.y.unit) if value else "0"
        )
    axes.tick_params(axis="y", length=0)
    for mark in figure.marks:
        if mark.axis == "y":
            axes.axvline(mark.value, color="#222222", linewidth=1.2, zorder=4)
            axes.annotate(mark.label, (mark.value, 1.0), xycoords=("data", "axes fraction"),
                          xytext=(3, 2), textcoords="offset points", fontsize=8.5)  # fmt: skip
