"""scikit-learn's own tests pass with tilewise's names in scikit-learn's place.

By hand, from the root of the repository, with pytest's own output::

    cd /tmp && SKLEARN_RUN_FLOAT32_TESTS=1 PYTHONPATH=<root>/tests \\
        python -m pytest -p sklearn_suite.rebind_plugin --rebind-suite k_means \\
        --pyargs sklearn.cluster.tests.test_k_means
"""

from types import FunctionType

import pytest
from sklearn_suite import rebind_plugin
from sklearn_suite.running import check_suite, run_suite
from sklearn_suite.suites import SUITES


@pytest.mark.sklearn_suite
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "seed"),
    [(name, seed) for name, suite in SUITES.items() for seed in suite.seeds if not suite.on_device],
)
def test_suite_passes(tmp_path, name, seed):
    check_suite(name, *run_suite(tmp_path, name, seed))


@pytest.mark.parametrize("name", SUITES)
def test_every_expected_failure_has_a_reason(name):
    assert all(rebind_plugin.expected_failures(SUITES[name].expected_failures).values())


def test_expected_failures_are_read(tmp_path):
    listed = tmp_path / "listed.txt"
    listed.write_text("# a comment\ntest_one[a]  # rounding\n")
    assert rebind_plugin.expected_failures(listed) == {"test_one[a]": "rounding"}
    listed.write_text("test_one[a]\n")
    with pytest.raises(ValueError, match="line 1: an expected failure needs a reason"):
        rebind_plugin.expected_failures(listed)
    assert rebind_plugin.matches("test_one[a-b]", "test_one[a-*]")
    assert not rebind_plugin.matches("test_onea", "test_one[a]")


def test_cases_are_sorted_by_what_they_refer_to():
    from sklearn.cluster.tests import test_k_means
    from sklearn.metrics import pairwise

    suite = SUITES["k_means"]
    assert rebind_plugin.classify(test_k_means.test_k_means_function, suite) == "public"
    assert rebind_plugin.classify(test_k_means.test_n_init_auto, suite) == "private-hook"
    assert rebind_plugin.classify(test_k_means.test_inertia, suite) == "unreachable"
    suite = SUITES["pairwise"]
    names = vars(pairwise)  # the test module itself knows markers that only scikit-learn has
    private = FunctionType(compile("_euclidean_distances_upcast(X)", "", "eval"), names)
    public = FunctionType(compile("euclidean_distances(X)", "", "eval"), names)
    assert rebind_plugin.classify(private, suite) == "unreachable"
    assert rebind_plugin.classify(public, suite) == "public"
