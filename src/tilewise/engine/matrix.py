"""Matrices of distances between two sets of rows."""

import dataclasses
import math

import numpy as np

from tilewise.kernels import _pairs, _sparse
from tilewise.kernels._rows import Rows
from tilewise.plan import PairPlan, plan_pairs, thresholds
from tilewise.plan.pairs import walks_y

from .ranges import Scale, extent

__all__ = [
    "KERNELS", "LOOKED_AT", "ProductTerms", "fill_matrix", "looked_at", "plan_matrix",
    "product_terms",
]  # fmt: skip

#: Names of the kernels that `fill_matrix` knows.
KERNELS = _pairs.KERNELS

# Elements of rows that one thread gets through in a quarter of a second, or fewer (measured
# with AVX2): between two checks for Ctrl-C.
_UNINTERRUPTED = {"minkowski": 2**23, "canberra": 2**27, "braycurtis": 2**28}
_UNINTERRUPTED_OTHERS = 2**30
# Stored entries that meet others, likewise: each is several times the work.
_UNINTERRUPTED_ENTRIES = 2**27
#: Rows of each side that are looked at to find an origin.
LOOKED_AT = 64

# Bytes of rows of length one that are made at a time, of X and of Y.
_UNIT_BYTES = 16 * 2**20


def plan_matrix(
    rows_x: Rows, rows_y: Rows, out_dtype, *, kernel, p=2.0, weights=None, shape=None, **facts
) -> PairPlan:
    """The plan for a matrix between two sets of rows, or a part of it.

    Parameters
    ----------
    rows_x, rows_y : Rows
    out_dtype : dtype
        Type of the results.
    kernel : str
    p : float, default=2.0
    weights : ndarray of shape (d,), optional
    shape : tuple of int, optional
        Shape of the part; the whole by default.
    **facts
        Passed on to `plan_pairs`: n_threads, machine, fresh.

    Returns
    -------
    PairPlan
    """
    n_x, n_y = (rows_x.n_rows, rows_y.n_rows) if shape is None else shape
    dtype = _pairs.arithmetic(rows_x, rows_y, out_dtype, kernel, p, weights)
    direct = (
        rows_x.is_direct
        and rows_y.is_direct
        and rows_x.compute_dtype == rows_y.compute_dtype == dtype
    ) and kernel != "cosine"
    density = None
    if kernel in _sparse.KERNELS and weights is None:
        density = tuple(rows.density if rows.is_sparse else None for rows in (rows_x, rows_y))
    return plan_pairs(
        n_x, n_y, rows_x.n_features, dtype, out_dtype=out_dtype, direct=direct, density=density,
        **facts,
    )  # fmt: skip


def fill_matrix(
    rows_x: Rows, rows_y: Rows, out: np.ndarray, *, kernel: str, p: float = 2.0,
    weights: np.ndarray | None = None, plan: PairPlan | None = None, x_first: int = 0,
    y_first: int = 0, canonical: bool = True,
) -> np.ndarray:  # fmt: skip
    """Write distances of some rows of X to some rows of Y.

    Parameters
    ----------
    rows_x : Rows of shape (n, d)
    rows_y : Rows of shape (m, d)
    out : ndarray of shape (a, b), float32 or float64
        ``out[i, j]`` becomes the distance of row ``x_first + i`` of X to row ``y_first + j``
        of Y. Its rows must be contiguous; memory maps will do. float32 is meant for two sets
        of float32 rows; float64 results are computed in float64 throughout.
    kernel : str
        One of `KERNELS`; "dot" is the inner product.
    p : float, default=2.0
        Exponent of "minkowski".
    weights : ndarray of shape (d,), optional
        What each element counts, as scipy.spatial.distance defines ``w``.
    plan : PairPlan, optional
        Sizes; results do not depend on it.
    x_first, y_first : int, default=0
    canonical : bool, default=True
        Whether float64 "euclidean" and "sqeuclidean" are the canonical distance, bit by bit,
        and "cosine" comes from direct differences. If not, those of long rows may come from
        norms and products, within the bound of docs/matrices.md.

    Returns
    -------
    ndarray
        `out`.

    Raises
    ------
    ValueError
        If shapes do not match, there is no such kernel, it takes no weights or `p` is not
        positive.

    Examples
    --------
    >>> import numpy as np
    >>> from tilewise.engine import Rows, fill_matrix
    >>> rows = Rows(np.array([[0.0, 0.0], [3.0, 4.0]]))
    >>> fill_matrix(rows, rows, np.empty((2, 2)), kernel="manhattan")
    array([[0., 7.],
           [7., 0.]])
    """
    if weights is not None:
        weights = np.ascontiguousarray(weights, dtype=np.float64)
    if plan is None:
        plan = plan_matrix(
            rows_x, rows_y, out.dtype, kernel=kernel, p=p, weights=weights, shape=out.shape
        )
    work = _Work(rows_x, rows_y, kernel, p, weights, plan)
    if plan.method == "csr":
        _fill_csr(work, out, x_first, y_first)
    elif kernel != "cosine" or canonical or not _fill_cosines(work, out, x_first, y_first):
        origin = _origin(rows_x, rows_y, out, kernel, p, weights, canonical)
        _fill_dense(dataclasses.replace(work, origin=origin), out, x_first, y_first)
    if kernel == "cosine" and rows_x is rows_y:
        # A row of zeros has distance one from everything but itself.
        offset = x_first - y_first
        rows = np.arange(max(0, -offset), min(out.shape[0], out.shape[1] - offset))
        out[rows, rows + offset] = 0.0
    return out


@dataclasses.dataclass(frozen=True)
class _Work:
    """What every part of a matrix has in common."""

    rows_x: Rows
    rows_y: Rows
    kernel: str
    p: float
    weights: np.ndarray | None
    plan: PairPlan
    origin: np.ndarray | None = None
    #: Rows of X and Y before they were divided by their lengths.
    own: tuple[Rows, Rows] | tuple[None, None] = (None, None)


def _fill_csr(work, out, x_first, y_first):
    rows_x, rows_y, plan = work.rows_x, work.rows_y, work.plan
    # Multiplications per row of X, and finishing its distances.
    shares = [rows.density for rows in (rows_x, rows_y) if rows.is_sparse]
    entries = (rows_x.n_features * math.prod(shares) + 4) * max(1, out.shape[1])
    step = max(256, int(_UNINTERRUPTED_ENTRIES * plan.n_threads // (1 + entries)))
    sizes = {
        "kernel": work.kernel, "isa": plan.isa, "n_threads": plan.n_threads,
        "panel_vectors": plan.csr_vectors,
    }  # fmt: skip
    # The interpreter checks for Ctrl-C between two calls.
    for first in range(0, out.shape[0], step):
        part = out[first : first + step]
        sizes["walk_y"] = walks_y(*part.shape, sparse=(rows_x.is_sparse, rows_y.is_sparse))
        at = x_first + first
        _sparse.fill_sparse(rows_x, at, rows_y, y_first, part, **sizes)
        if work.kernel == "dot" and not np.isfinite(part).all():
            # Parts of a sum overflowed: once more, with all values times a power of two.
            scale = Scale.of(extent(rows_x, rows_y)[1])
            again = np.empty(part.shape)
            _sparse.fill_sparse(scale.rows(rows_x), at, scale.rows(rows_y), y_first, again, **sizes)
            beyond = ~np.isfinite(part)
            part[beyond] = scale.undone(again, 2)[beyond]


def _fill_cosines(work, out, x_first, y_first):
    """Cosine distances of long rows from products of rows of length one, if these serve."""
    rows_x, rows_y = work.rows_x, work.rows_y
    if rows_x.is_sparse or rows_y.is_sparse:
        return False
    kernel = "unit_cosine"
    dtype = _pairs.arithmetic(rows_x, rows_y, out.dtype, kernel)
    origin = _origin(rows_x, rows_y, out, kernel, 2.0, None, False)
    if origin is None:
        return False
    work = dataclasses.replace(work, kernel=kernel, p=2.0, weights=None, origin=origin)
    step = max(thresholds.MIRRORED_ROWS, _UNIT_BYTES // (rows_x.n_features * dtype.itemsize))
    for j in range(0, out.shape[1], step):
        for i in range(0, out.shape[0], step):
            part = out[i : i + step, j : j + step]
            _fill_units(work, part, dtype, x_first + i, y_first + j)
    return True


def _fill_units(work, out, dtype, x_first, y_first):
    n, m = out.shape
    plan, own = work.plan, (None, None)
    same = work.rows_x is work.rows_y and (x_first, n) == (y_first, m)
    if dtype == np.float32:
        own_x = _readable_rows(work.rows_x, x_first, n)
        own = own_x, own_x if same else _readable_rows(work.rows_y, y_first, m)
    x, zero_x = _units(work.rows_x, x_first, n, dtype, plan.isa)
    y, zero_y = (x, zero_x) if same else _units(work.rows_y, y_first, m, dtype, plan.isa)
    sizes = plan_matrix(
        x, y, out.dtype, kernel=work.kernel, shape=out.shape, n_threads=plan.n_threads
    )
    sizes = dataclasses.replace(sizes, isa=plan.isa)
    _fill_dense(dataclasses.replace(work, rows_x=x, rows_y=y, plan=sizes, own=own), out, 0, 0)
    out[zero_x] = 1.0
    if zero_y.any():
        out[:, zero_y] = 1.0


def _readable_rows(rows, first, count):
    """Some rows that kernels read without staging; a copy if need be."""
    if rows.is_direct:
        return Rows(rows.source[first : first + count])
    return Rows(rows.take(np.arange(first, first + count)))


def _units(rows, first, count, dtype, isa):
    """Some rows divided by their lengths, and which of them are zero."""
    units = np.empty((count, rows.n_features), dtype=dtype)
    is_zero = np.zeros(count, dtype=np.int8)
    step = max(64, _UNINTERRUPTED_OTHERS // 16 // max(1, rows.n_features))
    # The interpreter checks for Ctrl-C between two calls.
    for at in range(0, count, step):
        part = slice(at, at + step)
        _pairs.unit_rows(rows, first + at, units[part], is_zero[part], isa=isa)
    return Rows(units), is_zero.astype(bool)


def _fill_dense(work, out, x_first, y_first):
    n, m = out.shape
    if (
        work.rows_x is not work.rows_y
        or (x_first, n) != (y_first, m)
        or work.origin is None
        or work.rows_x.n_features < thresholds.MIRRORED_FEATURES
        or n < 3 * thresholds.MIRRORED_ROWS
        or work.plan.n_threads > thresholds.MIRRORED_THREADS
    ):
        _fill_part(work, out, x_first, y_first)
        return
    # Products are the same bits in both orders: the lower triangle is copied.
    for first in range(0, n, thresholds.MIRRORED_ROWS):
        stop = min(n, first + thresholds.MIRRORED_ROWS)
        _fill_part(work, out[first:stop, first:], x_first + first, x_first + first)
        out[stop:, first:stop] = out[first:stop, stop:].T


def _fill_part(work, out, x_first, y_first):
    plan, kernel = work.plan, work.kernel
    own_x, own_y = work.own
    sizes = {
        "p": work.p, "weights": work.weights, "kernel": kernel, "isa": plan.isa,
        "n_threads": plan.n_threads, "row_block": plan.row_block,
        "column_block": plan.column_block, "fetch_rows": plan.fetch_rows,
        "group": plan.group, "turned": plan.turned, "streaming": plan.streaming,
        "origin": work.origin, "own_x": own_x, "own_y": own_y,
    }  # fmt: skip
    along = 1 if plan.turned else 0
    for first, last, low, high in _uninterrupted(work, out.shape, along):
        part = out[low:high, first:last] if along else out[first:last, low:high]
        start = (x_first + low, y_first + first) if along else (x_first + first, y_first + low)
        _pairs.fill(work.rows_x, start[0], work.rows_y, start[1], part, **sizes)


def _uninterrupted(work, shape, along):
    """Parts of a matrix between which the interpreter checks for Ctrl-C.

    Each is (first, last) of the longer side and (low, high) of the other one.
    """
    plan, depth = work.plan, max(1, work.rows_x.n_features)
    length, other = max(1, shape[along]), shape[1 - along]
    operations = _UNINTERRUPTED.get(work.kernel, _UNINTERRUPTED_OTHERS) * plan.n_threads
    block = plan.row_block * plan.n_threads if plan.n_threads > 1 else plan.row_block
    step = max(1, operations // (max(1, other) * depth) // plan.row_block) * plan.row_block
    step, width = max(step, block), max(1, other)
    if work.kernel in _UNINTERRUPTED:
        # So slow that a few rows are work enough.
        step = min(step, max(4 * plan.n_threads, operations // (width * depth)))
    else:
        # Whole blocks of packed columns, of which each is packed once for all the rows.
        blocks = operations // (min(step, length) * depth * plan.column_block)
        width = min(width, max(1, blocks) * plan.column_block)
    for first in range(0, length, step):
        for low in range(0, max(1, other), width):
            yield first, min(first + step, length), low, min(low + width, other)


def _origin(rows_x, rows_y, out, kernel, p, weights, canonical=True):
    """A point around which norms and products give most distances well, or None.

    It follows from the two sets of rows alone, and is the same for both orders of them: parts
    of a matrix, and its two halves, get the same bits.
    """
    squares = kernel in ("euclidean", "sqeuclidean") or (kernel == "minkowski" and p == 2)
    cosine = kernel in ("cosine", "unit_cosine")
    squares = squares or cosine
    dtype = _pairs.arithmetic(rows_x, rows_y, out.dtype, kernel, p, weights).name
    if (
        not squares
        or weights is not None
        or (canonical and dtype == "float64")
        or rows_x.n_features < thresholds.PRODUCTS_FEATURES[dtype]
        or min(rows_x.n_rows, rows_y.n_rows) < LOOKED_AT
    ):
        return None
    some_x, some_y = _some(rows_x), _some(rows_y)
    if cosine:
        some_x, some_y = _of_length_one(some_x), _of_length_one(some_y)
    with np.errstate(all="ignore"):
        means = [some.mean(axis=0, dtype=np.float64) for some in (some_x, some_y)]
        origin = ((means[0] + means[1]) * 0.5).astype(dtype)
    if not np.isfinite(origin).all():
        return None
    x, y, o = Rows(some_x, np.float64), Rows(some_y, np.float64), Rows(origin[None], np.float64)
    between = fill_matrix(x, y, np.empty((LOOKED_AT, LOOKED_AT)), kernel="sqeuclidean")
    norms_x = fill_matrix(x, o, np.empty((LOOKED_AT, 1)), kernel="sqeuclidean")
    norms_y = fill_matrix(y, o, np.empty((LOOKED_AT, 1)), kernel="sqeuclidean")
    share = _pairs.trusted_share(rows_x.n_features, kernel != "sqeuclidean", dtype)
    lowest = 0.0
    if kernel == "unit_cosine" and dtype == "float32":
        share, lowest = _pairs.cosine_share(rows_x.n_features)
    # Zeros among them: equal rows are no less work.
    bad = ~(between > np.maximum(share * (norms_x + norms_y.T), lowest))
    return origin if bad.mean() <= thresholds.CANCELLING_SHARE[dtype] else None


def looked_at(n_rows: int) -> np.ndarray:
    """Which rows are looked at, of at least as many: spread over all of them."""
    return np.arange(LOOKED_AT) * (n_rows - 1) // (LOOKED_AT - 1)


def _some(rows):
    return rows.take(looked_at(rows.n_rows))


@dataclasses.dataclass(frozen=True)
class ProductTerms:
    """How norms and products give the distances of two sets of rows.

    Attributes
    ----------
    origin : ndarray of shape (d,), of the type of the arithmetic
        What is subtracted from all rows before they are multiplied.
    trusted : float
        Share of the two squared norms together from which on a squared distance is kept.
    lowest : float
        The same for the squared distance itself: of float32 rows of length one.
    """

    origin: np.ndarray
    trusted: float
    lowest: float = 0.0


def product_terms(some_x: np.ndarray, some_y: np.ndarray, out_dtype, kernel: str):
    """How norms and products give distances whose rows are somewhere else, or None.

    Parameters
    ----------
    some_x, some_y : ndarray of shape (LOOKED_AT, d)
        The rows `looked_at`: float32 where `out_dtype` is.
    out_dtype : dtype
        Of the matrix.
    kernel : {"euclidean", "sqeuclidean", "cosine"}

    Returns
    -------
    ProductTerms or None
        None where differences give the distances; those of "cosine" are always of float64 then.
    """
    rows_x, rows_y, out = Rows(some_x), Rows(some_y), np.empty(0, dtype=out_dtype)
    kernel = "unit_cosine" if kernel == "cosine" else kernel
    origin = _origin(rows_x, rows_y, out, kernel, 2.0, None, False)
    if origin is None:
        return None
    d, dtype = rows_x.n_features, origin.dtype
    if kernel == "unit_cosine" and dtype == np.float32:
        return ProductTerms(origin, *_pairs.cosine_share(d))
    return ProductTerms(origin, _pairs.trusted_share(d, kernel == "euclidean", dtype))


def _of_length_one(some):
    norms = fill_matrix(
        Rows(some, np.float64), Rows(np.zeros((1, some.shape[1]))), np.empty((LOOKED_AT, 1)),
        kernel="euclidean",
    )  # fmt: skip
    norms[norms == 0] = 1
    return some / norms
