"""pytest plugin: make a test module of scikit-learn import tilewise instead.

Load it with ``-p sklearn_suite.rebind_plugin --rebind-suite NAME`` before anything is collected:
test modules bind the names, and parametrise over them, when they are imported. What is rebound,
and where, stands in `suites`.

Cases are sorted by what their functions refer to:

public        only public names
private-hook  also an attribute such as ``_n_init`` that tilewise keeps for these tests
unreachable   a private helper of scikit-learn, or something that tilewise does not offer;
              whatever the outcome, it would say nothing about tilewise, so the case is skipped

Which cases truly run code of tilewise is observed, not assumed: a case may use names that
tilewise does not have, or go to scikit-learn as tilewise's fallback. The report says how many.
"""

import fnmatch
import functools
import json
from collections import Counter
from pathlib import Path

import pytest
import sklearn
from sklearn_suite.suites import SUITES


def expected_failures(path):
    """Map case ids to reasons; every line is ``case id  # reason``. A * stands for anything."""
    reasons = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            case, _, reason = line.partition("  # ")
            if not reason.strip():
                raise ValueError(f"{path.name}, line {number}: an expected failure needs a reason")
            reasons[case.strip()] = reason.strip()
    return reasons


def matches(case, pattern):
    """Whether the id of a case is what a line of the file means; brackets mean themselves."""
    return fnmatch.fnmatchcase(case, pattern.replace("[", "[[]"))


def classify(function, suite):
    """Say whether a test function can reach tilewise, and by what."""
    names = set(function.__code__.co_names)
    for constant in function.__code__.co_consts:
        names.update(getattr(constant, "co_names", ()))  # nested functions
    if function.__name__ in suite.unreachable:
        return "unreachable"
    for name in names:
        home = getattr(function.__globals__.get(name), "__module__", None) or ""
        if name.startswith("_") and home.startswith(suite.private):
            return "unreachable"
    return "private-hook" if names & suite.hooks else "public"


class Rebinding:
    """One run's record: a category per case, and which cases reached tilewise."""

    def __init__(self, suite, report):
        self.suite, self.report = suite, report
        self.rebound = suite.rebind()
        self.categories = {}
        self.outcomes = {}
        self.reached = set()
        self._current = None
        for owner, name in suite.entrances:
            setattr(owner, name, self._watched(getattr(owner, name)))

    def _watched(self, function):
        @functools.wraps(function)
        def watched(*args, **kwargs):
            self.reached.add(self._current)
            return function(*args, **kwargs)

        return watched

    def pytest_collection_modifyitems(self, items):
        reasons = expected_failures(self.suite.expected_failures)
        unused = set(reasons)
        for item in items:
            category = classify(item.function, self.suite)
            self.categories[item.name] = category
            if category == "unreachable":
                item.add_marker(pytest.mark.skip(reason="says nothing about tilewise"))
                continue
            for pattern, reason in reasons.items():
                if matches(item.name, pattern):
                    unused.discard(pattern)
                    item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
        if unused:
            raise pytest.UsageError(f"expected failures that are no cases: {sorted(unused)}")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item):
        self._current = item.name
        yield
        self._current = None

    def pytest_runtest_logreport(self, report):
        name = report.nodeid.split("::", 1)[1]
        if report.when == "call" or report.outcome != "passed":
            outcome = report.outcome
            if hasattr(report, "wasxfail"):
                # A case that scikit-learn itself marks may pass here.
                outcome = "passed" if outcome == "passed" else "xfailed"
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
    parser.addoption("--rebind-suite", choices=sorted(SUITES), help="which names to rebind")
    parser.addoption("--rebind-report", help="write a summary of the run to this file, as JSON")


def pytest_configure(config):
    suite = SUITES[config.getoption("--rebind-suite")]
    config.pluginmanager.register(Rebinding(suite, config.getoption("--rebind-report")))
