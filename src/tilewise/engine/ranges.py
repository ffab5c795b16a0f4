"""Values so large or so small that float64 has no room for the squares of their distances.

Everything else computes with such rows as it does with others, after they were multiplied by a
power of two: that rounds nothing, and what is found is turned back in the same way.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

__all__ = ["OutOfRange", "Scale", "extent", "overflow", "refuse_out_of_range"]

# Up to here the squares of 2**60 differences add up to a number of float64; from here on the
# square of a difference of one unit in the last place keeps all its digits.
_HIGHEST, _LOWEST = 2.0**480, 2.0**-400
# Where large values are brought, as a power of two: low enough for fast scores of centres, and so
# high that small values beside them stay as far from vanishing as they can. Small ones go to 1.
_LARGE, _SMALL = 380, 0
# Powers of two that a number of float64 can be multiplied by.
_LEAST_EXPONENT, _MOST_EXPONENT = -1074, 1000
# Differences below this lose digits in their squares.
_VANISHING = 2.0**-480

# Values that are looked at together.
_LOOK = 2**18


class OutOfRange(ValueError):
    """The squares of distances overflow, so that a row has no closest centre."""


@dataclass(frozen=True)
class Scale:
    """A power of two that values are multiplied by; exponent 0 leaves them alone.

    Attributes
    ----------
    exponent : int
    """

    exponent: int = 0

    # Magnitudes that need no scale.
    range: ClassVar[tuple[float, float]] = (_LOWEST, _HIGHEST)

    @classmethod
    def of(cls, *largest) -> "Scale":
        """What values of up to these magnitudes need: nothing, unless they are out of range."""
        most = max(map(float, largest))
        if most == 0.0 or not np.isfinite(most) or _LOWEST <= most <= _HIGHEST:
            return cls()
        own = int(np.frexp(most)[1])
        wanted = (_LARGE if most > 1.0 else _SMALL) - own
        return cls(max(_LEAST_EXPONENT, min(_MOST_EXPONENT, wanted)))

    def __bool__(self):
        return self.exponent != 0

    def rows(self, rows):
        """The rows, scaled."""
        return rows.scaled(self.exponent) if self else rows

    def values(self, values):
        """Values in the coordinates of the data, scaled: float64."""
        return np.ldexp(values, self.exponent) if self else values

    def undone(self, values, degree=1):
        """Scaled values, or squares of them, as they are without the scale; infinity if too large.

        Parameters
        ----------
        values : float or ndarray, float64
        degree : {0, 1, 2}, default=1
            Power of the scale that they were multiplied by.
        """
        if not self or not degree:
            return values
        with np.errstate(over="ignore", under="ignore"):
            # Twice, since a power of two for squares need not be a number of float64.
            for _ in range(degree):
                values = np.ldexp(values, -self.exponent)
        return values

    def loses(self, smallest) -> bool:
        """Whether differences of values of at least this magnitude may vanish when squared."""
        return self.exponent < 0 and np.ldexp(smallest, self.exponent - 53) < _VANISHING


def extent(*sets) -> tuple[float, float]:
    """Least magnitude other than zero, and largest one, of rows and arrays.

    Parameters
    ----------
    *sets : Rows, StreamRows or ndarray

    Returns
    -------
    smallest, largest : float
        Infinity and 0 if there are only zeros.
    """
    smallest, largest = np.inf, 0.0
    for rows in sets:
        for values in _blocks(rows):
            sizes = np.abs(values[values != 0.0].astype(np.float64, copy=False))
            if sizes.size:
                smallest = min(smallest, float(sizes.min()))
                largest = max(largest, float(sizes.max()))
    return smallest, largest


def _blocks(rows):
    return (rows,) if isinstance(rows, np.ndarray) else rows.values(_LOOK)


def overflow(rows, centers=None, row=None) -> OutOfRange:
    """The error of rows whose squared distances overflow, and what to do about it."""
    largest = extent(rows, *(() if centers is None else (centers,)))[1]
    return out_of_range(largest, "" if row is None else f", first in row {row}")


def out_of_range(largest, where="") -> OutOfRange:
    """The same where the largest magnitude is known."""
    exponent = Scale.of(largest).exponent
    return OutOfRange(
        f"Input X holds values of up to {largest:.3g}: float64 has no room for the squares of "
        f"their distances{where}. Multiply all data by 2.0**{exponent}, which rounds nothing, and "
        f"the centres that you get by 2.0**{-exponent}."
    )


def refuse_out_of_range(*sets) -> None:
    """Raise `OutOfRange` if squares of differences of these values overflow, or lose digits."""
    largest = extent(*sets)[1]
    if largest > _HIGHEST or 0.0 < largest < _VANISHING:
        raise out_of_range(largest)
