"""A plan explained: what lives where, what moves, what limits it, what a change would do.

`explain` puts together what `plan`, `traffic` and `roofs` say; ``tilewise explain`` shows it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tilewise._sizes import sized
from tilewise._text import counted
from tilewise._typing import ChunkSize, Engine
from tilewise.lab.expected import expected_seconds
from tilewise.lab.figures import shown
from tilewise.lab.roofs import Roofs
from tilewise.lab.traffic import Buffer, Traffic, ledger, spread, traffic
from tilewise.plan import Machine, Plan, plan
from tilewise.plan import machine as this_machine

__all__ = ["Change", "Explanation", "explain"]


@dataclass(frozen=True)
class Change:
    """What one changed choice would do.

    Attributes
    ----------
    what : str
    plan : Plan or None
        None where the change is not possible or changes nothing.
    note : str
        Why, in that case.
    flows : dict of str to float
        Bytes of each flow relative to the plan's own, by the flow's name ("L2-memory").
    seconds : float or None
        Best possible time of a pass.
    expected : float or None
        What it should take.
    bound : str
    """

    what: str
    plan: Plan | None
    note: str = ""
    flows: dict[str, float] | None = None
    seconds: float | None = None
    expected: float | None = None
    bound: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The change as JSON-safe values."""
        told = {name: value for name, value in vars(self).items() if name != "plan"}
        names = ("chunk_rows", "n_threads", "dtype")
        return told | {name: getattr(self.plan, name, None) for name in names}


@dataclass(frozen=True)
class Explanation:
    """A plan with its consequences.

    Attributes
    ----------
    machine : Machine
    plan : Plan
    ledger : tuple of Buffer
    traffic : Traffic
    spread : tuple of (float, float)
        See `tilewise.lab.traffic.spread`: one pair for each flow.
    roofs : Roofs
    times : dict of str to float
        Seconds that a pass takes at least: "arithmetic", and by the level that delivers: "L1",
        "L2", ...
    bound : str
        The key of the largest of them.
    seconds : float
        That one: no pass that scores every row is faster.
    expected : float
        Seconds that a pass should take, by `tilewise.lab.expected`: not everything overlaps, and
        comparing and packing cost something as well.
    changes : tuple of Change
    """

    machine: Machine
    plan: Plan
    ledger: tuple[Buffer, ...]
    traffic: Traffic
    spread: tuple[tuple[float, float], ...]
    roofs: Roofs
    times: dict[str, float]
    bound: str
    seconds: float
    expected: float
    changes: tuple[Change, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values."""
        moved = self.traffic.to_dict()
        for flow, (least, most) in zip(moved["flows"][1:], self.spread, strict=True):
            flow["least"], flow["most"] = least, most
        return {
            "machine": self.machine.to_dict(),
            "plan": self.plan.to_dict(),
            "ledger": [buffer.to_dict() for buffer in self.ledger],
            "traffic": moved,
            "roofs": self.roofs.to_dict(),
            "times": self.times,
            "bound": self.bound,
            "seconds": self.seconds,
            "expected": self.expected,
            "changes": [change.to_dict() for change in self.changes],
            "sentences": self.sentences(),
        }

    def sentences(self) -> list[str]:
        """Everything in words, one sentence or two per point."""
        told = self.plan.sentences()
        told += [_buffer_sentence(buffer) for buffer in self.ledger]
        for flow, (least, most) in zip(self.traffic.flows, self.spread, strict=True):
            sure = (
                "" if most <= 1.1 * least
                else " One buffer is almost exactly cache-sized, so real traffic can be anywhere "
                f"from {sized(least)} to {sized(most)}."
            )  # fmt: skip
            told.append(
                f"A pass reads {sized(flow.bytes_in)} from {flow.outer} into {flow.inner} and "
                f"writes {sized(flow.bytes_out)} back, mostly {_largest(flow)}. That is "
                f"{self.traffic.intensity(flow):.3g} operations per byte.{sure}"
            )
        p = self.plan
        gflop = 2 * self.traffic.multiply_adds / 1e9
        times = max(1, p.products)
        padding = self.traffic.executed / times / max(1, self.traffic.multiply_adds)
        made = f", each as {p.products} products of bfloat16 numbers on AMX" if p.products else ""
        told.append(
            f"A pass does {gflop:.3g} billion operations{made}"
            + (
                f" ({100 * (padding - 1):.0f} % more, because tiles are padded)"
                if padding > 1.005
                else ""
            )
            + f". At {self.roofs.arithmetic(p.products):.3g} GFLOP/s on "
            f"{counted(p.n_threads, 'thread')} that takes {shown(self.times['arithmetic'], 's')}."
        )
        told.append(
            f"{_roof(self.bound)} is the limit: a pass takes at least {shown(self.seconds, 's')}. "
            f"Expect about {shown(self.expected, 's')}, because comparing and packing also take "
            "time and not everything overlaps. "
            f"Roofs (the machine's speed limits): {self.roofs.source}."
        )
        if p.look:
            told.append(
                "All this is of a pass that scores every row. A first look settles most rows with "
                "products of bytes, so a whole pass may take less: a third of the time was "
                "measured at 384 features and 1024 clusters."
            )
        told += [_change_sentence(change, self.expected) for change in self.changes]
        return told


def explain(
    n_samples: int, n_features: int, n_clusters: int, dtype: DTypeLike = "float32", *,
    n_threads: int | None = None, chunk_size: ChunkSize = "auto", engine: Engine = "auto",
    machine: Machine | None = None, roofs: Roofs | None = None, update: bool = False,
) -> Explanation:  # fmt: skip
    """Explain the plan of a pass over dense rows, on this machine or another one.

    Parameters
    ----------
    n_samples, n_features, n_clusters, dtype, n_threads, chunk_size, engine
        As `tilewise.plan` takes them; n_samples and n_features from 1 on.
    machine : Machine, optional
        Facts to plan for; this machine by default.
    roofs : Roofs, optional
        What the machine reaches; assumed from its instruction set by default.
    update : bool, default=False
        Whether the pass also sums the rows of each cluster, as in the first pass of a fit.

    Returns
    -------
    Explanation

    Raises
    ------
    ValueError
        If a shape or a choice is out of range.

    Examples
    --------
    >>> from tilewise.lab.explain import explain
    >>> told = explain(100_000, 64, 256, n_threads=1)
    >>> told.bound in told.times and told.seconds == max(told.times.values())
    True
    >>> told.sentences()[0].startswith("Engine: ")
    True
    """
    here = this_machine() if machine is None else machine
    for name, value in (("n_samples", n_samples), ("n_features", n_features)):
        if value == 0:
            raise ValueError(f"{name}=0 leaves nothing to explain. Pass at least 1.")
    choices = {
        "n_threads": n_threads, "chunk_size": chunk_size, "engine": engine, "machine": machine,
    }  # fmt: skip
    if max(n_samples, n_clusters) * n_features > 2**56:
        raise ValueError(
            f"{max(n_samples, n_clusters)} rows or clusters of {n_features} features are too many: "
            "pass a shape of at most 2**56 numbers."
        )
    own = plan(n_samples, n_features, n_clusters, dtype, **choices)
    if roofs is None:
        roofs = Roofs.defaults(here, own.n_threads, own.score_dtype)
    moved, fitting, times, bound, expected = _outlook(own, here, roofs, update)
    shape = (n_samples, n_features, n_clusters)
    return Explanation(
        here, own, ledger(own, here, update=update), moved,
        tuple(spread(own, here, update=update)), fitting, times, bound, times[bound], expected,
        tuple(_changes(shape, dtype, own, here, choices, moved, roofs, update)),
    )  # fmt: skip


def _outlook(of: Plan, here: Machine, roofs: Roofs, update: bool):
    """Traffic of a pass, roofs for its threads, times of each, the slowest, and what to expect."""
    moved, fitting = traffic(of, here, update=update), roofs.scaled(of.n_threads)
    times = {"arithmetic": 2 * moved.executed / fitting.arithmetic(of.products) / 1e9}
    for flow in (moved.registers, *moved.flows):
        times[flow.outer] = flow.bytes / fitting.bandwidth(flow.outer) / 1e9
    expected = expected_seconds(times, of.to_dict(), fitting.compute_gflops, update=update)
    return moved, fitting, times, max(times, key=times.__getitem__), expected


def _changes(shape, dtype, own, here, choices, moved, roofs, update):
    other = "float64" if np.dtype(dtype) == np.float32 else "float32"
    half = own.chunk_rows // 2 // own.tile_rows * own.tile_rows
    tried = [
        ("half the chunk", dtype, {"chunk_size": half} if half else None),
        ("twice the chunk", dtype, {"chunk_size": 2 * own.chunk_rows}),
        (f"{other} data", other, {}),
        ("twice the threads", dtype, {"n_threads": 2 * own.n_threads}),
    ]
    for what, of, changed in tried:
        if changed is None:
            yield Change(
                what, None, f"not possible, a chunk has at least one tile of {own.tile_rows} rows"
            )
            continue
        new = plan(*shape, of, **(choices | changed))
        if new == own:
            reason = new.reasons["n_threads" if "n_threads" in changed else "chunk_rows"]
            yield Change(what, None, f"no change, {reason.rstrip('.')}")
            continue
        then, _, times, bound, expected = _outlook(new, here, roofs, update)
        flows = {
            f"{before.inner}-{before.outer}": after.bytes / before.bytes
            for before, after in zip(moved.flows, then.flows, strict=True)
            if before.bytes
        }
        yield Change(what, new, "", flows, times[bound], expected, bound)


def _buffer_sentence(buffer: Buffer) -> str:
    many = 100 * buffer.share
    share = f"{many:.0f} %" if many >= 10 else f"{many:.2g} %"
    return (
        f"{buffer.name[0].upper()}{buffer.name[1:]}: {sized(buffer.bytes)}, {share} of "
        f"{buffer.home} ({sized(buffer.home_bytes)}); {buffer.what}."
    )


def _change_sentence(change: Change, expected: float) -> str:
    if change.plan is None:
        return f"With {change.what}: {change.note}."
    moved = ", ".join(f"{name} × {factor:.2f}" for name, factor in change.flows.items())
    ratio = change.expected / expected
    return (
        f"With {change.what}: about {shown(change.expected, 's')} (× {ratio:.2f}), limited by "
        f"{_roof(change.bound, within=True)}. Bytes moved: {moved}."
    )


def _roof(bound: str, within: bool = False) -> str:
    words = "Arithmetic" if bound == "arithmetic" else f"The bandwidth of {bound}"
    return words[0].lower() + words[1:] if within else words


def _largest(flow) -> str:
    names = sorted(flow.by_buffer, key=lambda name: -sum(flow.by_buffer[name]))
    return " and ".join(names[:2])
