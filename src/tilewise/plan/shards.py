"""Shards: the fixed parts of the rows over which sums run.

A shard is part of the order of additions, so it follows from the shape of the data alone,
never from threads, chunks or caches.
"""

__all__ = ["exact_shard_rows", "shard_rows"]

# At most this many shards: enough for as many threads to share evenly, few enough that
# merging their sums stays far below the work of a pass.
_MOST = 128
# Shards this long make the merge of their sums cheap beside the work (measured from 64 x 256 to
# 128 x 4096: 4 to 12 % of a first pass against 768 rows), as long as there are this many of them.
_LONG_ROWS = 3072
_ENOUGH = 48
# A shard of at least this many rows amortises the merge of its sums ...
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
