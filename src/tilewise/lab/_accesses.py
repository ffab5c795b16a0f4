"""Accesses to ranges of cache lines, as arrays that `kernels._cachesim` takes."""

import numpy as np

__all__ = [
    "BUFFERS", "CODE", "KIND", "PREFETCH", "READ", "WRITE", "one", "pieces", "rows_in_turns",
    "stack",
]  # fmt: skip

#: What accesses are attributed to.
BUFFERS = (
    "X",
    "packed rows",
    "centres",
    "running bests",
    "partial scores",
    "scores",
    "certificate",
    "row lists",
    "labels",
    "origin",
    "sums",
)
CODE = {name: 4 * i for i, name in enumerate(BUFFERS)}
READ, WRITE, PREFETCH = 0, 1, 2
KIND = {"read": READ, "write": WRITE, "prefetch": PREFETCH}


def pieces(count, step):
    for start in range(0, count, step):
        yield start, min(step, count - start)


def one(name, kind, address, size):
    return np.array([[address, size, 1, 0, CODE[name] + kind]], dtype=np.int64)


def rows_in_turns(*accesses):
    """Walks (name, kind, address, bytes in all, bytes at a time) that take turns."""
    i = np.arange(max(-(-total // step) for *_, total, step in accesses))
    return stack(
        *((name, kind, at + i * step, np.clip(total - i * step, 1, step))
          for name, kind, at, total, step in accesses)
    )  # fmt: skip


def stack(*accesses):
    """Accesses (name, kind, address, bytes[, count, stride]) in turns; arrays go row by row."""
    rows = max(np.size(value) for access in accesses for value in access[2:])
    out = np.empty((rows, len(accesses), 5), dtype=np.int64)
    for i, (name, kind, address, size, *more) in enumerate(accesses):
        count, stride = more or (1, 0)
        out[:, i, 0], out[:, i, 1], out[:, i, 2], out[:, i, 3] = address, size, count, stride
        out[:, i, 4] = CODE[name] + kind
    return out.reshape(-1, 5)
