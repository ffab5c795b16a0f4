"""Values that people hand in, before anything else reads them.

NumPy converts some objects without a word to numbers that nobody meant: a masked value becomes
what stands under its mask, and a date that is missing (NaT) becomes -9.2e18. Other objects, which
hold perfectly good numbers, it cannot read at all. `readable` comes before scikit-learn's checks
and `as_real` after them; between the two, every missing value has become NaN, and is refused or
allowed as NaN is.

Arrays of plain numbers, and sparse matrices, pass both as they are. Rows of bfloat16 keep their
two bytes: torch's and those of the package ml_dtypes become arrays of `BFLOAT16`, which share the
memory. Everything else that is asked for gets float32 in their place.
"""

import numpy as np
import scipy.sparse as sp

from tilewise._text import first_line

#: Options of scikit-learn's check_array that neither copy nor read the data: the engine takes any
#: order and any real dtype, and finds values that are not finite while it works.
UNCHANGED = {
    "accept_sparse": "csr",
    "accept_large_sparse": True,
    "dtype": None,
    "order": None,
    "copy": False,
    "ensure_all_finite": False,
}

#: Rows of bfloat16, which NumPy does not have: two bytes that it converts to nothing else, so that
#: what forgets to widen them fails. The kernels widen them as they read.
BFLOAT16 = np.dtype([("bfloat16", "V2")])

# What a missing date or time span turns into, taken for an integer.
_NOT_A_TIME = float(np.iinfo(np.int64).min)


def canonical(X):
    """``X``, or a copy in which no entry of a CSR row is stored twice."""
    if sp.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def widened(X):
    """Return an array as it is, or one of `BFLOAT16` as float32."""
    if X.dtype != BFLOAT16:
        return X
    values = X.view(np.uint16).astype(np.uint32)
    values <<= 16
    return values.view(np.float32)


def readable(X, name="X", *, rows=False):
    """Return what NumPy reads as it is meant.

    Masked values become NaN (a copy, only if some value is masked). Tensors lose their gradient,
    and types that NumPy does not have, such as bfloat16, become float32. Sparse data frames get
    zero as the value that is not stored.

    Parameters
    ----------
    X : object
        Anything.
    name : str, default="X"
        What errors call it.
    rows : bool, default=False
        A tensor of bfloat16 becomes an array of `BFLOAT16` that shares its memory.

    Returns
    -------
    object
        `X` itself, an array, or a data frame with the same names.

    Raises
    ------
    TypeError
        If it is a tensor that NumPy cannot read; the message says what to pass instead.
    ValueError
        If it is a one-dimensional array of records.
    """
    if (type(X) is np.ndarray and X.dtype.names is None) or sp.issparse(X):
        return X
    if isinstance(X, np.ndarray):
        if X.dtype == BFLOAT16:
            return X if rows else widened(X)
        if X.dtype.names is not None and X.ndim == 1:
            raise ValueError(
                f"Expected 2D array, got 1D array of records instead. {_records(name)}"
            )
        return _without_mask(X) if isinstance(X, np.ma.MaskedArray) else X
    if isinstance(X, list | tuple):
        return _members(X, name)
    if _is_frame(X):
        return _with_zeros_left_out(X)
    if _is_tensor(X):
        return _without_gradient(X, name, rows)
    return X


def as_real(X, name="X", *, rows=False):
    """Return an array or sparse matrix of real numbers.

    Parameters
    ----------
    X : ndarray or sparse matrix
        Of any dtype. Dates and time spans count in their own unit, as NumPy converts them.
    name : str, default="X"
        What errors call it.
    rows : bool, default=False
        bfloat16 becomes `BFLOAT16` in the same memory.

    Returns
    -------
    ndarray or sparse matrix
        `X` itself if it holds plain numbers, else float64. Missing dates and missing values of
        pandas are NaN. Types of ml_dtypes become the narrowest of NumPy's that holds them: int8,
        uint8 or float32.

    Raises
    ------
    TypeError, ValueError
        If a value is no number, with where the first one is, or if the numbers are complex.
    """
    # NumPy has no floats of one byte; one of ml_dtypes' has the kind of a float.
    if X.dtype.kind in "biu" or (X.dtype.kind == "f" and X.dtype.itemsize > 1):
        return X
    if X.dtype == BFLOAT16 or X.dtype.type.__module__ == "ml_dtypes":
        return _from_small(X, rows)
    if X.dtype.kind == "c":
        raise ValueError("Complex data not supported")
    try:
        if X.dtype.kind in "mM":
            return np.where(np.isnat(X), np.nan, X.astype(np.float64))
        if X.dtype.kind == "O" and not sp.issparse(X):
            return _from_objects(X)
        return X.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error} {_hint(X, name)}") from error


# ---------------------------------------------------------------- masks, lists


def _without_mask(X):
    mask = np.ma.getmask(X)
    values = np.asarray(X)  # what lies under the mask as well
    if mask is np.ma.nomask or X.dtype.names is not None or not mask.any():
        return values
    if values.dtype.kind == "c":
        raise ValueError("Complex data not supported")
    single = values.dtype.kind == "f" and values.dtype.itemsize <= 4
    filled = np.zeros(values.shape, dtype=np.float32 if single else np.float64)
    filled[mask] = np.nan
    # Nobody says that what lies under a mask is a number.
    filled[~mask] = as_real(values[~mask])
    return filled


def _members(X, name):
    """A list whose members need care of their own."""
    if any(isinstance(row, np.ma.MaskedArray) for row in X):
        if any(row is np.ma.masked for row in X):
            # One number that is missing.
            return [np.nan if row is np.ma.masked else row for row in X]
        return [_without_mask(row) if isinstance(row, np.ma.MaskedArray) else row for row in X]
    if X and _is_tensor(X[0]):
        return [_without_gradient(row, name) if _is_tensor(row) else row for row in X]
    return X


# ---------------------------------------------------------------- tensors


def _is_tensor(X):
    # By what torch's tensors offer: the package need not be there.
    return callable(getattr(X, "detach", None)) and hasattr(X, "__array__")


def _without_gradient(X, name, rows=False):
    where = getattr(getattr(X, "device", None), "type", "cpu")
    if where != "cpu":
        raise _unreadable(X, name, f"it lies on the device {X.device}", "cpu()")
    if getattr(X, "is_sparse", False) or "sparse" in str(getattr(X, "layout", "")):
        raise _unreadable(X, name, "it is sparse", "to_dense()")
    if getattr(X, "is_quantized", False):
        raise _unreadable(X, name, "it is quantized", "dequantize()")
    values = X.detach()
    if rows and str(getattr(X, "dtype", "")) == "torch.bfloat16" and hasattr(values, "data_ptr"):
        return np.asarray(_Bits(values))
    try:
        return np.asarray(values)
    except (RuntimeError, TypeError, ValueError) as error:
        refused = error
    if "complex" in str(getattr(X, "dtype", "")):
        raise ValueError("Complex data not supported")
    try:
        # Every value of a type that is narrower than float32 is one of float32.
        return np.asarray(values.float())
    except Exception as error:
        why = f"of dtype {X.dtype}: {first_line(refused)}"
        raise _unreadable(X, name, why, "detach().float()") from error


class _Bits:
    """The memory of a tensor of bfloat16, for NumPy; it lives as long as an array over it."""

    def __init__(self, tensor):
        self._tensor = tensor
        strides = tuple(2 * step for step in tensor.stride())
        self.__array_interface__ = {
            "version": 3, "shape": tuple(tensor.shape), "strides": strides,
            "typestr": BFLOAT16.str, "descr": BFLOAT16.descr, "data": (tensor.data_ptr(), True),
        }  # fmt: skip


def _unreadable(X, name, why, what):
    kind = f"{type(X).__module__}.{type(X).__qualname__}"
    return TypeError(f"NumPy cannot read {name}, a {kind}: {why}. Pass {name}.{what} instead.")


# ---------------------------------------------------------------- data frames of pandas


def _is_frame(X):
    return hasattr(X, "dtypes") and hasattr(X, "iloc") and getattr(X, "ndim", None) == 2


def _with_zeros_left_out(frame):
    """A frame of sparse columns of one type whose values that are not stored are zero."""
    if not hasattr(frame, "sparse"):  # other frames, and those of other libraries
        return frame
    types = list(frame.dtypes)
    if not types or not all(hasattr(kind, "fill_value") for kind in types):
        return frame
    subtypes = [kind.subtype for kind in types]
    if any(kind.kind not in "biuf" for kind in subtypes):
        return frame
    common = np.result_type(*subtypes)
    if all(kind.fill_value == 0 and kind.subtype == common for kind in types):
        return frame
    import pandas as pd

    columns = {}
    for place in range(len(types)):
        column = frame.iloc[:, place].array
        if types[place].fill_value != 0 or subtypes[place] != common:
            column = pd.arrays.SparseArray(
                np.asarray(column).astype(common), fill_value=common.type(0)
            )
        columns[place] = column
    zeros = pd.DataFrame(columns, index=frame.index)
    zeros.columns = frame.columns
    return zeros


# ---------------------------------------------------------------- types that NumPy does not have


def _from_small(X, rows):
    """An array of a type of ml_dtypes, or of `BFLOAT16`."""
    if X.dtype.name == "bfloat16":
        X = X if X.dtype.isnative else X.astype(X.dtype.newbyteorder("="))
        X = X.view(BFLOAT16)
    if X.dtype == BFLOAT16:
        return X if rows else widened(X)
    for kind in (np.int8, np.uint8):
        if np.can_cast(X.dtype, kind):
            return X.astype(kind)
    return X.astype(np.float32)


# ---------------------------------------------------------------- what is no number


def _from_objects(X):
    try:
        values = X.astype(np.float64)
    except TypeError:
        # pandas' own missing values: float() takes neither.
        missing = _each(X, lambda value: type(value).__name__ in ("NAType", "NaTType"))
        if not missing.any():
            raise
        X = X.copy()
        X[missing] = np.nan
        values = X.astype(np.float64)
    suspects = values == _NOT_A_TIME
    if suspects.any():
        times = _each(X, lambda value: isinstance(value, np.datetime64 | np.timedelta64))
        values[suspects & times] = np.nan
    return values


def _each(X, question):
    return np.frompyfunc(question, 1, 1)(X).astype(bool)


def _hint(X, name):
    if X.dtype.names is not None:
        return _records(name)
    if sp.issparse(X):
        return f"{name} is sparse and of dtype {X.dtype}."
    for place in np.ndindex(X.shape):
        try:
            float(X[place])
        except (TypeError, ValueError):
            where = f"position {place[0]}"
            if len(place) == 2:
                where = f"row {place[0]}, column {place[1]}"
            return f"The first value that is no number is at {where} of {name}."
    return f"{name} is of dtype {X.dtype}."


def _records(name):
    return (
        "Records are no rows of numbers: pass "
        f"numpy.lib.recfunctions.structured_to_unstructured({name})."
    )
