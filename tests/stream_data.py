"""Sources over arrays, and what may go wrong with them."""

import numpy as np

from tilewise.engine import StreamRows


class ArraySource:
    """The rows of an array, read like a file's; counts what is read."""

    one_shot = False
    held_bytes = 0

    def __init__(self, X, random_access=True, known=True):
        self.X = np.ascontiguousarray(X)
        self.name = "rows of an array"
        self.n_features = self.X.shape[1]
        self.n_rows = len(self.X) if known else None
        self.dtype = self.X.dtype
        self.random_access = random_access
        self.row_bytes = self.X.itemsize * self.X.shape[1]
        self.read_rows = 0
        self._next = 0

    def read(self, first, out):
        if not self.random_access:
            following = first in (0, self._next) or first >= len(self.X)
            assert following, f"row {first} asked for after row {self._next}"
        count = max(0, min(len(out), len(self.X) - first))
        out[:count] = self.X[first : first + count]
        self._next = first + count
        self.read_rows += count
        return count

    def locate(self, row):
        return f"shard {row // 1000}, row {row % 1000}"

    def fingerprint(self):
        return {"shape": list(self.X.shape), "sum": float(np.nansum(self.X, dtype=np.float64))}

    def close(self):
        pass


def streamed(X, buffer_rows=768, piece_rows=384, **kind):
    source = ArraySource(X, **kind)
    return StreamRows(source, len(X), buffer_rows=buffer_rows, piece_rows=piece_rows)


def clouds(n, d, dtype=np.float32, seed=0, clouds=3):
    rng = np.random.RandomState(seed)
    return (rng.standard_normal((n, d)) + 4 * rng.randint(0, clouds, (n, 1))).astype(dtype)
