"""How many rows k-means|| draws, and in how many rounds."""

import math

__all__ = ["ROUNDS", "most_candidates", "rows_per_round"]

# Bahmani, Moseley, Vattani, Kumar and Vassilvitskii, "Scalable K-Means++", PVLDB 5 (2012): with two
# rows per cluster in each of five rounds the start is as good as that of k-means++ on all of their
# data, and neither more rows nor more rounds make it better (sections 5.2 and 5.3).
ROUNDS = 5
_ROWS_PER_CLUSTER = 2
# The number of rows that are drawn varies by at most the root of its mean. More than its mean and
# so many roots are not met.
_ROOTS = 8


def rows_per_round(n_clusters: int) -> int:
    """Rows that a round draws, on average and at most.

    Examples
    --------
    >>> from tilewise.plan.oversampling import rows_per_round
    >>> rows_per_round(256)
    512
    """
    return _ROWS_PER_CLUSTER * n_clusters


def most_candidates(n_clusters: int, rounds: int = ROUNDS) -> int:
    """Rows that so many rounds draw, the first row included: a number that memory is planned for.

    Examples
    --------
    >>> from tilewise.plan.oversampling import most_candidates
    >>> most_candidates(256)
    2961
    """
    mean = rounds * rows_per_round(n_clusters)
    return 1 + mean + _ROOTS * math.isqrt(mean)
