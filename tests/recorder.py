"""A callback that remembers what it is told, where scikit-learn has callbacks."""

import pytest
import sklearn
from sklearn.utils.fixes import parse_version

HAS_CALLBACKS = parse_version(sklearn.__version__) >= parse_version("1.9")
needs_callbacks = pytest.mark.skipif(not HAS_CALLBACKS, reason="scikit-learn before 1.9")


class Recorder:
    """Writes down the hooks that are called; stops the tasks of the given name."""

    def __init__(self, stop=None, stop_at=0):
        self.stop, self.stop_at = stop, stop_at
        self.events = []
        self.models = []
        self.given = []

    def setup(self, estimator, context):
        self.events.append(("setup", context.task_name, context.task_id))
        self.max_subtasks = context.max_subtasks

    def teardown(self, estimator, context):
        self.events.append(("teardown", context.task_name, context.task_id))

    def on_fit_task_begin(self, estimator, context):
        self.events.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.events.append(("end", context.task_name, context.task_id))
        self.models.append((context.task_name, fitted_estimator))
        self.given.append((X, y, metadata))
        return context.task_name == self.stop and context.task_id == self.stop_at

    def named(self, name, event="end"):
        return [task for kind, task_name, task in self.events if (kind, task_name) == (event, name)]
