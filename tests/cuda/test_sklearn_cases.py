"""scikit-learn's own cases of K-Means, with rows that are moved to the device.

A GPU runs all of them. Through the interpreter that would take an hour: there, some of few rows.
"""

import pytest
import sklearn
from device_cases import ON_GPU
from sklearn_suite.running import check_suite, run_suite

NAME = "k_means on a device"
FEW = (
    "relocated or relocating_with_duplicates or kmeans_results or (integer_input and ndarray) "
    "or weight_unchanged or array_like_or_np_scalar_init or elkan_1_cluster or fortran_aligned "
    "or copyx or score_max_iter or minibatch_kmeans_verbose or warning or transform or iter_steps "
    "or (partial_fit_init and ndarray) or declared_convergence"
)


@pytest.mark.sklearn_suite
@pytest.mark.skipif(not ON_GPU, reason="takes an hour through Triton's interpreter")
def test_all_cases(tmp_path):
    check_suite(NAME, *run_suite(tmp_path, NAME, 42))


@pytest.mark.sklearn_suite
@pytest.mark.skipif(ON_GPU, reason="a GPU runs all cases")
def test_cases_of_few_rows(tmp_path):
    status, summary, output = run_suite(tmp_path, NAME, 42, "-k", f"({FEW}) and not sparse")
    assert status == 0, output
    assert summary["outcomes"] == {"passed": summary["passed_in_tilewise"]}
    if sklearn.__version__.startswith("1.9."):
        assert summary["outcomes"]["passed"] == 35
