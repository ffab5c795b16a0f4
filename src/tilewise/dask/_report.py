"""What a fit on a cluster took."""

from dataclasses import asdict, dataclass, field
from typing import Any

from tilewise._sizes import sized

__all__ = ["ClusterReport"]


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
