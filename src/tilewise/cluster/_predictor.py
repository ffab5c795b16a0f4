"""A fitted model prepared for rows that arrive one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from tilewise import engine
from tilewise._numbers import as_real, readable
from tilewise._typing import FloatMatrix, Vector, VectorLike
from tilewise.cluster import _scaled, _validation
from tilewise.cluster._files import check_array_out
from tilewise.plan._common import data_type

if TYPE_CHECKING:
    from tilewise._typing import DataLike


class Predictor(engine.SingleRows):
    """A fitted K-Means prepared for single rows: ``predictor(row)`` is the label of a row.

    Made by `KMeans.predictor`. It keeps a copy of the centres and never changes. Threads may share
    it: a call keeps nothing, and other threads run while a large model answers. It can be pickled.

    The label is that of ``predict``: the lowest index among the centres at the least distance, also
    far from the origin and for ties.

    Attributes
    ----------
    centers : ndarray of shape (n_clusters, n_features), float32 or float64
        The centres, read-only.
    n_clusters, n_features : int
        Their number and their length.
    dtype : dtype or None
        What rows become first; None is what ``predict`` makes of them.

    Examples
    --------
    >>> import numpy as np
    >>> import tilewise
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [9.0, 9.0]])
    >>> p = tilewise.KMeans(2, init=X[[0, 2]]).fit(X).predictor()
    >>> p(np.array([8.0, 7.5]))
    1
    >>> p.nearest(np.array([0.0, 2.5]))
    (0, 2.0)
    """

    __slots__ = ()

    @classmethod
    def of(cls, centers: FloatMatrix, dtype: DTypeLike | None = None) -> Predictor:
        """A predictor with a copy of these centres."""
        centers = _validation.check_final_centers(centers)
        try:
            kind = None if dtype is None else np.dtype(dtype)
        except TypeError:
            kind = np.dtype(object)
        if kind not in (None, np.float32, np.float64):
            raise ValueError(f"dtype must be float32, float64 or None, got {dtype!r}")
        return cls(centers, kind)

    @property
    def n_clusters(self) -> int:
        """Number of centres."""
        return self.centers.shape[0]

    @property
    def n_features(self) -> int:
        """Numbers in a row."""
        return self.centers.shape[1]

    def __reduce__(self) -> Any:
        # Another machine may have other instructions.
        return type(self).of, (self.centers, self.dtype)

    def __repr__(self) -> str:
        k, d = self.centers.shape
        return f"Predictor({k} clusters of {d} features, {self.centers.dtype})"

    def distances(self, row: VectorLike, out: Vector[Any] | None = None) -> Vector[Any]:
        """Return the distance of one row to every centre.

        Parameters
        ----------
        row : array-like of shape (n_features,)
            The row.
        out : ndarray of shape (n_clusters,), default=None
            Where they go: float32 for a row that is, or becomes, float32, else float64.

        Returns
        -------
        distances : ndarray of shape (n_clusters,)
            Euclidean: those of ``transform``.

        Raises
        ------
        ValueError
            If the shape is another one, a value is NaN or infinite, or `out` does not fit.
        TypeError
            If the row does not hold real numbers.
        """
        x = self._checked(row)
        if out is not None:
            check_array_out(out, self.n_clusters, (), x.dtype)
        found = self._distances(x)
        if out is None:
            return found
        out[:] = found
        return out

    def predict(self, X: DataLike, out: Vector[np.int32] | None = None) -> Vector[np.int32]:
        """Return the closest centre of each of some rows, one after another.

        For many rows at once the model's ``predict`` is faster.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.
        out : ndarray of shape (n_samples,), int32, default=None
            Where the labels go.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            The labels.

        Raises
        ------
        ValueError
            If the shape is another one, a value is NaN or infinite, or `out` does not fit.
        TypeError
            If `X` does not hold real numbers.
        """
        x = self._as_real(X)
        if x.ndim != 2 or x.shape[1] != self.n_features:
            raise ValueError(f"X has shape {x.shape}; expected (n, {self.n_features})")
        if out is not None:
            check_array_out(out, len(x), (), np.dtype(np.int32))
        labels = engine.labels_of(x, self.centers)
        if labels is None:
            labels = self._labels(self._rows(x))
        if out is None:
            return labels
        out[:] = labels
        return out

    # ------------------------------------------------------------ what the kernel leaves

    def _otherwise(self, row):
        """Label and distance of a row that the kernel cannot read, or not decide."""
        x = self._checked(row)
        if x is not row:
            return self.nearest(x)
        rows = self._rows(x[None])
        label = int(self._labels(rows)[0])
        return label, float(self._distances(x.astype(np.float64))[label])

    def _distances(self, x):
        """Distances of a row to all centres, in its type."""
        found = engine.few_rows(x[None], self.centers, "distances")
        if found is None:
            rows = self._rows(x[None])
            centers = self.centers.astype(np.float64)
            found = engine.backend_of(rows).distances(rows, centers, self._plan(rows))
        return found[0]

    def _checked(self, row):
        """A row as float32 or float64 (d,); `row` itself if it is one."""
        x = self._as_real(row)
        if x.shape != (self.n_features,):
            more = "; predict takes several rows" if x.ndim == 2 else ""
            raise ValueError(f"a row has shape {x.shape}; expected ({self.n_features},){more}")
        return x

    def _as_real(self, X):
        x = np.asarray(readable(X, "row"))
        if x.dtype.kind not in "biuf":
            if not x.ndim:
                raise TypeError(f"a row of numbers is expected, got {type(X).__name__}")
            if x.dtype.kind == "c":
                raise TypeError("a row of complex numbers; real ones are expected")
            x = as_real(x, "row")
        kind = self.dtype
        if kind is None:
            kind = np.dtype(data_type(x.dtype))
        return x.astype(kind, copy=False)

    def _rows(self, X):
        rows = engine.as_rows(X)
        rows.raise_nonfinite()
        return rows

    def _plan(self, rows):
        return engine.backend_of(rows).plan(rows, self.n_clusters)

    def _labels(self, rows):
        return _scaled.labels_of(rows, self.centers.astype(np.float64), self._plan)
