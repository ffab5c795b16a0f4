"""k-means++ of so few rows that all its steps run in one call."""

import math

from tilewise._sizes import sized
from tilewise.plan.thresholds import FEW_DISTANCES, FEW_SEEDS, SERIAL_WORK

__all__ = ["at_once_bytes", "at_once_reason", "local_trials", "seeds_at_once"]

# As the kernel has it: rows of a block, bytes of a sum, candidates of a step.
_BLOCK, _SUM_BYTES, _MOST_TRIALS = 64, 64, 16


def local_trials(n_clusters: int) -> int:
    """Candidates of a step of greedy k-means++, as scikit-learn has them."""
    return 2 + int(math.log(n_clusters))


def seeds_at_once(n_samples: int, n_features: int, n_clusters: int) -> bool:
    """Whether one call chooses the seeds of dense rows: each candidate meets each row."""
    return (
        1 < n_clusters <= FEW_SEEDS
        and 0 < n_samples * n_features < SERIAL_WORK["one seed"].value
        and n_samples * local_trials(n_clusters) <= FEW_DISTANCES
    )


def at_once_bytes(n_samples: int, n_features: int, n_clusters: int) -> int:
    """What that call keeps: distances, candidates, and a block of rows that have to be read."""
    trials, blocks = local_trials(n_clusters), -(-n_samples // _BLOCK)
    row = 8 * max(8, -(-n_features // 8) * 8)
    return (
        blocks * (_BLOCK * 8 * (1 + trials) + _SUM_BYTES) + (trials + _BLOCK) * row
        + 192 * trials
    )  # fmt: skip


def at_once_reason(n_samples: int, n_features: int, n_clusters: int) -> str:
    """The sentence of a plan."""
    kept = at_once_bytes(n_samples, n_features, n_clusters)
    return (
        f"k-means++ takes all steps in one call on one thread, and measures every row against "
        f"every candidate: up to {FEW_SEEDS} seeds, {SERIAL_WORK['one seed'].value} numbers and "
        f"{FEW_DISTANCES} distances of a step. It keeps {sized(kept)} meanwhile."
    )
