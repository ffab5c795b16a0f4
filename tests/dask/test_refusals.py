"""What is refused at the call, and what errors of tasks say of their partition."""

import numpy as np
import pytest
import scipy.sparse as sp
from dask_cases import (
    CALLS,
    COLUMNS,
    KINDS,
    ROWS,
    array_of,
    check,
    dask,
    dd,
    delayed_of,
    frame_of,
    one_norm,
    pd,
    rows_x,
    rows_y,
    tw,
    unknown,
)


@pytest.fixture
def X():
    return rows_x()


@pytest.fixture
def Y():
    return rows_y()


@pytest.fixture(autouse=True)
def in_this_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def frame_that_yields(parts):
    """A dask data frame that promises columns as in its first part, whatever the others have."""
    index = dd.from_pandas(pd.DataFrame({"part": range(len(parts))}), npartitions=len(parts))
    return index.map_partitions(
        lambda number: parts[number["part"].iloc[0]], meta=parts[0][:0], enforce_metadata=False
    )


def test_columns_are_taken_by_name(X, Y):
    frame = pd.DataFrame(X, columns=list("abcde"))
    parts = [frame[:20], frame[20:30][list("ecabd")], frame[30:][list("bcdea")]]
    made = [dask.delayed(part) for part in parts]
    given = frame_that_yields(parts)
    for name, args, more in CALLS:
        check(given, X, Y, name, args, more)
        check(made, X, Y, name, args, more)
    check(given[list("badce")], X[:, [1, 0, 3, 2, 4]], Y, "argkmin", (2,), {})
    parts[1] = parts[1].rename(columns={"c": "x"})
    made = [dask.delayed(part) for part in parts]
    for rows in (frame_that_yields(parts), made):
        with pytest.raises(ValueError, match=r"partition 1 of X: .*'x'.*'c'"):
            tw.pairwise_distances_argmin(rows, Y).compute()
    with pytest.raises(ValueError, match=r"partition 1 of X: its columns have no names"):
        tw.pairwise_distances_argmin([made[0], dask.delayed(X)], Y).compute()


def test_names_of_y_in_another_order(X, Y):
    turned = pd.DataFrame(Y, columns=list("bacde"))
    with pytest.raises(ValueError, match="feature names of X and Y should match"):
        tw.argkmin(frame_of(X), turned, 2)
    lazy = tw.pairwise_distances_argmin(KINDS["frames"](X), turned)
    with pytest.raises(ValueError, match="feature names of X and Y should match"):
        lazy.compute()
    check(frame_of(X), X, pd.DataFrame(Y, columns=list("abcde")), "argkmin", (2,), {})


def test_an_index_is_no_feature(X, Y):
    frame = pd.DataFrame(X, columns=list("abcde"), index=np.arange(ROWS)[::-1] * 10)
    check(dd.from_pandas(frame, npartitions=3, sort=False), X, Y, "argkmin", (2,), {})
    numbered = pd.DataFrame(X)
    check(dd.from_pandas(numbered, npartitions=3), X, Y, "argkmin", (2,), {})


# ---------------------------------------------------------------- errors


def every(X, Y):
    """Each function of these rows."""
    yield lambda: tw.argkmin(X, Y, 2)
    yield lambda: tw.pairwise_distances_argmin(X, Y)
    yield lambda: tw.pairwise_distances_argmin_min(X, Y)
    yield lambda: tw.radius_neighbors(X, Y, 1.0)


def refused(X, Y, match):
    """Every function refuses it at the call."""
    for function in every(X, Y):
        with pytest.raises(ValueError, match=match):
            function()


def test_collections_that_are_refused_at_the_call(X, Y):
    refused(array_of(X).rechunk((10, 2)), Y, r"columns are in 3 chunks.*rechunk\(\{1: -1\}\)")
    refused(unknown(array_of(X).rechunk((10, 2))), Y, r"columns are in 3 chunks.*rechunk")
    refused(array_of(X)[:, 0], Y, r"expected rows and columns.*\(-1, 1\)")
    refused(array_of(X)[None], Y, "expected rows and columns")
    refused(array_of(X)[:, :0], Y, "no columns")
    refused(array_of(X)[:, 1:], Y, r"X.shape\[1\] == 4 while Y.shape\[1\] == 5")
    refused(frame_of(X)[["a", "b"]], Y, r"X.shape\[1\] == 2 while Y.shape\[1\] == 5")
    refused(frame_of(X)["a"], Y, "one column.*to_frame")
    refused(frame_of(X)[[]], Y, "no columns")
    refused(frame_of(X).astype({"b": str}), Y, r"column 'b' is of type .*, not numbers.*drop")
    refused(frame_of(X).astype({"b": "category"}), Y, r"column 'b' is of type category")
    refused(array_of(X).astype("U3"), Y, "expected real numbers, got dtype")
    refused(array_of(X).astype("c8"), Y, "expected real numbers, got dtype complex64")
    refused([*delayed_of(X), X], Y, "item 6 is ndarray; wrap it with dask.delayed")
    for other in (X, X.tolist(), pd.DataFrame(X), sp.csr_matrix(X), [], None, "rows.npy", object()):
        refused(other, Y, "X must be a dask array, a dask data frame, or a list of delayed")


def test_rows_of_y_that_are_refused_at_the_call(X, Y):
    for other in (None, array_of(Y, (9,)), frame_of(Y, (9,)), dask.delayed(Y), [dask.delayed(Y)]):
        refused(array_of(X), other, r"Y must be rows in memory.*Y.compute\(\)")
    bad = Y.copy()
    bad[3, 2] = np.nan
    refused(array_of(X), bad, r"NaN: the first is at row 3, column 2 of Y")
    refused(array_of(X), Y[:0], "0 sample")
    refused(array_of(X), Y[0], "Expected 2D array")
    refused(array_of(X), Y.astype(str)[:, :0], "0 feature|no columns")


def test_parameters_that_are_refused_at_the_call(X, Y):
    given = array_of(X)
    for k in (0, 10):
        with pytest.raises(ValueError, match=rf"k == {k}"):
            tw.argkmin(given, Y, k)
    with pytest.raises(TypeError, match="k must be a whole number"):
        tw.argkmin(given, Y, 2.0)
    with pytest.raises(ValueError, match="radius == -1"):
        tw.radius_neighbors(given, Y, -1)
    with pytest.raises(ValueError, match="return_as"):
        tw.radius_neighbors(given, Y, 1, return_as="lists")
    with pytest.raises(ValueError, match="metric"):
        tw.argkmin(given, Y, 1, metric="nearby")
    with pytest.raises(TypeError, match="takes no parameter 'q'"):
        tw.argkmin(given, Y, 1, metric="minkowski", metric_kwargs={"q": 1})
    with pytest.raises(ValueError, match="w has shape"):
        tw.argkmin(given, Y, 1, metric="minkowski", metric_kwargs={"w": [1, 2]})
    with pytest.raises(ValueError, match="X_norm_squared, one number for each row"):
        tw.argkmin(given, Y, 1, metric_kwargs={"X_norm_squared": (X**2).sum(axis=1)})
    with pytest.raises(ValueError, match="n_threads"):
        tw.argkmin(given, Y, 1, n_threads=0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", one_norm])
def test_values_that_are_not_finite(X, Y, kind, value, metric):
    X = X.copy()
    X[49, 3] = X[55, 0] = value
    what = "NaN" if np.isnan(value) else "infinity"
    begins = ", which begins at row 48" if kind == "array" else ""
    for lazy in (
        tw.argkmin(KINDS[kind](X), Y, 2, metric=metric)[1],
        tw.pairwise_distances_argmin(KINDS[kind](X), Y, metric=metric),
        tw.radius_neighbors(KINDS[kind](X), Y, 1.0, metric=metric, return_as="csr"),
    ):
        with pytest.raises(
            ValueError,
            match=rf"partition 5 of X{begins}: Input contains {what}.*"
            r"row 1, column 3 of the partition\.",
        ):
            lazy.compute()


def test_parts_that_do_not_fit(X, Y):
    for part, message in (
        (X[:, 0], "Expected 2D array"),
        (X[:, 1:], r"X.shape\[1\] == 4 while Y.shape\[1\] == 5"),
        (X.astype(object) + 1j, "omplex"),
        (np.full((3, COLUMNS), "x"), "could not convert string"),
        (None, ""),
        (3.5, ""),
    ):
        lazy = tw.pairwise_distances_argmin([dask.delayed(X), dask.delayed(part)], Y)
        with pytest.raises(ValueError, match=f"partition 1 of X: .*{message}"):
            lazy.compute()


def test_a_function_that_fails(X, Y):
    def failing(a, b):
        if a[0] == X[49, 0]:
            raise ZeroDivisionError("by the metric")
        return one_norm(a, b)

    lazy = tw.pairwise_distances_argmin(array_of(X), Y, metric=failing)
    with pytest.raises(ZeroDivisionError, match="by the metric"):
        lazy.compute()
