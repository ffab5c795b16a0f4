"""What the benchmarks of distances say is checked: the checks themselves, adapters, tables."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.distance import cdist


@pytest.fixture
def case(bench):
    return bench.pair_suites.Pairs(30, 40, 5, dtypes=("float64",))


def near(case, k):
    return dataclasses.replace(case, task="argkmin", n_neighbors=k)


def nearest(X, Y, k):
    distances = cdist(X, Y)
    indices = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, indices, axis=1), indices


def test_matrix_check_sees_a_wrong_distance(bench, case):
    X, Y = case.rows("float64")
    check = bench.pair_suites.MatrixCheck(case, X, Y)
    matrix = cdist(X, Y)
    assert check(matrix, squared=False) == {"checked": 1200, "relative_error": 0.0}
    assert check(matrix**2, squared=True)["relative_error"] < 1e-15
    matrix[17, 23] *= 1.25
    assert check(matrix, squared=False)["relative_error"] == pytest.approx(0.25)
    matrix[17, 23] = np.nan
    assert check(matrix, squared=False)["relative_error"] > 1e300


def test_manhattan_is_checked_as_such_and_never_as_squares(bench, case):
    case = dataclasses.replace(case, task="manhattan")
    X, Y = case.rows("float64")
    check = bench.pair_suites.MatrixCheck(case, X, Y)
    assert check(cdist(X, Y, "cityblock"), squared=True)["relative_error"] == 0.0
    assert check(cdist(X, Y), squared=False)["relative_error"] > 0.1


def test_a_distance_of_zero_allows_no_error(bench):
    assert bench.pair_suites.relative_error([0.0, 2.0], [0.0, 2.0]) == 0.0
    assert bench.pair_suites.relative_error([1e-300, 2.0], [0.0, 2.0]) > 1e300


@pytest.mark.parametrize("squared", [False, True])
def test_neighbor_check_counts_wrong_ones(bench, case, squared):
    X, Y = case.rows("float64")
    check = bench.pair_suites.NeighborCheck(near(case, 3), X, Y)
    distances, indices = nearest(X, Y, 3)
    told = distances**2 if squared else distances
    right = check((told, indices), squared)
    assert right["wrong_neighbors"] == 0
    assert right["checked"] == 90
    assert right["relative_error"] < 1e-15
    # Two in the wrong order are both in the wrong place.
    indices[7, :2] = indices[7, 1::-1]
    assert check((told, indices), squared)["wrong_neighbors"] == 2


def test_either_of_two_equal_neighbors_is_right(bench, case):
    X, Y = case.rows("float64")
    Y[39] = Y[nearest(X, Y, 1)[1][0, 0]]
    check = bench.pair_suites.NeighborCheck(near(case, 1), X, Y)
    distances, indices = nearest(X, Y, 1)
    assert indices[0, 0] != 39
    indices[0, 0] = 39
    assert check((distances, indices), False)["wrong_neighbors"] == 0


# How far off the libraries may be: scikit-learn expands squares, which cancels.
DENSE = {"tilewise": 1e-15, "scikit-learn": 1e-7, "scipy cdist": 1e-15}
SPARSE = {"tilewise": 1e-14, "scikit-learn": 1e-7}


@pytest.mark.parametrize("density", [None, 0.8])
@pytest.mark.parametrize(
    ("task", "n_neighbors"),
    [("euclidean", None), ("manhattan", None), ("argmin_min", None), ("argkmin", 4)],
)
def test_adapters_do_the_task(bench, loaded, case, task, n_neighbors, density):
    case = dataclasses.replace(case, task=task, n_neighbors=n_neighbors, density=density)
    suites = bench.pair_suites
    X, Y = case.rows("float64")
    check = (suites.NeighborCheck if task.startswith("arg") else suites.MatrixCheck)(case, X, Y)
    allowed = {
        name: error
        for name, error in (DENSE if density is None else SPARSE).items()
        if name != "scipy cdist" or not task.startswith("arg")
    }
    able = {n for n, p in loaded.items() if p.supports(task, "float64", density is not None)}
    assert able == set(allowed)
    for name, error in allowed.items():
        told = check(case.call(loaded[name], X, Y)(), loaded[name].squared)
        assert told["relative_error"] <= error, name
        assert told.get("wrong_neighbors", 0) == 0, name


def run_of(bench, *peers, **more):
    return bench.running.Run(list(peers), rounds=1, dtypes=("float32",), **more)


def test_a_suite_measures_and_checks_every_task(bench, loaded):
    run = run_of(bench, *loaded.values(), shapes=("30x20x4",))
    records = [
        record
        for name in ("pairwise", "knn", "manhattan", "store", "csr")
        for record in bench.pair_suites.SUITES[name](run)
    ]
    # Four tasks of knn less the hundred nearest of twenty; two densities of csr.
    assert len(records) == 1 + 3 + 1 + 1 + 7
    for record in records:
        for told in record["peers"].values():
            assert told["median"] > 0
            assert told["relative_error"] < 1e-5
    assert [sorted(record["peers"]) for record in records[:2]] == [
        ["scikit-learn", "scipy cdist", "tilewise"],
        ["scikit-learn", "tilewise"],
    ]


def test_peak_memory_in_a_fresh_process(bench):
    if not bench.memory.CLEAR_REFS.exists():
        pytest.skip("this system does not tell peaks")
    small, large = (
        bench.memory.extra_bytes("scikit-learn", task, sizes, "float32")
        for task, sizes in (("argmin_min", (2_000, 2_000, 4)), ("argkmin", (2_000, 2_000, 4, 5)))
    )
    assert 0 <= small < 2**30
    assert 0 <= large < 2**30


def test_only_known_shapes_unless_others_are_allowed(bench):
    suites = bench.pair_suites
    run = run_of(bench, shapes=("5000x5000x16", "7x6x5"))
    assert [case.shape() for case, _ in run.cases(suites.MATRIX)] == ["5000x5000x16"]
    both = [case.shape() for case, _ in run.cases(suites.MATRIX, suites.MATRIX[:1])]
    assert both == ["5000x5000x16", "7x6x5"]
    kinds = {case.task for case, _ in run.cases(suites.CSR, suites.CSR) if case.n_x == 7}
    assert kinds == {"euclidean", "argmin_min", "argkmin", "manhattan"}


def test_quick_cases_are_small_in_both_directions(bench):
    for table in (bench.pair_suites.NEAREST, bench.pair_suites.FULL):
        for case, _ in run_of(bench, quick=True).cases(table):
            assert case.n_x * case.n_y <= 200_000 * 20_000


def record(case, **peers):
    about = {k: v for k, v in dataclasses.asdict(case).items() if k != "dtypes"}
    return {"case": about | {"dtype": "float32"}, "unit": "s", "peers": peers}


def timed(seconds, **more):
    return {"median": seconds, "min": seconds, "max": seconds, "samples": [seconds]} | more


def result(records, suite):
    names = {name for one in records for name in one["peers"]}
    return {
        "peers": {name: {"note": "", "pairs_note": f"{name} is odd"} for name in sorted(names)},
        "machine": {"peaks": {"2": {"store_gbs": {"plain": 5.0, "streaming": 10.0}}}},
        "records": [one | {"suite": suite} for one in records],
    }


def test_table_of_neighbors(bench, case):
    told = record(
        near(case, 10),
        tilewise=timed(0.001, relative_error=1e-8, wrong_neighbors=0, checked=300),
        faiss=timed(0.002, relative_error=3e-4, wrong_neighbors=6, checked=300),
        **{"scikit-learn": timed(0.008, relative_error=1e-8, wrong_neighbors=0, checked=300)},
    )
    faster = record(near(case, 10), tilewise=timed(1.0), faiss=timed(8.0))
    slower = record(near(case, 10), tilewise=timed(1.0), faiss=timed(0.5))
    table = bench.report.suite_table(result([told, faster, slower], "knn"), "knn")
    assert "n × m × d" in table
    assert "overlapping blobs, 10 nearest | 30 × 40 × 5" in table
    assert "2.00 ms (2.00% wrong) (3e-04)" in table
    assert "1.00 ms (1e-08)" in table
    mean = next(line for line in table.splitlines() if line.startswith("| 10 nearest"))
    assert [cell.strip() for cell in mean.split("|")[4:-1]] == ["2.00× (0.50×)", "8.00× (8.00×)"]
    assert "faiss: faiss is odd" in table


def test_table_of_stores_has_the_share_of_the_faster_kind(bench, case):
    told = record(case, tilewise=timed(0.5, relative_error=0.0)) | {"bytes": 4 * 10**9}
    assert bench.report.suite_table(result([told], "store"), "store").count("80%") == 1


def test_table_of_memory_has_all_sizes(bench, case):
    told = record(case, tilewise={"extra_bytes": [2**20, 2**21, 2**21]})
    told |= {"unit": "bytes", "n_rows": [1, 2, 4]}
    table = bench.report.suite_table(result([told], "pair-memory"), "pair-memory")
    assert "1.0 / 2.0 / 2.0 MiB" in table


def test_every_suite_has_a_title_and_every_title_a_suite(bench):
    assert set(bench.report.TITLES) == set(bench.suites.SUITES) - {"machine"}
