"""Bytes between two neighbouring levels, however they were found."""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Flow"]


@dataclass(frozen=True)
class Flow:
    """What one pass moves between a level and the next one outwards.

    Attributes
    ----------
    inner, outer : str
        "L1", "L2", "L3" or "memory".
    by_buffer : dict of str to (float, float)
        For each buffer, bytes brought in and bytes written back.

    Examples
    --------
    >>> from tilewise.lab.flows import Flow
    >>> Flow("L1", "L2", {"X": (640.0, 0.0), "labels": (64.0, 64.0)}).bytes
    768.0
    """

    inner: str
    outer: str
    by_buffer: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def bytes_in(self) -> float:
        """Bytes that the inner level took from the outer one."""
        return sum(moved[0] for moved in self.by_buffer.values())

    @property
    def bytes_out(self) -> float:
        """Bytes that the inner level gave back."""
        return sum(moved[1] for moved in self.by_buffer.values())

    @property
    def bytes(self) -> float:
        """Both together."""
        return self.bytes_in + self.bytes_out

    def to_dict(self) -> dict[str, Any]:
        """The flow as JSON-safe values."""
        return {
            "inner": self.inner,
            "outer": self.outer,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "by_buffer": {name: list(moved) for name, moved in self.by_buffer.items()},
        }
