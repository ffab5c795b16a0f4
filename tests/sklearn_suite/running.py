"""One test module of scikit-learn, run against tilewise in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import sklearn
from sklearn_suite import rebind_plugin
from sklearn_suite.suites import SUITES

TESTS = Path(__file__).parents[1]


def run_suite(folder, name, seed, *options):
    """Run the suite in a process and an empty folder of its own; return its summary."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TESTS), *(entry for entry in sys.path if entry)]),
        "SKLEARN_RUN_FLOAT32_TESTS": "1",
        "SKLEARN_TESTS_GLOBAL_RANDOM_SEED": str(seed),
    }
    report = folder / "report.json"
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-c", "pytest.ini"),
            *("-p", "no:cacheprovider", "-p", "sklearn_suite.rebind_plugin"),
            *("--rebind-suite", name, "--rebind-report", str(report)),
            *("--pyargs", SUITES[name].module, *options),
        ],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    output = finished.stdout + finished.stderr
    assert report.exists(), output
    print(output)
    return finished.returncode, json.loads(report.read_text()), output


def check_suite(name, status, summary, output):
    """Check that a whole suite did what it is known to do."""
    suite = SUITES[name]
    assert status == 0, output
    listed = rebind_plugin.expected_failures(suite.expected_failures)
    unlisted = [
        case
        for case in summary["not_passed"]
        if not any(rebind_plugin.matches(case, pattern) for pattern in listed)
    ]
    assert unlisted == []
    assert set(suite.rebound) <= set(summary["rebound"])
    # Far fewer would mean that the rebinding no longer works.
    assert summary["passed_in_tilewise"] > summary["passed_in_sklearn_only"]
    if suite.hooks:
        assert summary["by_category"]["private-hook"]["passed"] > 0
    if sklearn.__version__.startswith("1.9."):
        assert summary["by_category"]["unreachable"] == {"skipped": suite.unreachable_cases}
        assert summary["outcomes"]["passed"] == suite.passed
        assert summary["passed_in_tilewise"] >= suite.least_in_tilewise
