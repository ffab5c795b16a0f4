"""Checks of what users pass in; none of them copies ``X`` or reads it more than once."""

from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from sklearn import get_config
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval

from tilewise._numbers import BFLOAT16, UNCHANGED, as_real, canonical, readable, widened
from tilewise._tables import table_rows
from tilewise.plan import n_threads as threads_for

__all__ = [
    "THREADS", "check_arrays", "check_both_finite", "check_k", "check_order", "check_out",
    "check_pair", "check_radius", "check_rows", "has_only_finite", "is_single", "read_pair",
    "read_rows", "readable_pair", "result_dtype", "thread_count",
]  # fmt: skip

#: Constraint of the parameter that tilewise adds to scikit-learn's.
THREADS = {"n_threads": [Interval(Integral, 1, None, closed="left"), None]}

# Values that are read between two checks for Ctrl-C: a few milliseconds.
_BLOCK_VALUES = 2**22
# ... and that are copied to be looked at: what a second-level cache holds.
_WIDENED_VALUES = 2**17


def check_pair(X, Y):
    """Return ``X`` and ``Y`` as 2-D ndarrays or canonical CSR matrices of a real dtype.

    One object for both where ``Y`` is None or ``X`` itself. Values are not read. Column names are
    compared as `read_pair` does it.
    """
    return check_arrays(*read_pair(X, Y))


def check_arrays(X, Y):
    """The same for what `read_pair` returned."""
    same = Y is None or Y is X
    X = check_rows(X, "X")
    Y = X if same else check_rows(Y, "Y")
    if X.shape[1] != Y.shape[1]:
        raise ValueError(
            "Incompatible dimension for X and Y matrices: "
            f"X.shape[1] == {X.shape[1]} while Y.shape[1] == {Y.shape[1]}"
        )
    return X, Y


def read_pair(X, Y):
    """Return both with Arrow tables and dask frames read; anything else unchanged.

    Columns of both that have the same names in another order are refused. Otherwise columns are
    matched by position, as in scikit-learn, whose functions do not compare names.
    """
    same = Y is X
    X, names = read_rows(X)
    if same:
        return X, X
    Y, other_names = read_rows(Y)
    check_order(names, other_names)
    return X, Y


def read_rows(X):
    """Return the rows and the column names of a table of any kind; None where it has no names."""
    rows, names = table_rows(X)
    plain = X is None or type(X) is np.ndarray or sp.issparse(X)
    if rows is X and not plain:
        from tilewise.sources import column_names

        names = column_names(X)
    return rows, names


def check_order(names, others):
    """Refuse columns of X and Y that have the same names in another order."""
    if names is None or others is None or names == others or sorted(names) != sorted(others):
        return
    raise ValueError(
        "The feature names of X and Y should match.\n"
        f"Feature names must be in the same order: X has {_some(names)}, Y has {_some(others)}.\n"
    )


def _some(names):
    return ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")


def readable_pair(X, Y, metric):
    """X and Y for scikit-learn: as the user passed them, but with NaN for what is missing."""
    return _readable(X, metric, "X"), None if Y is None else _readable(Y, metric, "Y")


def _readable(X, metric, name):
    X = readable(X, name)
    plain = sp.issparse(X) or (isinstance(X, np.ndarray) and X.dtype.kind in "biufc")
    # A function of two rows may know what to do with other things than numbers.
    dtype = getattr(X, "dtype", None)
    if isinstance(X, np.ndarray) and (dtype == BFLOAT16 or dtype.name == "bfloat16"):
        return as_real(X, name)
    if plain or callable(metric) or metric == "precomputed":
        return X
    return widened(check_rows(X, name))


def check_rows(X, name):
    """Return ``X`` as a 2-D ndarray or canonical CSR matrix of a real dtype; no value is read."""
    if get_config().get("array_api_dispatch") and _is_foreign_array(X):
        raise TypeError(
            f"tilewise computes with NumPy arrays in the memory of the CPU, got {type(X)!r}. "
            "Convert it to a NumPy array, or call scikit-learn's function."
        )
    X = check_array(readable(X, name, rows=True), estimator="check_pairwise_arrays", **UNCHANGED)
    return canonical(as_real(X, name, rows=True))  # objects and strings may still spell numbers


def _is_foreign_array(X):
    return hasattr(X, "__array_namespace__") and not isinstance(X, np.ndarray | np.generic)


def result_dtype(X, Y):
    """float32 where both are float32, else float64."""
    return np.dtype(np.float32 if is_single(X) and is_single(Y) else np.float64)


def is_single(X):
    """Whether the values are float32, in any byte order, or bfloat16, which count as float32."""
    dtype = X.dtype
    if dtype.kind == "V":
        return dtype == BFLOAT16 or dtype.name == "bfloat16"
    return dtype.kind == "f" and dtype.itemsize == 4


# ---------------------------------------------------------------- values that are not finite


def check_finite(X, name, *, allow_nan=False):
    """Raise the ValueError that names the first NaN or infinity of ``X``, if there is one.

    Nothing is read under ``sklearn.config_context(assume_finite=True)``.
    """
    if get_config()["assume_finite"]:
        return
    found = _locate(X, allow_nan)
    if found is not None:
        row, column, kind = found
        what = kind if kind == "NaN" else f"infinity or a value too large for {_named(X)!r}"
        raise ValueError(
            f"Input contains {what}: the first is at row {row}, column {column} of {name}."
        )


def check_both_finite(X, Y, *, allow_nan=False):
    """The same for both sets of rows, which may be one object."""
    check_finite(X, "X", allow_nan=allow_nan)
    if Y is not X:
        check_finite(Y, "Y", allow_nan=allow_nan)


def has_only_finite(X):
    """Whether ``X`` holds neither NaN nor infinity."""
    return _locate(X, False) is None


def _locate(X, allow_nan):
    """Row, column and kind of the first bad value, or None."""
    if X.dtype.kind != "f" and X.dtype != BFLOAT16:
        return None
    if sp.issparse(X):
        place = _first_bad(X.data.reshape(-1, 1), allow_nan)
        if place is None:
            return None
        row = int(np.searchsorted(X.indptr, place[0], side="right")) - 1
        return row, int(X.indices[place[0]]), _kind(X.data[place[0]])
    place = _first_bad(X, allow_nan)
    return None if place is None else (*place, _kind(widened(X[place[0]])[place[1]]))


def _first_bad(values, allow_nan):
    size = _WIDENED_VALUES if values.dtype == BFLOAT16 else _BLOCK_VALUES
    step = max(1, size // max(1, values.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, values.shape[0], step):
            block = widened(values[start : start + step])
            # A sum reads faster than a test of every value; finite ones may overflow it too.
            if np.isfinite(block.sum(dtype=np.float32 if block.itemsize < 4 else None)):
                continue
            bad = np.isinf(block) if allow_nan else ~np.isfinite(block)
            if bad.any():
                row, column = np.unravel_index(np.argmax(bad), bad.shape)
                return start + int(row), int(column)
    return None


def _named(X):
    return np.dtype(np.float32) if X.dtype == BFLOAT16 else X.dtype


def _kind(value):
    return "NaN" if np.isnan(value) else "infinity"


# ---------------------------------------------------------------- parameters


def check_out(out, shape, dtype, *inputs, name="out"):
    """Return an array to write to: ``out`` if it fits, a new one if it is None.

    The elements of a row must be contiguous; the step from row to row is free.
    """
    if out is None:
        return np.empty(shape, dtype=dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(out)!r}")
    if isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array: pass its data")
    if out.shape != tuple(shape):
        raise ValueError(f"{name} has shape {out.shape}, expected {tuple(shape)}")
    if out.dtype != dtype or not out.dtype.isnative:
        raise ValueError(f"{name} has dtype {out.dtype.str}, expected {np.dtype(dtype).str}")
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only: pass an array that can be written to")
    apart = out.ndim and out.shape[-1] > 1 and out.strides[-1] != out.itemsize
    if apart or not out.flags.aligned:
        raise ValueError(f"the elements of each row of {name} must be contiguous and aligned")
    for given in inputs:
        if isinstance(given, np.ndarray) and _overlap(out, given):
            raise ValueError(f"{name} shares memory with the data: pass an array of its own")
    return out


def _overlap(a, b):
    if not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=10_000)
    except (np.exceptions.TooHardError, OverflowError):
        return True


def thread_count(n_threads, n_jobs=None):
    """The number of threads: ``n_threads``, else what scikit-learn's ``n_jobs`` asks for.

    With None and ``n_jobs=-1`` the planner decides; ``n_jobs=-2`` is one thread less.
    """
    if n_threads is not None or n_jobs is None or n_jobs == -1:
        return n_threads
    if n_jobs == 0:
        raise ValueError("n_jobs == 0 has no meaning")
    return n_jobs if n_jobs > 0 else max(1, threads_for().value + 1 + n_jobs)


def check_radius(radius):
    """Return the radius as a float that is not negative."""
    if isinstance(radius, bool) or not isinstance(radius, Real):
        raise TypeError(f"radius must be a real number, got {type(radius)!r}")
    radius = float(radius)
    if not radius >= 0.0:
        raise ValueError(f"radius == {radius}, must be >= 0.")
    return radius


def check_k(k, n_rows):
    """Return the number of neighbours as an int from 1 to the number of rows."""
    if isinstance(k, bool) or not isinstance(k, Integral):
        raise TypeError(f"k must be a whole number, got {type(k)!r}")
    if k < 1:
        raise ValueError(f"k == {k}, must be >= 1.")
    if k > n_rows:
        raise ValueError(f"k == {k} is more than the {n_rows} rows of Y.")
    return int(k)
