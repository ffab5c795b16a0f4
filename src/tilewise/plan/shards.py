"""Shards: the parts of the rows that threads take, one after another.

No result depends on them; they follow from the shape of the data alone.
"""

__all__ = ["exact_shard_rows", "shard_rows"]

# At most this many shards: enough for as many threads to share evenly.
_MOST = 128
# Shards this long, as long as there are this many of them.
_LONG_ROWS = 3072
_ENOUGH = 48
# A shard of at least this many rows repays its start ...
_FEWEST_ROWS = 2048
# ... unless rows are so expensive that this many multiply-adds make a shard worth a thread.
_WORK = 2**22
# Whole register tiles of every instruction set (12 and 6 rows; panels of 64, 32 and 16), and a
# chunk long enough to repay the walk through all panels.
_MULTIPLE = 384


def shard_rows(n_samples: int, n_features: int, n_clusters: int) -> int:
    """Rows per shard of a pass over `n_samples` rows against `n_clusters` centres."""
    work = max(1, n_features * n_clusters)
    fewest = min(_FEWEST_ROWS, max(_MULTIPLE, _WORK // work))
    rows = max(fewest, -(-n_samples // _MOST), min(_LONG_ROWS, -(-n_samples // _ENOUGH)))
    return -(-rows // _MULTIPLE) * _MULTIPLE


def exact_shard_rows(n_samples: int, n_features: int) -> int:
    """Rows per shard of a pass that needs each row once: moments, inertia, seeding."""
    return shard_rows(n_samples, n_features, 16)
