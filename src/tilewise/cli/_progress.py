"""What a terminal shows while work is under way. Everything goes to stderr."""

import time
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from .._text import MOST_SHOWN, printable


@contextmanager
def spinner(message, shown):
    """Show that something of unknown length runs."""
    if not shown:
        yield
        return
    with Console(stderr=True).status(escape(printable(message, MOST_SHOWN))):
        yield


@contextmanager
def bar(first, field, *fields, width=16):
    """Show a progress bar; yield it and its task.

    The bar stands between the phase, first called `first`, and a text of the task called `field`.
    The time and the texts called `fields` follow.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=width),
        TextColumn(f"{{task.fields[{field}]}}"),
        TimeElapsedColumn(),
        *(TextColumn(f"{{task.fields[{name}]}}") for name in fields),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress, progress.add_task(first, total=None, **dict.fromkeys((field, *fields), ""))


@contextmanager
def fit_progress(estimator, shown, values=None):
    """Show the iterations of a fit if the estimator reports them, else a pulse.

    The bar ends at ``max_iter``. A fit may converge before, so the time left is shown as an upper
    bound. If `values` are read in parts, it also shows rows per second and the time left in the
    pass.
    """
    if not shown:
        yield
        return
    follows = hasattr(estimator, "set_callbacks")
    with bar("seeding" if follows else "fit", "step", "remaining", "rate") as (progress, task):
        if hasattr(values, "on_read"):
            values.on_read = ReadingRate(progress, task, len(values))
        if follows:
            estimator.set_callbacks(IterationCallback(progress, task))
        try:
            yield
        finally:
            if follows:
                estimator.set_callbacks()


class ReadingRate:
    """Shows rows per second, and the time that the pass still takes.

    Parameters
    ----------
    progress : rich.progress.Progress
    task : rich.progress.TaskID
    n_rows : int
        Rows of a pass.
    """

    def __init__(self, progress, task, n_rows):
        self._progress, self._task, self._n_rows = progress, task, n_rows
        self._begin = self._updated = time.monotonic()
        self._rows = 0

    def __call__(self, first, count):
        """Count rows that were read."""
        now = time.monotonic()
        if first == 0:
            self._begin, self._rows = now, 0
            return
        self._rows += count
        if now - self._updated < 0.2 or now == self._begin:
            return
        self._updated = now
        rate = self._rows / (now - self._begin)
        left = max(0, self._n_rows - first - count) / rate if rate else 0.0
        self._progress.update(
            self._task, rate=f"{rate / 1e6:.2f} M rows/s, pass done in {left:.0f} s"
        )


class IterationCallback:
    """Draws iterations of a fit; follows scikit-learn's callback protocol.

    A task without subtasks is one iteration, and the task above it is the run. Nothing else of
    the estimator is used.

    Parameters
    ----------
    progress : rich.progress.Progress
    task : rich.progress.TaskID
    """

    def __init__(self, progress, task):
        self._progress = progress
        self._task = task
        self._run = None

    def setup(self, estimator, context):
        """Do nothing: the display exists already."""

    def teardown(self, estimator, context):
        """Do nothing: `fit_progress` removes the display."""

    def on_fit_task_begin(self, estimator, context):
        """Restart the bar at the first iteration of a run."""
        run = context.parent
        if context.max_subtasks != 0 or run is None or run is self._run:
            return
        self._run = run
        several = run.parent is not None and (run.parent.max_subtasks or 0) > 1
        self._progress.reset(
            self._task,
            total=run.max_subtasks,
            description=f"run {run.task_id + 1} of {run.parent.max_subtasks}" if several else "fit",
            step="",
            remaining="",
            rate="",
        )

    def on_fit_task_end(self, estimator, context):
        """Count an iteration."""
        if context.max_subtasks != 0 or context.parent is not self._run or self._run is None:
            return
        done, total = context.task_id + 1, self._run.max_subtasks
        step, remaining = f"iteration {done}", ""
        if total:
            elapsed = self._progress.tasks[0].elapsed or 0.0
            step += f" of at most {total}"
            remaining = f"at most {elapsed / done * (total - done):.0f} s left"
        self._progress.update(self._task, completed=done, step=step, remaining=remaining)
