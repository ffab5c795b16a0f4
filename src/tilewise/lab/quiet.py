"""Was the machine quiet enough for a conclusion? If not, figures stay and conclusions go.

What enters: the load that `_load.Meter` found, or a whole result. What leaves: reasons in words,
and tables and figures without what a busy machine cannot tell.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from tilewise._text import counted

from .figures import Conclusion, Figure, Table

__all__ = ["LIMITS", "TOO_NOISY", "careful", "headline", "judged", "noise"]

#: What stands where a conclusion would.
TOO_NOISY = "too noisy to tell"

#: Above these a machine is not quiet: the share of the CPUs that other processes use, the share of
#: the wanted CPU time that the hypervisor takes, the distance between the quartiles of a fixed
#: piece of work over its median, and the load average over the number of CPUs.
#:
#: They were measured: a pass of 1 ms was timed against itself on 2 CPUs, medians of five samples
#: against medians of the five after them, 56 times for a second, with neighbours of every weight.
#: Where others had 4 to 7 % of the CPUs, half of all ratios, which should be 1, were off by 5 to
#: 10 % and a tenth by 13 to 26 %; where they had half, a tenth was off by up to 50 %. So from 5 %
#: on a difference of 5 % says nothing, and `tune` keeps what is 5 % faster. What a hypervisor takes
#: is lost like that. In the same runs the fixed piece of work spread by 6 to 38 %, by 15 % in the
#: middle. A load average counts this user's own last minute, so only what cannot be that counts.
LIMITS = {"others": 0.05, "stolen": 0.05, "spread": 0.15, "load": 1.0}
# Fewer repetitions than this have no quartiles worth a name.
_FEWEST_CALIBRATIONS = 8


def judged(load: dict[str, Any]) -> tuple[bool | None, list[str]]:
    """Whether a machine was quiet, and if not, why not.

    Parameters
    ----------
    load : dict
        As `_load.Meter.facts` returns it.

    Returns
    -------
    quiet : bool or None
        None where the system tells nothing of others and too few calibrations were made.
    reasons : list of str
        Empty unless `quiet` is False.

    Examples
    --------
    >>> from tilewise.lab.quiet import judged
    >>> judged({"cpus": 2, "during": {"others": 0.02, "stolen": 0.0}})
    (True, [])
    >>> judged({"cpus": 2, "during": {"others": 0.63, "stolen": 0.0}})[1]
    ['other processes used 63 % of 2 CPUs while it was measured (up to 5 % is quiet)']
    """
    known, reasons = False, []
    cpus = load.get("cpus") or 1
    on = counted(cpus, "CPU")
    for name, told in (
        ("others", f"other processes used {{}} of {on}"),
        ("stolen", "the hypervisor took {} of the CPU time that was wanted"),
    ):
        # The worse of the two moments says enough.
        share, when = max(_shares(load, name), default=(None, ""))
        known |= share is not None
        if share is not None and share > LIMITS[name]:
            reasons.append(
                f"{told.format(_percent(share))} {when} it was measured "
                f"(up to {_percent(LIMITS[name])} is quiet)"
            )
    average = (load.get("before") or {}).get("load_average")
    if not known and average is not None:
        known = True
        reasons += _of_average(average, cpus)
    calibration = load.get("calibration") or {}
    count, spread = calibration.get("count") or 0, calibration.get("spread")
    if count >= _FEWEST_CALIBRATIONS and spread is not None:
        known = True
        if spread > LIMITS["spread"]:
            reasons.append(
                f"a fixed piece of work varied by {_percent(spread)} between the quartiles of "
                f"{count} repetitions (up to {_percent(LIMITS['spread'])} is quiet)"
            )
    return (not reasons if known else None), reasons


def _shares(load, name):
    for span, when in (("before", "before"), ("during", "while")):
        share = (load.get(span) or {}).get(name)
        if share is not None:
            yield share, when


def _of_average(average, cpus):
    if average <= LIMITS["load"] * cpus:
        return []
    return [f"the load average was {average:.1f} on {counted(cpus, 'CPU')} when it began"]


def _percent(share):
    return f"{100 * share:.0f} %"


def noise(result: dict[str, Any]) -> list[str]:
    """Why the machine of a result was not quiet; empty where it was or nothing says so.

    Parameters
    ----------
    result : dict
        Of `perform` or of a file. Results of earlier versions know the load average before the
        run and no more.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from tilewise.lab.quiet import noise
    >>> noise({"quiet": False, "noise": ["others were at work"]})
    ['others were at work']
    """
    if result.get("quiet") is False:
        return list(result.get("noise") or ["the result says that its machine was not quiet"])
    if "quiet" in result:
        return []
    try:
        average = float(result["machine"]["load_before"])
        cpus = int(result["machine"]["facts"]["n_cpus"]["value"])
    except (LookupError, TypeError, ValueError, OverflowError):
        return []  # it says nothing, or is no whole result
    return _of_average(average, cpus)


def headline(reasons: list[str]) -> str:
    """What stands above everything else where a machine was not quiet.

    Parameters
    ----------
    reasons : list of str
        From `noise` or `judged`.

    Returns
    -------
    str
        Empty without reasons.

    Examples
    --------
    >>> from tilewise.lab.quiet import headline
    >>> headline(["others were at work"])
    'Too noisy to tell: others were at work. Measure again on a quiet machine.'
    """
    if not reasons:
        return ""
    return f"Too noisy to tell: {'; '.join(reasons)}. Measure again on a quiet machine."


_Maker = TypeVar("_Maker", bound=Callable[[dict[str, Any]], Any])


def careful(make: _Maker) -> _Maker:
    """Let a table or figures draw no conclusion where the machine was not quiet.

    Parameters
    ----------
    make : callable
        Takes a result; returns a `Table` or a list of figures.

    Returns
    -------
    callable
        The same; of a noisy result its table says `TOO_NOISY` in the columns that compare, and
        its figures have a warning and no `Conclusion` among their words and marks.
    """

    @functools.wraps(make)
    def made(result):
        """Make it, and take out what cannot be concluded."""
        found = make(result)
        reasons = noise(result)
        if not reasons:
            return found
        if isinstance(found, Table):
            return _careful_table(found)
        return [_careful_figure(figure, reasons) for figure in found]

    return made


def _careful_table(table: Table) -> Table:
    rows = [
        [TOO_NOISY if cell and at in table.concluded else cell for at, cell in enumerate(row)]
        for row in table.rows
    ]
    return replace(table, rows=rows, notes=_without_conclusions(table.notes))


def _careful_figure(figure: Figure, reasons) -> Figure:
    if not figure.timed:
        return figure
    return replace(
        figure, warning=headline(reasons), words=_without_conclusions(figure.words),
        marks=[mark for mark in figure.marks if not mark.concluded],
    )  # fmt: skip


def _without_conclusions(words):
    return [word for word in words if not isinstance(word, Conclusion)]
