"""scikit-learn's own test_k_means.py passes with tilewise's names in scikit-learn's place.

By hand, from the root of the repository, with pytest's own output::

    cd /tmp && SKLEARN_RUN_FLOAT32_TESTS=1 PYTHONPATH=<root>/tests/sklearn_suite \\
        python -m pytest -p rebind_plugin --pyargs sklearn.cluster.tests.test_k_means
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sklearn
from sklearn_suite import rebind_plugin

HERE = Path(__file__).parent
IN_1_9 = {"cases": 282, "unreachable": 15, "passed": 267}


def run_suite(folder, seed):
    """Run the suite in a process and an empty folder of its own; return its summary."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), *(entry for entry in sys.path if entry)]),
        "SKLEARN_RUN_FLOAT32_TESTS": "1",
        "SKLEARN_TESTS_GLOBAL_RANDOM_SEED": str(seed),
    }
    report = folder / "report.json"
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-c", "pytest.ini"),
            *("-p", "no:cacheprovider", "-p", "rebind_plugin"),
            *("--rebind-report", str(report)),
            *("--pyargs", "sklearn.cluster.tests.test_k_means"),
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


@pytest.mark.sklearn_suite
@pytest.mark.slow
@pytest.mark.parametrize("seed", [42, 0, 7])
def test_suite_passes(tmp_path, seed):
    status, summary, output = run_suite(tmp_path, seed)
    assert status == 0, output
    assert summary["not_passed"] == []
    assert {"KMeans", "k_means", "kmeans_plusplus"} <= set(summary["rebound"])
    # Two thirds of the reachable cases need no MiniBatchKMeans; far fewer would mean that the
    # rebinding no longer works.
    assert summary["passed_in_tilewise"] > summary["passed_in_sklearn_only"]
    assert summary["by_category"]["private-hook"]["passed"] > 0
    if sklearn.__version__.startswith("1.9."):
        assert summary["cases"] == IN_1_9["cases"]
        assert summary["by_category"]["unreachable"] == {"skipped": IN_1_9["unreachable"]}
        assert summary["outcomes"]["passed"] == IN_1_9["passed"]


def test_every_expected_failure_has_a_reason(tmp_path):
    assert all(rebind_plugin.expected_failures().values())
    listed = tmp_path / "listed.txt"
    listed.write_text("# a comment\ntest_one[a]  # rounding\n")
    assert rebind_plugin.expected_failures(listed) == {"test_one[a]": "rounding"}
    listed.write_text("test_one[a]\n")
    with pytest.raises(ValueError, match="line 1: an expected failure needs a reason"):
        rebind_plugin.expected_failures(listed)


def test_cases_are_sorted_by_what_they_refer_to():
    from sklearn.cluster.tests import test_k_means as suite

    assert rebind_plugin.classify(suite.test_k_means_function) == "public"
    assert rebind_plugin.classify(suite.test_n_init_auto) == "private-hook"
    assert rebind_plugin.classify(suite.test_inertia) == "unreachable"
