"""The types that public signatures are written in.

Arrays say how many dimensions they have, so that no part of what a function returns is unknown
to a type checker. What a function takes is named by what is asked of it: an ``__array__`` method,
a ``tocsr`` method. So data frames, tables and sparse matrices fit whether or not their packages
have types, and none of them is imported.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np

__all__ = [
    "ChunkSize", "CsrMatrix", "DataLike", "DatasetLike", "Device", "Engine", "FloatDtype",
    "FloatMatrix", "FloatVector", "InitFunction", "InitLike", "Matrix", "MatrixLike",
    "MetricFunction", "MetricName", "NeighborName", "PathLike", "RandomState", "Rank3",
    "SourceLike", "SparseLike", "SupportsArray", "Vector", "VectorLike", "WeightsLike",
]  # fmt: skip

_Scalar = TypeVar("_Scalar", bound=np.generic)

# ---------------------------------------------------------------- what comes back

Vector: TypeAlias = np.ndarray[tuple[int], np.dtype[_Scalar]]
Matrix: TypeAlias = np.ndarray[tuple[int, int], np.dtype[_Scalar]]
Rank3: TypeAlias = np.ndarray[tuple[int, int, int], np.dtype[_Scalar]]

# float32 for float32 data, else float64.
FloatDtype: TypeAlias = np.dtype[np.float32] | np.dtype[np.float64]
FloatVector: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float32 | np.float64]]
FloatMatrix: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float32 | np.float64]]

# ---------------------------------------------------------------- what is taken


class SupportsArray(Protocol):
    """NumPy's arrays and scalars, pandas' frames and columns, Arrow's tables, tensors."""

    def __array__(self) -> np.ndarray[Any, Any]: ...


class SparseLike(Protocol):
    """SciPy's sparse matrices and arrays, of any format."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def tocsr(self, copy: bool = False) -> Any: ...


class CsrMatrix(SparseLike, Protocol):
    """SciPy's CSR matrix, where a function returns one, as far as SciPy has no types."""

    data: FloatVector
    indices: np.ndarray[tuple[int], np.dtype[np.int32 | np.int64]]
    indptr: np.ndarray[tuple[int], np.dtype[np.int32 | np.int64]]

    @property
    def nnz(self) -> int: ...

    @property
    def dtype(self) -> FloatDtype: ...

    def toarray(self) -> FloatMatrix: ...

    def __len__(self) -> int: ...


class DatasetLike(Protocol):
    """Arrow's data sets and readers of record batches."""

    @property
    def schema(self) -> Any: ...


# Nested lists of numbers, spelled out: NumPy's ArrayLike takes text as well, with which a
# misspelled parameter would pass for an array.
VectorLike: TypeAlias = SupportsArray | Sequence[float | SupportsArray]
MatrixLike: TypeAlias = (
    SupportsArray | SparseLike | Sequence[Sequence[float | SupportsArray] | SupportsArray]
)
PathLike: TypeAlias = str | os.PathLike[str]


class SourceLike(Protocol):
    """What tells a `tilewise.sources.RowSource`, which has more, from other arguments."""

    @property
    def n_features(self) -> int: ...

    def read(self, first: int, out: Any) -> int: ...


# One kind of sequence, not several: mypy could not tell which of them a list display is.
DataLike: TypeAlias = (
    SupportsArray
    | SparseLike
    | Sequence[Sequence[float | SupportsArray] | SupportsArray | PathLike]
    | PathLike
    | SourceLike
    | DatasetLike
    | Callable[[], Iterable[SupportsArray]]
    | Iterator[SupportsArray]
)
WeightsLike: TypeAlias = VectorLike | float

# Metrics by name: those of tilewise and their aliases, and what scikit-learn adds.
MetricName: TypeAlias = Literal[
    "braycurtis", "canberra", "chebyshev", "cityblock", "correlation", "cosine", "dice",
    "euclidean", "hamming", "haversine", "inner_product", "jaccard", "l1", "l2", "mahalanobis",
    "manhattan", "matching", "minkowski", "nan_euclidean", "rogerstanimoto", "russellrao",
    "seuclidean", "sokalsneath", "sqeuclidean", "wminkowski", "yule",
]  # fmt: skip
# Other names of two of them, where neighbours are looked for.
NeighborName: TypeAlias = Literal["infinity", "p"]
MetricFunction: TypeAlias = Callable[[Any, Any], float]

ChunkSize: TypeAlias = int | Literal["auto"]
Engine: TypeAlias = Literal["auto", "fused", "blas"]
Device: TypeAlias = Literal["auto", "cpu", "cuda"]
RandomState: TypeAlias = int | np.random.RandomState | None


class InitFunction(Protocol):
    """What ``init`` may be, to choose the centres itself."""

    def __call__(
        self, X: Any, n_clusters: int, /, *, random_state: np.random.RandomState
    ) -> MatrixLike: ...


InitLike: TypeAlias = Literal["k-means++", "k-means||", "random"] | InitFunction | MatrixLike
