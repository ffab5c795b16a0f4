"""Figures as PNG or SVG: what `charts` describes, drawn with matplotlib (extra ``lab``)."""

import html
from typing import BinaryIO

from .charts import chart
from .figures import NOTHING, Figure

__all__ = ["write"]

# Narrow, so that the words can still be read where a page is as wide as a phone.
_INCHES = (6.4, 4.4)
_DASHES = {"solid": "-", "dash": "--", "dot": ":", "longdashdot": "-."}
_MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^",
            "triangle-down": "v", "cross": "P"}  # fmt: skip
_COLORS = {"@ink": "#222222", "@muted": "#777777"}
# Beside the point that they name.
_ACROSS, _UP = {"left": "right", "right": "left"}, {"middle": "center", "top": "bottom"}
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

    made, bars = chart(figure), figure.kind == "bars"
    data, layout = made["data"], made["layout"]
    canvas = Canvas(figsize=_INCHES, layout="constrained")
    axes = canvas.add_subplot()
    lines = bool(figure.source) + bool(figure.warning)
    axes.set_title(figure.title, loc="left", fontsize=11.5, fontweight="bold",
                   pad=12 + 14 * lines)  # fmt: skip
    if not data:
        axes.set_axis_off()
        axes.text(0.5, 0.5, NOTHING, ha="center", va="center", transform=axes.transAxes)
        return canvas
    _scale(axes, "x", layout["xaxis"])
    if bars:
        _bars(axes, data, layout["yaxis"]["categoryarray"])
    else:
        _scale(axes, "y", layout["yaxis"])
        for trace in data:
            _scatter(axes, trace)
    axes.grid(True, axis="x" if bars else "y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if figure.source:
        _line(axes, f"Measured on {figure.source}", 13, color="#666666")
    if figure.warning:
        # The reasons are too long for a picture; that there are some must not be lost with a page.
        _line(axes, "The machine was busy: too noisy to tell", 13 * lines, color=_WARNING,
              fontweight="bold")  # fmt: skip
    if layout["showlegend"]:
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


def _plain(text):
    return html.unescape(text.replace("<br>", "\n"))


def _color(told):
    return _COLORS.get(told, told)


def _scale(axes, name, told):
    place = axes.xaxis if name == "x" else axes.yaxis
    place.set_label_text(told["title"]["text"])
    low, high = told["range"]
    if told.get("type") == "log":
        (axes.set_xscale if name == "x" else axes.set_yscale)("log")
        low, high = 10.0**low, 10.0**high
    (axes.set_xlim if name == "x" else axes.set_ylim)(low, high)
    if "tickvals" in told:
        place.set_ticks(told["tickvals"], told["ticktext"])
        place.set_ticks([], minor=True)
    elif "dtick" in told:
        place.get_major_locator().set_params(integer=True)


def _scatter(axes, trace):
    x, y = trace["x"], trace["y"]
    if trace.get("fill"):
        axes.fill(x, y, color=trace["fillcolor"], linewidth=0)
        return
    if trace["mode"] == "text":
        up, side = trace["textposition"].split()
        axes.annotate(
            _plain(trace["text"][0]), (x[0], y[0]), fontsize=8.5, va=_UP[up], ha=_ACROSS[side],
            color=_color(trace["textfont"]["color"]), zorder=5, annotation_clip=False,
            bbox={"boxstyle": "square,pad=0.05", "fc": "white", "ec": "none", "alpha": 0.7},
        )  # fmt: skip
        return
    line, mark = trace["line"], trace.get("marker", {})
    symbol = mark.get("symbol", "circle")
    dots = trace["mode"] == "markers"
    axes.plot(
        x, y, color=_color(line["color"]), linewidth=0.9 * line["width"],
        linestyle="None" if dots else _DASHES[line.get("dash", "solid")],
        label=_plain(trace["name"]) if trace.get("showlegend", True) else "_nolegend_",
        marker=_MARKERS[symbol.removesuffix("-open")] if "markers" in trace["mode"] else "",
        markersize=0.7 * mark.get("size", 6), zorder=4 if dots else 3,
        **({"markerfacecolor": "white"} if symbol.endswith("-open") else {}),
    )  # fmt: skip


def _bars(axes, data, names):
    bars = [trace for trace in data if trace["type"] == "bar"]
    height = 0.8 / len(bars)
    for number, trace in enumerate(bars):
        shift = (number - (len(bars) - 1) / 2) * height
        places = [names.index(name) + shift for name in trace["y"]]
        spread = trace.get("error_x", {"array": [0.0] * len(places)})
        errors = [spread["arrayminus"], spread["array"]] if "error_x" in trace else None
        axes.barh(places, trace["x"], height * 0.92, xerr=errors, label=_plain(trace["name"]),
                  color=trace["marker"]["color"], ecolor="#444444", capsize=2)  # fmt: skip
        for place, x, more, text in zip(places, trace["x"], spread["array"], trace["text"],
                                        strict=True):  # fmt: skip
            axes.annotate(text.strip(), (x + more, place), xytext=(4, 0), va="center",
                          textcoords="offset points", fontsize=8.5)  # fmt: skip
    axes.set_yticks(range(len(names)), map(_plain, names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    for trace in data:
        if trace["type"] == "scatter":
            x = trace["x"][0]
            axes.axvline(x, color=_color(trace["line"]["color"]), linewidth=1.2, zorder=4)
            axes.annotate(_plain(trace["name"]), (x, 1.0), xycoords=("data", "axes fraction"),
                          xytext=(3, 2), textcoords="offset points", fontsize=8.5)  # fmt: skip
