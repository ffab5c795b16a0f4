"""The model file: a ``.npz`` archive with two members and nothing that could run.

``centers``
    The cluster centres, float32 or float64, one row per cluster.
``metadata``
    A text of JSON with the keys ``format`` ("tilewise-kmeans"), ``format_version`` (1),
    ``tilewise_version``, ``params`` (the parameters that decide the result), ``dtype``,
    ``n_samples``, ``feature_names`` (a list, or null where the data had none), ``columns`` (the
    selection that was typed, or null), ``inertia`` and ``n_iter``.

Both are read with ``allow_pickle=False`` and checked, so a file from a stranger can at worst
be refused. The file says nothing about time or place: equal fits give equal bytes.
"""

import json
from dataclasses import dataclass, field

import numpy as np

from ._data import check_readable, open_npz
from ._errors import BadData
from ._output import to_json

FORMAT = "tilewise-kmeans"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Model:
    """Cluster centres and what is known about the fit that found them.

    Attributes
    ----------
    centers : numpy.ndarray of shape (n_clusters, n_features)
    tilewise_version : str
    params : dict
        Parameters of the fit, as JSON holds them.
    n_samples : int
        Rows that the fit saw.
    feature_names : tuple of str or None
    columns : str or None
        The column selection of the fit, as it was typed.
    inertia : float or None
    n_iter : int or None
    """

    centers: np.ndarray
    tilewise_version: str
    params: dict = field(default_factory=dict)
    n_samples: int | None = None
    feature_names: tuple | None = None
    columns: str | None = None
    inertia: float | None = None
    n_iter: int | None = None

    def metadata(self):
        """Return what the archive holds beside the centres."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "tilewise_version": self.tilewise_version,
            "params": self.params,
            "dtype": self.centers.dtype.name,
            "n_samples": self.n_samples,
            "feature_names": None if self.feature_names is None else list(self.feature_names),
            "columns": self.columns,
            "inertia": self.inertia,
            "n_iter": self.n_iter,
        }

    def write(self, stream):
        """Write the archive to a binary stream."""
        np.savez(stream, centers=self.centers, metadata=np.array(to_json(self.metadata())))

    def estimator(self, **params):
        """Return a fitted ``tilewise.KMeans`` with these centres.

        Parameters
        ----------
        **params
            Parameters of the estimator that concern how it runs: threads, chunks, engine.
        """
        from tilewise import KMeans

        n_clusters, n_features = self.centers.shape
        estimator = KMeans(n_clusters=n_clusters, **params)
        estimator.cluster_centers_ = self.centers
        estimator.n_features_in_ = n_features
        if self.feature_names is not None:
            estimator.feature_names_in_ = np.array(self.feature_names, dtype=object)
        return estimator


def read_model(path):
    """Read and check a model file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Model

    Raises
    ------
    CommandError
        `NoInput` if the file cannot be read, `BadData` if it is not a model of ours.
    """
    check_readable(path)
    with open_npz(path) as archive:
        if not {"centers", "metadata"} <= set(archive.files):
            raise BadData(f"{path}: not a model that `tilewise fit` wrote")
        centers, text = archive["centers"], archive["metadata"]
    try:
        if text.dtype.kind != "U" or text.ndim != 0:
            raise ValueError("the metadata is not a text")
        return _checked(centers, json.loads(str(text)))
    except (ValueError, RecursionError) as error:
        raise BadData(f"{path}: not a model that `tilewise fit` wrote: {error}") from error


def _checked(centers, metadata):
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ValueError(f"the format is not {FORMAT!r}")
    if metadata.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"format version {metadata.get('format_version')!r}; "
            f"this release reads version {FORMAT_VERSION}"
        )
    if centers.dtype.kind != "f" or centers.dtype.itemsize not in (4, 8) or centers.ndim != 2:
        raise ValueError(f"centres of dtype {centers.dtype} and shape {centers.shape}")
    if 0 in centers.shape or not np.isfinite(centers).all():
        raise ValueError("the centres are empty or not finite")
    names = metadata.get("feature_names")
    if names is not None:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("the feature names are not a list of texts")
        if len(names) != centers.shape[1]:
            raise ValueError(f"{len(names)} feature names for {centers.shape[1]} features")
        names = tuple(names)
    params = metadata.get("params")
    columns = metadata.get("columns")
    return Model(
        centers=np.ascontiguousarray(centers, dtype=centers.dtype.newbyteorder("=")),
        tilewise_version=str(metadata.get("tilewise_version")),
        params=params if isinstance(params, dict) else {},
        n_samples=metadata.get("n_samples"),
        feature_names=names,
        columns=columns if isinstance(columns, str) else None,
        inertia=metadata.get("inertia"),
        n_iter=metadata.get("n_iter"),
    )
