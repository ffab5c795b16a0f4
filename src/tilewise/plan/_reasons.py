"""What all plans share: sizes with reasons, as JSON, as sentences and as a table.

And how a fact with where it comes from is written in those sentences.
"""

from dataclasses import fields
from typing import Any, ClassVar

from tilewise._sizes import sized
from tilewise.plan._facts import Fact

__all__ = ["Reasoned", "sourced"]


class Reasoned:
    """Base of a frozen dataclass of sizes whose field `reasons` says where each comes from."""

    #: What each reason is about, where it is read as a sentence.
    _titles: ClassVar[dict[str, str]]
    #: What the plan is for, with the names of fields in braces.
    _heading: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-safe values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in values.items():
            if isinstance(value, Reasoned):
                values[name] = value.to_dict()
        values["reasons"] = dict(self.reasons)
        return values

    def sentences(self) -> list[str]:
        """The plan in words, one sentence per choice."""
        return [f"{self._titles[name]}: {text}" for name, text in self.reasons.items()]

    def __repr__(self) -> str:
        width = max(len(name) for name in self.reasons)
        lines = [f"  {name:<{width}}  {text}" for name, text in self.reasons.items()]
        heading = self._heading.format(**{f.name: getattr(self, f.name) for f in fields(self)})
        return "\n".join([f"Plan for {heading}", *lines])


def sourced(fact: Fact) -> str:
    """A size, and where it was found."""
    return f"{sized(fact.value)} from {fact.source}"
