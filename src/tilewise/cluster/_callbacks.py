"""The bridge to scikit-learn's callbacks, which exist from version 1.9 on.

A fit is a tree of tasks. With one run the root holds the iterations; with several the root holds
the runs and each run its iterations, so that a progress bar can show both. An answer of True at
the end of a task stops the level that the task belongs to: the iterations of this run, or the
runs. Estimators without callbacks get ``NoTasks``, and the loops get no hooks at all.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    _Method = TypeVar("_Method", bound=Callable[..., Any])

    class CallbackSupportMixin:
        """scikit-learn has no types, and not in every version this class."""

    def with_callbacks(method: _Method) -> _Method: ...

else:
    try:
        from sklearn.callback import CallbackSupportMixin, with_callbacks
    except ImportError:

        class CallbackSupportMixin:
            """Stands in for scikit-learn's mixin before 1.9: it adds nothing."""

        def with_callbacks(method):
            """Call the method, from a stack as deep as scikit-learn's: warnings count frames."""

            @functools.wraps(method)
            def called(estimator, *args, **kwargs):
                return method(estimator, *args, **kwargs)

            return called


class NoTasks:
    """What a fit without callbacks reports to: nobody."""

    def begin_run(self):
        return {}

    def end_run(self, attributes):
        return False

    def finish(self):
        pass


class FitTasks:
    """Reports the tasks of one fit to the callbacks of its estimator.

    ``iteration_attributes(i, centers)`` returns what a fitted estimator needs had it stopped
    after that iteration; it is called only if some callback asks for such an estimator.
    """

    def __init__(self, estimator, X, y, sample_weight, n_runs, max_iter, iteration_attributes):
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._given = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._one_run = n_runs == 1
        self._max_iter = max_iter
        self._iteration_attributes = iteration_attributes
        self._root = self._run = estimator._init_callback_context(
            max_subtasks=max_iter if self._one_run else n_runs
        )
        self._root.call_on_fit_task_begin(**self._given)

    def begin_run(self):
        """Return the hooks that the loop of this run is to call."""
        if not self._one_run:
            self._run = self._root.subcontext(task_name="run", max_subtasks=self._max_iter)
            self._run.call_on_fit_task_begin(**self._given)
        return {
            "on_iteration_begin": self._begin_iteration,
            "on_iteration": self._end_iteration,
        }

    def _begin_iteration(self, i):
        self._iteration = self._run.subcontext(task_name="iteration")
        self._iteration.call_on_fit_task_begin(**self._given)

    def _end_iteration(self, i, centers, labels):
        return self._iteration.call_on_fit_task_end(
            **self._given,
            reconstruction_attributes=lambda: self._iteration_attributes(i, centers),
        )

    def end_run(self, attributes):
        """Return whether to go without the runs that are left."""
        if self._one_run:
            return False
        return self._run.call_on_fit_task_end(**self._given, reconstruction_attributes=attributes)

    def finish(self):
        self._root.call_on_fit_task_end(**self._given, reconstruction_attributes={})


def fit_tasks(estimator, *args, **kwargs):
    """``FitTasks`` where the estimator carries callbacks, else ``NoTasks``."""
    if getattr(estimator, "_skl_callbacks", None):
        return FitTasks(estimator, *args, **kwargs)
    return NoTasks()
