"""Sums as they are meant to be: of whole numbers, each of which stands for 2**-1074.

Every float64 is such a whole number, so Python adds them without rounding; the sum is rounded once,
at the end. Where kernels round numbers to the unit of a grid, `cut` does the same.
"""

from fractions import Fraction

import numpy as np

LIMB = 50  # bits of a limb


def whole(value):
    """A float as a whole number of 2**-1074."""
    numerator, denominator = float(value).as_integer_ratio()
    return numerator << (1075 - denominator.bit_length())


def cut(number, exponent):
    """A whole number, rounded to a multiple of 2**exponent; ties to even ones."""
    unit = 1 << max(0, exponent + 1074)
    return round(Fraction(number, unit)) * unit


def rounded(number, divisor=1):
    """The float closest to number / divisor."""
    try:
        return float(Fraction(number, divisor) / 2**1074)
    except OverflowError:
        return float("inf" if number > 0 else "-inf")


def products(values, weights=None):
    """Numbers times their weights, each product rounded once, as `whole` has them."""
    values = np.asarray(values, dtype=np.float64)
    if weights is not None:
        with np.errstate(under="ignore"):
            values = values * weights
    return [whole(value) for value in values]


def last_unit(grid, column):
    """Exponent of the least unit of a column on its grid."""
    return int(grid.exponents[column]) - LIMB * int(grid.limbs[column // 8])


def cluster_sums(X, labels, k, weights=None, grid=None):
    """Sums of the rows of each cluster, (k, d) whole numbers, and their weights, (k,).

    With a grid each number is rounded to its last unit.
    """
    n, d = X.shape
    sums = np.zeros((k, d), dtype=object)
    for column in range(d):
        unit = None if grid is None else last_unit(grid, column)
        for number, label in zip(products(X[:, column], weights), labels, strict=True):
            if label >= 0:
                sums[label, column] += number if unit is None else cut(number, unit)
    heavy = np.zeros(k, dtype=object)
    for weight, label in zip(np.ones(n) if weights is None else weights, labels, strict=True):
        if label >= 0:
            heavy[label] += whole(weight)
    return sums, heavy


def floats(numbers):
    """Whole numbers of any shape as the floats closest to them."""
    numbers = np.asarray(numbers, dtype=object)
    return np.array([rounded(number) for number in numbers.flat], dtype=float).reshape(
        numbers.shape
    )


def means(sums, heavy):
    """Sums (k, d) over weights (k,), rounded once."""
    return np.array(
        [[float(Fraction(s, w)) for s in row] for row, w in zip(sums, heavy, strict=True)]
    )


def total(values, weights=None):
    """The sum of all numbers times their weights, rounded once."""
    return rounded(sum(products(values, weights)))


def moments(X):
    """Mean and mean squared deviation of each column, rounded once."""
    n, mean, spread = len(X), [], []
    for column in np.asarray(X, dtype=np.float64).T:
        numbers = products(column)
        sum_of, squares = sum(numbers), sum(v * v for v in numbers)
        mean.append(rounded(sum_of, n))
        try:
            spread.append(float(Fraction(n * squares - sum_of**2, n * n) / 2**2148))
        except OverflowError:
            spread.append(float("inf"))
    return np.array(mean), np.array(spread)


def assert_same(one, other):
    """Whether two `Sums` are the same, bit by bit."""
    for name in ("values", "weights", "members"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
