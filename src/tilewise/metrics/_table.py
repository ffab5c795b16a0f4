"""METRICS: what tilewise computes itself. The fallback has all other metrics.

A metric of the dot family is one row. One with an inner loop of its own is a row here, and a row
with its step in `TW_PAIR_STEPS` of `kernels/c/tw_pair.h`.
"""

from dataclasses import dataclass

__all__ = ["METRICS", "Metric", "find"]


@dataclass(frozen=True)
class Metric:
    """One row of the table.

    Attributes
    ----------
    name : str
        As scikit-learn or scipy spells it.
    family : {"dot", "difference"}
        What a kernel adds up: products of two elements, or functions of their difference.
    kernel : str
        The kernel that fills a matrix.
    surrogate : str
        The kernel whose values rank neighbours: the same order, less work.
    finish : {None, "sqrt"}
        What turns the surrogate's value into the distance, once per reported neighbour.
    aliases : tuple of str
        Other names in all functions.
    neighbor_aliases : tuple of str
        Other names in the functions that look for neighbours.
    parameters : frozenset of str
        Keyword arguments that the metric takes.
    sparse : bool
        Whether CSR rows have kernels; others are made dense a block at a time where
        scikit-learn takes sparse rows at all.
    zero_diagonal : bool
        Whether the distance of a row to itself is exactly zero.
    largest_first : bool
        Whether neighbours are the rows of the largest values: a similarity.
    undefined : bool
        Whether the distance of two finite rows may not be a number.
    always_finite : bool
        Whether the values are checked whatever `ensure_all_finite` says, as in scikit-learn.
    degree : {0, 1, 2}
        By what power of a factor the distance grows if all rows are multiplied by it.
    telling : bool
        Whether a NaN or an infinity in a row makes every distance of the row other than
        finite, so that looking at one row and one column of the result checks all of the data.
    """

    name: str
    family: str
    kernel: str
    surrogate: str
    finish: str | None = None
    aliases: tuple[str, ...] = ()
    neighbor_aliases: tuple[str, ...] = ()
    parameters: frozenset[str] = frozenset()
    sparse: bool = False
    zero_diagonal: bool = True
    largest_first: bool = False
    undefined: bool = False
    always_finite: bool = False
    telling: bool = False
    degree: int = 1


_NORMS = frozenset({"squared", "X_norm_squared", "Y_norm_squared"})
_WEIGHTS = frozenset({"w"})

_ROWS = (
    Metric(
        "euclidean", "difference", "euclidean", "sqeuclidean", "sqrt", aliases=("l2",),
        parameters=_NORMS, sparse=True, always_finite=True, telling=True,
    ),
    Metric(
        "sqeuclidean", "difference", "sqeuclidean", "sqeuclidean", parameters=_WEIGHTS,
        sparse=True, telling=True, degree=2,
    ),
    Metric(
        "manhattan", "difference", "manhattan", "manhattan", aliases=("l1", "cityblock"),
        sparse=True, always_finite=True, telling=True,
    ),
    Metric("cosine", "dot", "cosine", "cosine", sparse=True, always_finite=True, degree=0),
    Metric(
        "inner_product", "dot", "dot", "dot", sparse=True, zero_diagonal=False,
        largest_first=True, degree=2,
    ),
    Metric(
        "chebyshev", "difference", "chebyshev", "chebyshev", neighbor_aliases=("infinity",),
        parameters=_WEIGHTS,
    ),
    Metric(
        "minkowski", "difference", "minkowski", "minkowski", neighbor_aliases=("p",),
        parameters=_WEIGHTS | {"p"},
    ),
    Metric("canberra", "difference", "canberra", "canberra", parameters=_WEIGHTS, degree=0),
    Metric(
        "braycurtis", "difference", "braycurtis", "braycurtis", parameters=_WEIGHTS,
        undefined=True, degree=0,
    ),
    Metric("hamming", "difference", "hamming", "hamming", parameters=_WEIGHTS, degree=0),
    Metric(
        "nan_euclidean", "difference", "nan_euclidean", "nan_euclidean",
        parameters=frozenset({"squared", "missing_values", "copy"}), always_finite=True,
        zero_diagonal=False, undefined=True,
    ),
)  # fmt: skip

#: Name to row; aliases are looked up by `find`.
METRICS = {row.name: row for row in _ROWS}
_ALIASES = {alias: row for row in _ROWS for alias in row.aliases}
_NEIGHBOR_ALIASES = {alias: row for row in _ROWS for alias in row.neighbor_aliases}


def find(metric, *, neighbors=False) -> Metric | None:
    """The row of a metric by any of its names; None if the fallback computes it."""
    if not isinstance(metric, str):
        return None
    row = METRICS.get(metric) or _ALIASES.get(metric)
    if row is None and neighbors:
        row = _NEIGHBOR_ALIASES.get(metric)
    return row
