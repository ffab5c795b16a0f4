"""The model file: a ``.npz`` archive with two arrays and no code.

``centers``
    The cluster centres, float32 or float64, one row per cluster.
``metadata``
    A text of JSON with the keys ``format`` ("tilewise-kmeans"), ``format_version`` (1),
    ``tilewise_version``, ``params`` (the parameters that decide the result), ``dtype``,
    ``n_samples``, ``feature_names`` (a list, or null where the data had none), ``columns`` (the
    selection that was typed, or null), ``inertia``, ``n_iter`` and ``counts`` (rows that each
    centre stands for; older files have none).

Both are read without pickle. The header of each is checked before it is unpacked, so a file from a
stranger can at worst be refused. The file holds no time and no path: equal fits give equal bytes.
"""

from dataclasses import dataclass, field

import numpy as np

from .._json import loads
from .._text import first_line
from ..sources import Archive
from ._data import check_readable, file_errors
from ._errors import BadData
from ._output import to_json

FORMAT = "tilewise-kmeans"
FORMAT_VERSION = 1

# Room for the names of a million columns.
_MOST_METADATA_BYTES = 1 << 28
_MOST_COUNT = 1 << 62


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
    counts : tuple or None
        Rows that each centre stands for, for those who go on learning.
    """

    centers: np.ndarray
    tilewise_version: str
    params: dict = field(default_factory=dict)
    n_samples: int | None = None
    feature_names: tuple | None = None
    columns: str | None = None
    inertia: float | None = None
    n_iter: int | None = None
    counts: tuple | None = None

    def metadata(self):
        """Return what the archive holds beside the centres."""
        kind = {"format": FORMAT, "format_version": FORMAT_VERSION}
        known = {name: value for name, value in vars(self).items() if name != "centers"}
        return kind | known | {"dtype": self.centers.dtype.name}

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
        if self.counts is not None:
            estimator._counts = np.array(self.counts, dtype=np.float64)
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
    what = f"{path}: not a model that `tilewise fit` wrote"
    with file_errors(), Archive(path) as archive:
        missing = [name for name in ("centers", "metadata") if name not in archive.names]
        if missing:
            raise BadData(f"{what}: it holds no array {missing[0]!r}")
        fault = _fault_of_headers(archive)
        if fault is not None:
            raise BadData(f"{what}: {fault}")
        centers, text = archive.read("centers"), archive.read("metadata")
    try:
        return _checked(centers, loads(str(text)))
    except ValueError as error:
        raise BadData(f"{what}: {first_line(error)}") from error


def _fault_of_headers(archive):
    for name in ("centers", "metadata"):
        archive.header(name).check_plain(f"{archive.name} [{name}]")
    centers, metadata = archive.header("centers"), archive.header("metadata")
    kind, shape = centers.dtype, centers.shape
    if kind.kind != "f" or kind.itemsize not in (4, 8) or len(shape) != 2:
        return f"centres of dtype {kind} and shape {shape}"
    if 0 in shape:
        return "the centres are empty"
    if metadata.dtype.kind != "U" or metadata.shape != ():
        return "the metadata is not a text"
    if metadata.dtype.itemsize > _MOST_METADATA_BYTES:
        return "the metadata is far too long"
    return None


def _checked(centers, metadata):
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ValueError(f"the format is not {FORMAT!r}")
    version = metadata.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise ValueError(
            f"format version {version!r:.60}; this release reads version {FORMAT_VERSION}"
        )
    if not np.isfinite(centers).all():
        raise ValueError("the centres are not finite")
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
        n_samples=_count(metadata, "n_samples"),
        feature_names=names,
        columns=columns if isinstance(columns, str) else None,
        inertia=_inertia(metadata),
        n_iter=_count(metadata, "n_iter"),
        counts=_counts(metadata, len(centers)),
    )


def _count(metadata, name):
    count = metadata.get(name)
    if count is not None and (type(count) is not int or not 0 <= count < _MOST_COUNT):
        raise ValueError(f"{name} is {count!r:.60}, no count")
    return count


def _counts(metadata, n_clusters):
    counts = metadata.get("counts")
    if counts is None:
        return None
    if not isinstance(counts, list) or len(counts) != n_clusters:
        raise ValueError(f"the counts are not a list of {n_clusters} numbers")
    for count in counts:
        if type(count) not in (int, float) or not 0 <= count < _MOST_COUNT:
            raise ValueError(f"a count is {count!r:.60}")
    return tuple(counts)


def _inertia(metadata):
    inertia = metadata.get("inertia")
    if inertia is not None and (type(inertia) not in (int, float) or inertia < 0):
        raise ValueError(f"the inertia is {inertia!r:.60}")
    return inertia
