"""A metric call: a row of METRICS with the user's parameters, as the engine takes them."""

import warnings
from dataclasses import dataclass
from numbers import Real

import numpy as np
from sklearn.utils import check_array
from sklearn.utils._missing import is_scalar_nan

from tilewise._numbers import as_real, readable, widened
from tilewise.engine import Rows

from ._table import Metric
from ._validation import is_single, result_dtype

__all__ = ["MetricCall", "check_norms"]


@dataclass(frozen=True)
class MetricCall:
    """What to compute.

    Attributes
    ----------
    row : Metric
    kernel : str
        Fills a matrix with the values that are returned.
    surrogate : str
        Ranks neighbours.
    finish : {None, "sqrt", "square"}
        Turns the surrogate's value into the one that is returned.
    p : float
        Order of minkowski.
    weights : ndarray of shape (d,), float64, or None
    missing : float or None
        What stands for a missing value where that is not NaN.
    """

    row: Metric
    kernel: str
    surrogate: str
    finish: str | None
    p: float = 2.0
    weights: np.ndarray | None = None
    missing: float | None = None

    @classmethod
    def of(cls, row, parameters, X, Y, *, lenient=False) -> "MetricCall":
        """Check the keyword arguments of a metric.

        With `lenient`, those that the euclidean metrics do not take are ignored with a warning, as
        in the neighbour searches of scikit-learn.
        """
        parameters = dict(parameters)
        unknown = {name: parameters[name] for name in parameters if name not in row.parameters}
        if unknown and lenient and row.surrogate == "sqeuclidean":
            if row.name == "sqeuclidean":
                unknown = {n: v for n, v in unknown.items() if not n.endswith("_norm_squared")}
            if unknown:
                warnings.warn(
                    f"Some metric_kwargs have been passed ({unknown}) but aren't usable for "
                    f"the metric {row.name} and will be ignored.",
                    UserWarning,
                    stacklevel=4,
                )
            parameters = {n: v for n, v in parameters.items() if n in row.parameters}
        elif unknown:
            raise TypeError(
                f"the metric {row.name!r} takes no parameter {sorted(unknown)[0]!r}. It takes "
                f"{sorted(row.parameters) or 'none'}"
            )
        check_norms(X, parameters.get("X_norm_squared"), "X")
        check_norms(Y, parameters.get("Y_norm_squared"), "Y")
        kernel, finish, p = row.kernel, row.finish, 2.0
        if parameters.get("squared", False):
            if row.name == "euclidean":
                kernel, finish = "sqeuclidean", None
            else:
                finish = "square"
        if row.name == "minkowski":
            p = _order(parameters.get("p", 2.0))
        missing = parameters.get("missing_values", np.nan)
        return cls(
            row, kernel, row.surrogate, finish, p, _weights(parameters.get("w"), X.shape[1]),
            None if is_scalar_nan(missing) else float(missing),
        )  # fmt: skip

    @property
    def takes_nan(self) -> bool:
        """Whether NaN stands for a missing value."""
        return self.row.name == "nan_euclidean" and self.missing is None

    def rows(self, X, Y) -> tuple[Rows, Rows]:
        """Both arrays as `Rows` of one type, one object if they are one; missing values are NaN."""
        same = Y is X
        if self.missing is not None:
            X = _without_missing(X, self.missing)
            Y = X if same else _without_missing(Y, self.missing)
        wide = np.float64 if result_dtype(X, Y) == np.float64 else None
        rows_x = Rows(X, dtype=wide)
        return rows_x, rows_x if same else Rows(Y, dtype=wide)


def _order(p):
    if isinstance(p, bool) or not isinstance(p, Real):
        raise TypeError(f"p must be a real number, got {type(p)!r}")
    if not p > 0:
        raise ValueError(f"p must be greater than 0, got {p}")
    return float(p)


def _weights(w, n_features):
    if w is None:
        return None
    w = as_real(np.asarray(readable(w, "w")), "w").astype(np.float64)
    if w.shape != (n_features,):
        raise ValueError(f"w has shape {w.shape}, expected one weight per feature: {n_features}")
    if not (w >= 0).all():
        raise ValueError("Input weights should be all non-negative")
    return np.ascontiguousarray(w)


def check_norms(X, norms, name):
    """Check the shape of squared norms that a user passes for the rows of ``X``."""
    if norms is None:
        return
    norms = check_array(readable(norms), ensure_2d=False, input_name=f"{name}_norm_squared")
    n = X.shape[0]
    if norms.shape not in ((n,), (n, 1), (1, n)):
        raise ValueError(
            f"Incompatible dimensions for {name} of shape {X.shape} and "
            f"{name}_norm_squared of shape {norms.shape}."
        )


def _without_missing(X, missing):
    """``X`` with NaN in the place of the missing value; a copy if there is one to replace."""
    X = widened(X)
    found = missing == X
    if not found.any():
        return X
    X = X.astype(np.float32 if is_single(X) else np.float64)
    X[found] = np.nan
    return X
