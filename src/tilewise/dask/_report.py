"""What a fit on a cluster will take, and what it took."""

from dataclasses import asdict, dataclass, field
from typing import Any

from tilewise._sizes import sized
from tilewise.plan._reasons import Reasoned
from tilewise.plan.oversampling import ROUNDS

__all__ = ["ClusterPlan", "ClusterReport", "plan_cluster"]

# Bytes that a part keeps beside a row: a label and two bounds.
ROW_BYTES = 12


@dataclass(frozen=True, repr=False)
class ClusterPlan(Reasoned):
    """What a fit on a cluster asks of it; estimators keep theirs as ``stream_plan_``.

    Attributes
    ----------
    n_samples, n_features, n_clusters : int
    dtype : str
    n_parts : int
        Parts that the rows are worked on in, one for each worker.
    part_rows : int
        Rows of the largest.
    worker_bytes : int
        Most that a fit holds on a worker, the rows included.
    pass_bytes : int
        Most that goes to a worker and comes from it in a pass.
    start_rounds : int
        Rounds of tasks that choose the start, in all runs.
    bounds : bool
        Whether distance bounds are kept.
    reasons : dict of str to str
    """

    n_samples: int
    n_features: int
    n_clusters: int
    dtype: str
    n_parts: int
    part_rows: int
    worker_bytes: int
    pass_bytes: int
    start_rounds: int
    bounds: bool
    reasons: dict[str, str] = field(compare=False)

    _titles = {"parts": "Parts", "worker": "Memory", "pass": "Passes", "start": "Start"}  # noqa: RUF012
    _heading = "{n_samples} x {n_features} rows on a cluster, {n_clusters} clusters, {dtype}"


def plan_cluster(
    rows, parts, plan, *, init_rows, seeded_from_all, oversampled, n_runs, max_iter, bounds
):
    """What a fit of these rows in these parts asks of the cluster.

    Parameters
    ----------
    rows : ClusterRows
    parts : list of int
        Rows of each part.
    plan : Plan
        Of the same work in memory.
    init_rows : int or None
        Rows of a sample that the start is chosen from, in this process.
    seeded_from_all : bool
        Whether the start is chosen on the cluster.
    oversampled : bool
        Whether by k-means||.
    n_runs, max_iter : int
    bounds : bool

    Returns
    -------
    ClusterPlan
    """
    n, d, k = rows.n_rows, rows.n_features, plan.n_clusters
    most = max(parts)
    data = most * d * rows.result_dtype.itemsize
    held = data + ROW_BYTES * most + plan.shared_bytes
    held += plan.workspace_bytes_per_thread * plan.n_threads
    each = 3 * k * d * 8
    rounds = 1
    if seeded_from_all:
        # k-means||: the first row, and in each round a draw, its rows and their distances.
        rounds = n_runs * (3 + 3 * ROUNDS if oversampled else 3 * k)
    method = "k-means||" if oversampled else "k-means++"
    why = {
        "parts": f"{len(parts)}, of up to {most} rows: one for each worker, where its rows lie.",
        "worker": f"up to {sized(held)} on a worker, {sized(data)} of them rows.",
        "pass": f"up to {max_iter} in each of {n_runs} runs. In each, up to {sized(each)} go to a "
        "worker and come from it: centres, and one block of sums.",
        "start": f"{method} on the cluster, in {rounds} rounds of tasks." if seeded_from_all
        else f"from {init_rows} rows, chosen in this process." if init_rows else "given.",
    }  # fmt: skip
    return ClusterPlan(
        n_samples=n, n_features=d, n_clusters=k, dtype=rows.result_dtype.name, n_parts=len(parts),
        part_rows=most, worker_bytes=held, pass_bytes=each, start_rounds=rounds, bounds=bounds,
        reasons=why,
    )  # fmt: skip


@dataclass
class ClusterReport:
    """What the passes of a fit took; estimators keep theirs as ``stream_report_``.

    Attributes
    ----------
    rows, parts, workers : int
        Rows of all, parts of the last pass, and workers there were.
    seconds : list of float
        Seconds of each pass, from sending centres to having their sums.
    seconds_computing : list of float
        Of these, seconds that the slowest part computed.
    bytes_down, bytes_up : int
        Bytes of centres that went to the workers, and of sums that came from them, in all passes.
    restored : int
        Parts whose labels were made again from the centres before, since they were elsewhere.
    """

    rows: int = 0
    parts: int = 0
    workers: int = 0
    seconds: list[float] = field(default_factory=list)
    seconds_computing: list[float] = field(default_factory=list)
    bytes_down: int = 0
    bytes_up: int = 0
    restored: int = 0

    @property
    def passes(self) -> int:
        """Passes over all rows that summed the rows of each cluster."""
        return len(self.seconds)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-safe values."""
        return asdict(self) | {"passes": self.passes}

    def sentences(self) -> list[str]:
        """The report in words."""
        count = max(1, self.passes)
        passes = "1 pass" if self.passes == 1 else f"{self.passes} passes"
        parts = "1 part" if self.parts == 1 else f"{self.parts} parts"
        took, computed = sum(self.seconds), sum(self.seconds_computing)
        lines = [
            f"{passes} over {self.rows:,} rows in {parts} took {took:.2f} s, "
            f"{1e3 * took / count:.1f} ms each. The slowest part computed for {computed:.2f} s.",
            f"{sized(self.bytes_down)} of centres went to the workers, {sized(self.bytes_up)} of "
            "sums came back.",
        ]
        if self.restored:
            lines.append(
                f"{self.restored} times a part found its labels again from the centres before: it "
                "had moved, or its worker was lost."
            )
        return lines

    def __str__(self) -> str:
        return "\n".join(self.sentences())
