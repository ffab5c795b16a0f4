"""Rows to write, and plain ways to read them."""

import numpy as np


def rows_of(n_rows, n_features, dtype="f4", seed=0):
    """Return numbers that every stored type holds exactly."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 100, (n_rows, n_features)).astype(dtype)


def read_in_parts(source, rows):
    """Read a whole source, `rows` rows at a time."""
    parts, first = [], 0
    while True:
        out = np.full((rows, source.n_features), 7, source.dtype)
        count = source.read(first, out)
        assert 0 <= count <= rows
        assert (out[count:] == 7).all(), "wrote beyond the rows it delivered"
        parts.append(out[:count])
        first += count
        if count < rows:
            return np.concatenate(parts)
