"""The rows that experiments run on: the same for the same sizes, on every machine."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tilewise._sizes import sized
from tilewise.engine import Pass
from tilewise.plan import machine

__all__ = ["blobs", "check_room", "repeated", "room"]


def check_room(parameters: Mapping[str, Any]) -> None:
    """Raise ValueError where rows or centres alone do not fit into the memory of the machine.

    Parameters of an experiment without rows, features and clusters pass.

    Examples
    --------
    >>> from tilewise.lab._data import check_room
    >>> check_room({"rows": 10**12, "features": 10**6, "clusters": 2})
    Traceback (most recent call last):
    ...
    ValueError: 1000000000000 rows x 1000000 features do not fit into the ... of memory ...
    """
    if not {"rows", "features", "clusters"} <= set(parameters):
        return
    limit, whose = room()
    size = np.dtype(parameters.get("dtype", "float64")).itemsize
    for name, width in (("rows", size), ("clusters", 8)):
        count, features = parameters[name], parameters["features"]
        if count * features * width > limit:
            raise ValueError(
                f"{count} {name} x {features} features do not fit into the {sized(limit)} "
                f"of memory {whose}: choose fewer {name} or features"
            )


def room() -> tuple[int, str]:
    """Bytes that this process may hold at most, and whose memory that is, in words.

    The memory of the machine or of the control group, or the limit of the process (``ulimit -v``).
    """
    memory, whose = machine().memory_bytes.value, "of this machine"
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return memory, whose
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and 0 <= limit < memory:
        return limit, "that the limit of this process leaves (ulimit -v)"
    return memory, whose


def blobs(rows: int, features: int, clusters: int, dtype="float32", offset: float = 0.0):
    """Overlapping groups of rows, and float64 centres that fit them roughly.

    `offset` is added to everything: data far from the origin.
    """
    rng = np.random.default_rng((rows, features, clusters))
    middles = rng.normal(size=(clusters, features))
    X = np.empty((rows, features), dtype=dtype)
    for start in range(0, rows, 1 << 14):
        part = X[start : start + (1 << 14)]
        noise = rng.normal(size=part.shape)
        part[...] = middles[rng.integers(clusters, size=len(part))] + noise + offset
    centers = middles + 0.1 * rng.normal(size=middles.shape) + offset
    return X, centers


def repeated(rows, centers, chosen):
    """A pass, and what runs it once more; every run does the same work."""
    work = Pass(rows, len(centers), chosen)

    def call():
        work.assign(centers)

    return work, call
