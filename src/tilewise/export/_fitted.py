"""What every form wants of a fitted model: its centres, and what is known about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import cluster
from sklearn.utils.validation import check_is_fitted

from tilewise._version import __version__
from tilewise.cluster._base import BaseKMeans
from tilewise.cluster._validation import check_final_centers

# BisectingKMeans is none of them: it walks down a tree, and the end need not be the closest centre.
_OF_SCIKIT_LEARN = (cluster.KMeans, cluster.MiniBatchKMeans)


@dataclass(frozen=True)
class FittedModel:
    """The centres of a fitted K-Means model, and where they come from.

    Attributes
    ----------
    name : str
        Of the class that was fitted.
    centers : ndarray of shape (k, d), float32 or float64
        C-contiguous and in the byte order of this machine; all finite.
    feature_names : tuple of str or None
        None if the rows of the fit had no names.
    version : str
        Of tilewise, which writes the form.
    """

    name: str
    centers: np.ndarray
    feature_names: tuple[str, ...] | None = None
    version: str = __version__

    @property
    def n_clusters(self) -> int:
        """Number of centres."""
        return self.centers.shape[0]

    @property
    def n_features(self) -> int:
        """Number of columns of a row."""
        return self.centers.shape[1]


def is_kmeans(model: Any) -> bool:
    """Whether a model is a K-Means whose label is the closest centre."""
    return isinstance(model, (BaseKMeans, *_OF_SCIKIT_LEARN))


def fitted(model: Any) -> FittedModel:
    """What a form wants of a model.

    Parameters
    ----------
    model : estimator
        A fitted `KMeans` or `MiniBatchKMeans` of tilewise, tilewise.dask or scikit-learn.

    Returns
    -------
    FittedModel

    Raises
    ------
    TypeError
        If it is something else.
    sklearn.exceptions.NotFittedError
        If it has not been fitted.
    ValueError
        If its centres are no finite numbers: people also put their own in their place.
    """
    if not is_kmeans(model):
        raise TypeError(
            "model must be a fitted KMeans or MiniBatchKMeans of tilewise or scikit-learn, got "
            f"{type(model).__name__}"
        )
    check_is_fitted(model, "cluster_centers_")
    centers = check_final_centers(model.cluster_centers_)
    names = getattr(model, "feature_names_in_", None)
    return FittedModel(
        type(model).__name__, centers, None if names is None else tuple(map(str, names))
    )
