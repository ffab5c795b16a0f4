"""The graph of ONNX that finds the closest centre, exactly.

Every graph ranks centres by the scores S = |c'|² - 2 x'·c' with x' = x - o and c' = c - o: one
product of matrices. A score is rounded. `Band` bounds by how much, from the number of columns, the
norm of the row and the largest norm of a centre, for products added up in any order (the proof is
in docs/exact-labels.md). Where the two lowest scores of a row are further apart than the
band, the lowest one is the label. For the other rows, a branch computes the canonical squared
distance to each centre within the band: direct differences in float64, column l added to running
sum l % 8, the eight sums added up as ((0+4)+(2+6))+((1+5)+(3+7)). ONNX fixes no order of additions
within a reduction, so the order is spelled out: a Scan adds up blocks of eight columns.

With float64 scores the branch runs for ties, and for rows so close to a tie that no rounded score
can tell. With float32 scores it runs for about one row in a hundred to one in a thousand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilewise._onnx_nodes import Nodes

__all__ = ["Band", "Scored", "add_graph", "origin_of"]

#: Sums of the canonical order.
_LANES = 8
#: Squared distances whose error may exceed this part of them come from direct differences: a
#: distance is then off by an eighth of a millionth at most.
_DISTANCE_ERROR = 2.5e-7
#: Magnitudes of centres about the origin whose squares need no scale, as powers of two: what a row
#: a million times farther away needs is still in range.
_IN_RANGE = {np.dtype(np.float32): (-20, 30), np.dtype(np.float64): (-300, 300)}
#: Rows with larger values are multiplied by a power of two, where labels come from their squares.
_HUGE, _HUGE_EXPONENT = 2.0**480, 520
#: The score of a second centre where there is only one; its square is in range.
_FAR = {np.dtype(np.float32): 1e37, np.dtype(np.float64): 1e300}


def origin_of(centers: np.ndarray) -> np.ndarray:
    """An origin near the centres, of few digits.

    Rows and centres that are short numbers, such as pixels, stay short when it is taken away, so
    that their products are exact. In each column it is a multiple of a power of two, which is
    between a quarter and a half of the spread; where all centres agree it is their value.

    Parameters
    ----------
    centers : ndarray of shape (k, d), float64

    Returns
    -------
    ndarray of shape (d,), float64
    """
    low, high = centers.min(axis=0), centers.max(axis=0)
    with np.errstate(over="ignore"):
        # Half of it: the whole spread may be larger than any number.
        half = high / 2 - low / 2
    step = np.ldexp(1.0, np.frexp(half)[1] - 1)
    middle = low + half
    usable = (half > 0) & (step > 0) & np.isfinite(step)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        rounded = np.rint(middle / step) * step
    return np.where(usable & np.isfinite(rounded), rounded, np.where(half > 0, 0.0, low))


@dataclass(frozen=True)
class Band:
    """How far a score may lie above the lowest one and still belong to the closest centre.

    It is ``fixed + per_square * |x'|²``. With u the unit roundoff of the scores, v that of float64
    and L the largest |c'|, the error of a score s = ½S is at most

        E = α (|x'| L + ½L²) + β (|x'| + L)² + η (1 + |x'|)

    and S of the closest centre is at most 4E above the lowest. |x'| L ≤ ½(|x'|² + L²) makes
    the bound linear in the squared norm, which takes one node instead of three.

    Attributes
    ----------
    fixed, per_square : float
        Infinite where no score decides.
    """

    fixed: float
    per_square: float

    @classmethod
    def of(cls, n_features: int, largest: float, dtype: Any) -> Band:
        """The band of scores of a type.

        Parameters
        ----------
        n_features : int
        largest : float
            The largest norm of a centre about the origin.
        dtype : dtype
            Of the scores: float32 or float64.
        """
        single = np.dtype(dtype) == np.float32
        u = 2.0**-24 if single else 2.0**-53
        # d additions in any order, and 16: rounding x', c' and |c'|² takes 5, the products 1,
        # comparing the two lowest scores 3. In float64, adding up |c'|² takes d more.
        n = (n_features if single else 2 * n_features) + 16
        if n * u > 0.25:
            return cls(math.inf, math.inf)
        alpha = n * u / (1 - n * u)
        beta = (n_features / 8 + 12) * 2.0**-53
        eta = (n_features + 8) * (2.0**-120 if single else 2.0**-1000)
        # The norm is off by (d + 2) u at most, in any order, and the band itself is computed.
        margin = 1.02 / (1 - 2 * n * u)
        fixed = margin * ((4 * alpha + 8 * beta) * largest**2 + 6 * eta)
        per_square = margin * (2 * alpha + 8 * beta + 2 * eta)
        # The attributes of a node are float32.
        per_square = float(np.nextafter(np.float32(per_square), np.float32(np.inf)))
        return cls(fixed, per_square)


@dataclass(frozen=True)
class Scored:
    """Centres as a graph wants them.

    Attributes
    ----------
    direct : ndarray of shape (m, d)
        The different ones among the centres, in order of first occurrence, scaled.
    places : ndarray of shape (m,), int64
        Where each occurs first.
    copies : ndarray of shape (k,), int64
        For each centre, which of the different ones it is.
    origin : ndarray of shape (d,), float64
        Scaled.
    shifted : ndarray of shape (m, d), float64
        About the origin, scaled.
    exponent : int
        Of the power of two that rows are multiplied by.
    dtype : dtype
        Of the scores.
    band : Band
    """

    direct: np.ndarray
    places: np.ndarray
    copies: np.ndarray
    origin: np.ndarray
    shifted: np.ndarray
    exponent: int
    dtype: np.dtype
    band: Band

    @classmethod
    def of(cls, centers: np.ndarray, dtype: Any) -> Scored:
        """What a graph wants of centres of shape (k, d), float32 or float64."""
        dtype = np.dtype(dtype)
        # Adding zero makes one of the two zeros: they are the same number.
        _, places, copies = np.unique(centers + 0, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(places)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        places, copies = places[order].astype(np.int64), rank[copies.ravel()].astype(np.int64)
        direct = centers[places]
        wide = direct.astype(np.float64)
        origin = origin_of(wide)
        with np.errstate(over="ignore"):
            largest = np.abs(wide - origin).max()
        exponent = 0
        low, high = _IN_RANGE[dtype]
        if largest > 0 and not 2.0**low <= largest <= 2.0**high:
            # frexp of infinity says 0: from there on, differences overflow.
            exponent = -int(np.frexp(largest)[1]) if np.isfinite(largest) else -520
            exponent = max(-1000, min(1000, exponent))
            direct, origin = np.ldexp(wide, exponent), np.ldexp(origin, exponent)
        with np.errstate(over="ignore"):
            shifted = direct.astype(np.float64) - origin
            norm = math.sqrt(float(np.max(np.sum(shifted**2, axis=1))))
        band = Band.of(centers.shape[1], norm, dtype)
        return cls(direct, places, copies, origin, shifted, exponent, dtype, band)

    @property
    def repeats(self) -> bool:
        """Whether some centre occurs more than once."""
        return len(self.places) < len(self.copies)


def add_graph(
    nodes: Nodes, x: str, centers: np.ndarray, outputs: tuple[str, ...], precision: str,
    distance_dtype: Any,
) -> dict[str, str]:  # fmt: skip
    """Add the nodes that find labels and distances.

    Parameters
    ----------
    nodes : Nodes
        Where they go.
    x : str
        Name of the rows (n, d), of any type of numbers.
    centers : ndarray of shape (k, d), float32 or float64
    outputs : tuple of {"label", "distances", "score"}
        What is wanted.
    precision : {"double", "float32"}
        Of the scores. Distances need float64 scores, whatever is said here.
    distance_dtype : dtype
        Of the distances that come out: float64 if rows may be float64.

    Returns
    -------
    dict of str to str
        The name of each output: "label" int64 (n,), "distances" (n, k), "score" float64 (n,).
    """
    measured = "distances" in outputs
    labelled = "label" in outputs or "score" in outputs
    single = precision == "float32" and not measured
    centred = Scored.of(centers, np.float32 if single else np.float64)
    rows, scores, squares = _add_scores(nodes, x, centred)
    direct = nodes.constant(centred.direct)
    found: dict[str, str] = {}
    closed = []
    if labelled:
        found["values"], index = nodes.several(
            "TopK", scores, nodes.constant([2], np.int64), outputs=2, axis=1, largest=0, sorted=1
        )
        closed.append(_add_gap_test(nodes, found["values"], squares, centred))
    if measured:
        found["squared"] = nodes("Add", scores, squares)
        closed.append(_add_accuracy_test(nodes, found["squared"], squares, centred))
    decided = closed[0] if len(closed) == 1 else nodes("And", *closed)
    # In float32: the least of no truth values is an error, that of no numbers is infinity.
    least = nodes.reduced("ReduceMin", nodes.cast(decided, np.float32), None, keepdims=0)
    # What branches use is an ancestor of the condition: whoever sorts nodes keeps it before them.
    condition = nodes.cast(least, np.bool_)

    plain, careful = nodes.branch(), nodes.branch()
    left = {}
    if labelled:
        left["label"] = _add_first(plain, index, centred)
    if measured:
        left["squared"] = plain("Identity", found["squared"])
    wide = np.dtype(distance_dtype) == np.float64
    right = _add_decision(careful, rows, direct, scores, squares, found, centred, wide)
    kinds = {"label": np.int64, "squared": np.float64}
    results = nodes.several(
        "If", condition, outputs=len(left),
        then_branch=plain.graph({}, {left[name]: kinds[name] for name in left}),
        else_branch=careful.graph({}, {right[name]: kinds[name] for name in left}),
    )  # fmt: skip
    chosen = dict(zip(left, results, strict=True))
    if measured:
        chosen["distances"] = _add_roots(nodes, chosen["squared"], centred, distance_dtype)
    if "score" in outputs:
        chosen["score"] = _add_score(nodes, rows, direct, chosen["label"], centred)
    return {name: chosen[name] for name in outputs}


def _add_scores(nodes, x, centred):
    """Names of the rows (n, d) in float64, their scores (n, m) and squared norms (n, 1)."""
    rows = nodes.cast(x, np.float64)
    if centred.exponent:
        rows = nodes("Mul", rows, nodes.constant(2.0**centred.exponent, np.float64))
    moved = nodes("Sub", rows, nodes.constant(centred.origin))
    squared = np.sum(centred.shifted**2, axis=1)
    doubled = -2 * centred.shifted
    if len(doubled) == 1:
        # Two lowest scores are compared: the second is out of reach.
        doubled = np.vstack([doubled, np.zeros_like(doubled)])
        squared = np.append(squared, _FAR[centred.dtype])
    if centred.dtype == np.float32:
        moved = nodes.cast(moved, np.float32)
    # onnxruntime multiplies one float64 row faster by centres that are columns, one float32 row
    # by centres that are rows.
    transposed = int(centred.dtype == np.float32)
    factors = nodes.constant(doubled if transposed else doubled.T, centred.dtype)
    bias = nodes.constant(squared, centred.dtype)
    scores = nodes("Gemm", moved, factors, bias, transB=transposed)
    return rows, scores, nodes.reduced("ReduceSumSquare", moved, 1)


def _add_gap_test(nodes, values, squares, centred):
    """Whether the two lowest scores are further apart than the band: (n, 1).

    False for what is no number.
    """
    signs = nodes.constant([[1.0], [-1.0]], centred.dtype)
    gap = nodes("Gemm", values, signs, squares, beta=centred.band.per_square)
    with np.errstate(over="ignore"):
        fixed = nodes.constant(-_up(centred.band.fixed, centred.dtype), centred.dtype)
    return nodes("Less", gap, fixed)


def _accuracy(centred):
    """Squared distances above ``fixed + per_square * |x'|²`` are accurate."""
    # A squared distance is off by half the band, and by rounding where |x'|² is added.
    return centred.band.fixed / _DISTANCE_ERROR, centred.band.per_square / _DISTANCE_ERROR


def _add_accuracy_test(nodes, squared, squares, centred):
    """Whether the least squared distance is accurate: (n, 1)."""
    limit = _add_limit(nodes, squares, *_accuracy(centred))
    return nodes("Greater", nodes.reduced("ReduceMin", squared, 1), limit)


def _add_limit(nodes, squares, fixed, per_square):
    per_square = nodes.constant(per_square, np.float64)
    return nodes("Add", nodes("Mul", squares, per_square), nodes.constant(fixed, np.float64))


def _add_first(nodes, index, centred):
    """The centre of the lowest score (n,)."""
    first = nodes("Gather", index, nodes.constant(0, np.int64), axis=1)
    if not centred.repeats:
        return first
    return nodes("Gather", nodes.constant(centred.places), first)


def _add_decision(nodes, rows, direct, scores, squares, found, centred, wide):
    """Decide by canonical distances among the pairs of a row and a centre that need them.

    Their differences (pairs, d) are in memory at once.
    """
    masks = []
    if "values" in found:
        lowest = nodes.reduced("ReduceMin", nodes.cast(found["values"], np.float64), 1)
        norms = nodes.cast(squares, np.float64)
        reach = _add_limit(nodes, norms, centred.band.fixed, centred.band.per_square)
        limit = nodes("Add", lowest, reach)
        masks.append(nodes("Not", nodes("Greater", nodes.cast(scores, np.float64), limit)))
    if "squared" in found:
        limit = _add_limit(nodes, squares, *_accuracy(centred))
        masks.append(nodes("Not", nodes("Greater", found["squared"], limit)))
    mask = masks[0] if len(masks) == 1 else nodes("Or", *masks)
    # Rows with NaN or infinity have no closest centre. A finite number less itself is zero.
    zeros = nodes.reduced("ReduceSumSquare", nodes("Sub", rows, rows), 1)
    finite = nodes("Equal", zeros, nodes.constant(0.0, np.float64))
    pairs = nodes("NonZero", nodes("And", mask, finite))
    row = nodes("Gather", pairs, nodes.constant(0, np.int64), axis=0)
    column = nodes("Gather", pairs, nodes.constant(1, np.int64), axis=0)
    if len(centred.direct) == 1:
        # The second score is no centre's.
        column = nodes("Mul", column, nodes.constant(0, np.int64))
    other = nodes("Gather", direct, column, axis=0)
    gaps = nodes("Sub", nodes("Gather", rows, row, axis=0), nodes.cast(other, np.float64))
    if wide:
        gaps = nodes("Mul", gaps, nodes("Gather", _add_scales(nodes, rows, -1), row, axis=0))
    distances = _add_canonical(nodes, gaps, centred.direct.shape[1])
    places = nodes("Transpose", pairs, perm=[1, 0])
    results = {}
    if "values" in found:
        results["label"] = _add_least(nodes, scores, places, distances, centred)
    if "squared" in found:
        if wide:
            back = nodes("Gather", _add_scales(nodes, rows, 1), row, axis=0)
            back = nodes("Reshape", back, nodes.constant([-1], np.int64))
            distances = nodes("Mul", nodes("Mul", distances, back), back)
        results["squared"] = nodes("ScatterND", found["squared"], places, distances)
    return results


def _add_scales(nodes, rows, sign):
    """A power of two for each row (n, 1): not one if squares of the row would overflow."""
    largest = nodes.reduced("ReduceMax", nodes("Abs", rows), 1)
    huge = nodes("Greater", largest, nodes.constant(_HUGE, np.float64))
    scale = nodes.constant(2.0 ** (sign * _HUGE_EXPONENT), np.float64)
    return nodes("Where", huge, scale, nodes.constant(1.0, np.float64))


def _add_canonical(nodes, gaps, n_features):
    """Squared lengths (p,) of differences (p, d), added up in the canonical order."""
    blocks = -(-n_features // _LANES)
    missing = blocks * _LANES - n_features
    squares = nodes("Mul", gaps, gaps)
    if missing:
        squares = nodes("Pad", squares, nodes.constant([0, 0, 0, missing], np.int64))
    sums = squares
    if blocks > 1:
        shape = nodes.constant([-1, blocks, _LANES], np.int64)
        apart = nodes("Transpose", nodes("Reshape", squares, shape), perm=[1, 0, 2])
        first = nodes("Gather", apart, nodes.constant(0, np.int64), axis=0)
        ends = (nodes.constant([1], np.int64), nodes.constant([blocks], np.int64))
        rest = nodes("Slice", apart, *ends, nodes.constant([0], np.int64))
        step = nodes.branch()
        total, block = step.unique("total"), step.unique("block")
        grown = step("Add", total, block)
        body = step.graph({total: np.float64, block: np.float64}, {grown: np.float64})
        sums = nodes("Scan", first, rest, body=body, num_scan_inputs=1)
    for width in (4, 2, 1):
        halves = nodes.constant([width, width], np.int64)
        sums = nodes("Add", *nodes.several("Split", sums, halves, outputs=2, axis=1))
    return nodes("Reshape", sums, nodes.constant([-1], np.int64))


def _add_least(nodes, scores, places, distances, centred):
    """The lowest index among the least of the distances (n,); -1 where none is a number."""
    from onnx import numpy_helper

    infinite = numpy_helper.from_array(np.array([np.inf]))
    nothing = nodes("ConstantOfShape", nodes("Shape", scores), value=infinite)
    table = nodes("ScatterND", nothing, places, distances)
    label = nodes("ArgMin", table, axis=1, keepdims=0)
    if centred.repeats:
        label = nodes("Gather", nodes.constant(centred.places), label)
    least = nodes.reduced("ReduceMin", table, 1, keepdims=0)
    some = nodes("Less", least, nodes.constant(np.inf, np.float64))
    return nodes("Where", some, label, nodes.constant(-1, np.int64))


def _add_roots(nodes, squared, centred, dtype):
    """Distances (n, k) of squared ones (n, m)."""
    roots = nodes("Sqrt", nodes("Max", squared, nodes.constant(0.0, np.float64)))
    if centred.exponent:
        roots = nodes("Mul", roots, nodes.constant(2.0**-centred.exponent, np.float64))
    if centred.repeats or len(centred.places) == 1:
        roots = nodes("Gather", roots, nodes.constant(centred.copies), axis=1)
    return roots if np.dtype(dtype) == np.float64 else nodes.cast(roots, dtype)


def _add_score(nodes, rows, direct, label, centred):
    """Minus the squared distance to the closest centre (n,)."""
    if centred.repeats:
        label = nodes("Gather", nodes.constant(centred.copies), label)
    own = nodes.cast(nodes("Gather", direct, label, axis=0), np.float64)
    squared = nodes.reduced("ReduceSumSquare", nodes("Sub", rows, own), 1, keepdims=0)
    if centred.exponent:
        # Twice, since the square of a power of two need not be a number of float64.
        back = nodes.constant(2.0**-centred.exponent, np.float64)
        squared = nodes("Mul", nodes("Mul", squared, back), back)
    return nodes("Neg", squared)


def _up(value, dtype):
    """The value in a type, not below it."""
    rounded = np.dtype(dtype).type(value)
    return rounded if rounded >= value else np.nextafter(rounded, np.dtype(dtype).type(np.inf))
