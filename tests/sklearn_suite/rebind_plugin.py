"""pytest plugin: make scikit-learn's K-Means tests import tilewise instead.

Load it with ``-p rebind_plugin`` before anything is collected: test modules bind the classes,
and parametrise over them, when they are imported. Only names in the public package
``sklearn.cluster`` are rebound; scikit-learn's private modules keep their own classes, so its
estimators that build on them go on working.

Cases are sorted by what their functions refer to:

public        only public names
private-hook  also an attribute such as ``_n_init`` that tilewise keeps for these tests
unreachable   a private helper of scikit-learn's K-Means modules; whatever the outcome, it would
              say nothing about tilewise, so the case is skipped

Which cases truly run code of tilewise is observed, not assumed. The names that tilewise does not
have yet stay scikit-learn's, and cases of theirs pass without reaching tilewise. The report says
how many.
"""

import functools
import json
from collections import Counter
from pathlib import Path

import pytest
import sklearn
import sklearn.cluster

import tilewise.cluster
from tilewise.cluster import _base, _validation

NAMES = ("KMeans", "MiniBatchKMeans", "k_means", "kmeans_plusplus")
HOOKS = {"_n_init", "_init_size", "_init_centroids"}
EXPECTED_FAILURES = Path(__file__).with_name("expected_failures.txt")

# Every entrance through which data reach tilewise's estimators and functions.
ENTRANCES = ((_validation, "check_data"), (_base.BaseKMeans, "_init_centroids"))


def expected_failures(path=EXPECTED_FAILURES):
    """Map case ids to reasons; every line is ``case id  # reason``."""
    reasons = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            case, _, reason = line.partition("  # ")
            if not reason.strip():
                raise ValueError(f"{path.name}, line {number}: an expected failure needs a reason")
            reasons[case.strip()] = reason.strip()
    return reasons


def classify(function):
    """Say whether a test function can reach tilewise, and by what."""
    names = set(function.__code__.co_names)
    for constant in function.__code__.co_consts:
        names.update(getattr(constant, "co_names", ()))  # nested functions
    for name in names:
        home = getattr(function.__globals__.get(name), "__module__", None) or ""
        if name.startswith("_") and home.startswith("sklearn.cluster._"):
            return "unreachable"
    return "private-hook" if names & HOOKS else "public"


class Rebinding:
    """One run's record: a category per case, and which cases reached tilewise."""

    def __init__(self, report):
        self.report = report
        self.rebound = [name for name in NAMES if hasattr(tilewise.cluster, name)]
        self.categories = {}
        self.outcomes = {}
        self.reached = set()
        self._current = None
        for name in self.rebound:
            setattr(sklearn.cluster, name, getattr(tilewise.cluster, name))
        for owner, name in ENTRANCES:
            setattr(owner, name, self._watched(getattr(owner, name)))

    def _watched(self, function):
        @functools.wraps(function)
        def watched(*args, **kwargs):
            self.reached.add(self._current)
            return function(*args, **kwargs)

        return watched

    def pytest_collection_modifyitems(self, items):
        reasons = expected_failures()
        for item in items:
            category = classify(item.function)
            self.categories[item.name] = category
            if category == "unreachable":
                item.add_marker(pytest.mark.skip(reason="calls scikit-learn's internals"))
            elif item.name in reasons:
                reason = reasons.pop(item.name)
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
        if reasons:
            raise pytest.UsageError(f"expected failures that are no cases: {sorted(reasons)}")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item):
        self._current = item.name
        yield
        self._current = None

    def pytest_runtest_logreport(self, report):
        name = report.nodeid.split("::", 1)[1]
        if report.when == "call" or report.outcome != "passed":
            outcome = "xfailed" if hasattr(report, "wasxfail") else report.outcome
            self.outcomes[name] = outcome

    def summary(self):
        table = {}
        for name, category in self.categories.items():
            table.setdefault(category, Counter())[self.outcomes.get(name, "not run")] += 1
        passed = {name for name, outcome in self.outcomes.items() if outcome == "passed"}
        return {
            "sklearn": sklearn.__version__,
            "rebound": self.rebound,
            "cases": len(self.categories),
            "outcomes": dict(Counter(self.outcomes.values())),
            "by_category": {category: dict(counts) for category, counts in table.items()},
            "passed_in_tilewise": len(passed & self.reached),
            "passed_in_sklearn_only": len(passed - self.reached),
            "not_passed": sorted(
                name
                for name, outcome in self.outcomes.items()
                if outcome != "passed" and self.categories[name] != "unreachable"
            ),
        }

    def pytest_terminal_summary(self, terminalreporter):
        summary = self.summary()
        write = terminalreporter.write_line
        write(f"scikit-learn {summary['sklearn']}; rebound: {', '.join(summary['rebound'])}")
        for category, counts in sorted(summary["by_category"].items()):
            counted = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
            write(f"  {category}: {counted}")
        write(
            f"  of the cases that passed, {summary['passed_in_tilewise']} ran code of tilewise "
            f"and {summary['passed_in_sklearn_only']} only scikit-learn's own"
        )
        if self.report:
            Path(self.report).write_text(json.dumps(summary, indent=2))


def pytest_addoption(parser):
    parser.addoption("--rebind-report", help="write a summary of the run to this file, as JSON")


def pytest_configure(config):
    config.pluginmanager.register(Rebinding(config.getoption("--rebind-report")))
