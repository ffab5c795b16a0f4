"""Sizes of passes on a device, and why; and what they keep in its memory."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

from tilewise._sizes import MIB, sized
from tilewise.cuda._facts import DeviceFacts, device_text
from tilewise.cuda._tiles import ITEM, Sizes, depth_of, read_at_once, sizes_for
from tilewise.plan import Plan, plan
from tilewise.plan._reasons import Reasoned, sourced

__all__ = [
    "CANDIDATES", "SEED_BLOCK", "STAGED", "DevicePlan", "Moved", "Sizes", "link_bound",
    "plan_device", "rows_at_once", "sizes_for",
]  # fmt: skip

#: Centres of an open row that are listed; a row with more is compared with all of them.
CANDIDATES = 8
#: Rows whose digits are summed together when seeds are drawn.
SEED_BLOCK = 4096

#: Copies of small sums, and the bytes that they take together at most.
COPIES, COPIES_BYTES = 64, 2**23

_HALF, _INT, _LONG, _DOUBLE = 2, 4, 8, 8

#: Buffers through which rows of the host go: one is filled, or its rows are computed with, while
#: the rows of the other are under way.
STAGED = 2
# Bytes of one of them: a link of 64 GB/s takes half a millisecond for these, many times what it
# takes to start a copy and the kernels of a part. Estimated, not measured.
_STAGED_BYTES = 32 * MIB
# Where memory is short, the buffers together take this share of it; and what is left to torch's
# allocator, which rounds sizes up.
_STAGED_SHARE, _SPARE_SHARE = 1 / 4, 1 / 16
# Rows of a part are a multiple of this, if there are so many: parts begin at whole cache lines.
_STAGED_MULTIPLE = 128


@dataclass(frozen=True, repr=False)
class DevicePlan(Sizes, Reasoned):
    """Every size that a run on a device uses, with the reason for it.

    Estimators that were fitted on a device keep theirs as ``chunk_plan_``.

    Attributes
    ----------
    n_rows, n_features, n_clusters : int
        The shape of the work.
    dtype : str
        Type of the data as the kernels read it: "float32" or "float64".
    depth : int
        Columns of packed centres: n_features, padded.
    tile_rows, tile_centers, tile_depth : int
        Rows, centres and columns that one step of the first look multiplies.
    warps, stages : int
        Warps of a block of the first look, and how many steps ahead its centres are fetched.
    packed_centers : int
        Centres that one block packs.
    decided_rows, decided_centers, decided_stages : int
        Open rows and centres that one step of the decision multiplies, and steps ahead.
    exact_rows : int
        Rows of a block that computes canonical distances.
    programs : int
        Blocks of kernels whose work is listed while they run.
    moved_bytes : int
        Bytes of each row that comes from the host; 0 for rows that lie on the device.
    resident_rows : int
        Rows that are on the device all the time.
    staged_rows : int
        Rows of one buffer through which the others come and go; 0 if there is none.
    facts : DeviceFacts
        The device.
    host : Plan
        What the CPU uses for its part: averages of hard cases, moving the centres of mini-batches.
    reasons : dict of str to str
        For each size, the fact, formula or measurement that it comes from.
    """

    n_rows: int
    n_features: int
    n_clusters: int
    dtype: str
    depth: int
    moved_bytes: int
    resident_rows: int
    staged_rows: int
    facts: DeviceFacts = field(compare=False)
    host: Plan
    reasons: dict[str, str]

    _titles: ClassVar[dict[str, str]] = {
        "device": "Device", "tile": "First look", "stages": "Shared memory", "warps": "Warps",
        "centers": "Packed centres", "decision": "Open rows", "exact": "Exact distances",
        "rows": "Reading", "memory": "Memory", "free": "Free memory", "resident": "Rows that stay",
        "staged": "Staging", "moved": "Moving",
    }  # fmt: skip
    _heading: ClassVar[str] = "{n_rows} x {n_features}, {n_clusters} clusters, {dtype}, on a device"

    @property
    def n_threads(self) -> int:
        """Threads of the CPU's part."""
        return self.host.n_threads

    @property
    def padded_clusters(self) -> int:
        """Packed centres, those counted that fill up the last tile."""
        return -(-self.n_clusters // self.tile_centers) * self.tile_centers

    @property
    def part_rows(self) -> int:
        """Most rows that kernels are started for at a time."""
        return max(self.resident_rows, self.staged_rows)

    @property
    def window_bytes(self) -> int:
        """Room on the device for rows that come and go."""
        passing = self.staged_rows if self.resident_rows < self.n_rows else 0
        return STAGED * passing * self.moved_bytes

    def resized(self, n_clusters: int) -> "DevicePlan":
        """The plan for another number of clusters; rows stay where they are."""
        shape = (self.n_rows, self.n_features, n_clusters)
        moved = Moved(self.moved_bytes, self.resident_rows, self.staged_rows)
        return _made(shape, self.dtype, self.facts, self.host, moved)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-safe values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {"facts": self.facts.to_dict(), "host": self.host.to_dict()}
        return values | plain | {"reasons": dict(self.reasons)}

    def ledger(self, what: str, *, weighted: bool = False) -> dict[str, int]:
        """What a run keeps on the device beside its rows, in bytes.

        Parameters
        ----------
        what : {"predict", "fit", "seeding"}
        weighted : bool
            Whether rows have weights. Sums of their products have twice as many digits then, as
            those of float64 have. Columns whose magnitudes differ by more than about 2**20 may
            need more than is stated.

        Returns
        -------
        dict of str to int
            A name of each group of buffers, and its size.
        """
        n, d, k = self.n_rows, self.n_features, self.n_clusters
        if what == "seeding":
            return {
                "closest distances": _DOUBLE * n,
                "weights": 2 * _DOUBLE * n if weighted else 0,
                "digits of blocks": 2 * 3 * _LONG * -(-n // SEED_BLOCK),
                "rows that come and go": self.window_bytes,
            }
        padded = self.padded_clusters
        held = {
            "rows that come and go": self.window_bytes,
            "labels": _INT * n,
            "lists of open rows": 3 * _INT * self.part_rows,
            "packed centres": padded * (self.depth * _HALF + _INT),
            "lists of candidates": _INT * self.programs * self.decided_rows * CANDIDATES,
            "centres": 2 * _DOUBLE * k * d + ITEM[self.dtype] * d,
            "shifts of centres": _DOUBLE * k,
        }
        if what == "predict":
            return held | {"labels before": _INT * n}
        wide = -(-d // 8) * 8
        limbs = 2 if weighted or self.dtype == "float64" else 1
        sums = _with_copies(k, wide * limbs)
        return held | {
            "labels before": _INT * n,
            "distances to the own centre": _DOUBLE * n,
            "weights": _DOUBLE * n if weighted else 0,
            "new centres": 2 * _DOUBLE * k * d,
            "sums": sums,
            "grids of the sums": wide * (2 * _INT + _DOUBLE + _DOUBLE * limbs),
            "sums of weights": _with_copies(k, 8 * 2) if weighted else 0,
        }

    def bytes_of(self, what: str, *, weighted: bool = False) -> int:
        """The sum of `ledger`: what a run needs on the device beside its rows."""
        return sum(self.ledger(what, weighted=weighted).values())

    def row_bytes(self, what: str, *, weighted: bool = False) -> int:
        """What of it grows with the rows, in bytes for each."""
        n = self.n_rows + SEED_BLOCK
        stay = n if self.resident_rows == self.n_rows else self.resident_rows
        more = replace(self, n_rows=n, resident_rows=stay)
        grown = more.bytes_of(what, weighted=weighted) - self.bytes_of(what, weighted=weighted)
        return grown // SEED_BLOCK


def plan_device(
    n_rows: int, n_features: int, n_clusters: int, dtype: str, facts: DeviceFacts, *,
    moved: "Moved | None" = None, **wishes: Any,
) -> DevicePlan:  # fmt: skip
    """The plan of passes over rows of this shape on a device.

    Parameters
    ----------
    n_rows, n_features, n_clusters : int
    dtype : str
        "float32" or "float64".
    facts : DeviceFacts
    moved : Moved, optional
        For rows that come from the host.
    **wishes
        What `tilewise.plan` takes, for the CPU's part.

    Returns
    -------
    DevicePlan

    Raises
    ------
    MemoryError
        If what has to be kept of rows that come from the host does not fit on the device.
    """
    host = plan(n_rows, n_features, n_clusters, dtype, **wishes)
    return _made((n_rows, n_features, n_clusters), dtype, facts, host, moved or Moved())


@dataclass(frozen=True)
class Moved:
    """How rows come from the host.

    Attributes
    ----------
    row_bytes : int
        Of each row; 0 if they lie on the device.
    resident_rows, staged_rows : int or None
        As in `DevicePlan`, where that is settled; None to choose what fits.
    """

    row_bytes: int = 0
    resident_rows: int | None = None
    staged_rows: int | None = None

    @property
    def settled(self) -> bool:
        """Whether there is nothing to choose."""
        return self.resident_rows is not None


def _made(
    shape: tuple[int, int, int], dtype: str, facts: DeviceFacts, host: Plan, moved: Moved
) -> DevicePlan:
    n, d, k = shape
    depth = depth_of(d)
    sizes = sizes_for(depth, k, dtype, facts)
    why: dict[str, str] = {}
    made = DevicePlan(
        **vars(sizes), n_rows=n, n_features=d, n_clusters=k, dtype=dtype, depth=depth,
        moved_bytes=moved.row_bytes, resident_rows=n, staged_rows=0, facts=facts, host=host,
        reasons=why,
    )  # fmt: skip
    if moved.settled:
        made = replace(made, resident_rows=moved.resident_rows, staged_rows=moved.staged_rows or 0)
    elif moved.row_bytes:
        made = _placed(made)
    _explain_kernels(made, sizes.look_bytes(depth, ITEM[dtype]), why)
    _explain_memory(made, why)
    if moved.row_bytes:
        _explain_moves(made, why)
    return made


def _placed(made: DevicePlan) -> DevicePlan:
    """The plan with as many rows on the device as fit, and the others in parts."""
    n, free, row = made.n_rows, made.facts.free_bytes.value, made.moved_bytes
    room = int(free * (1 - _SPARE_SHARE)) - kept_bytes(made)
    # Rows that stay, or are there for a while, are listed as well where they are open.
    listed = row + 3 * _INT
    staged = min(n, max(1, _STAGED_BYTES // row))
    if n * listed <= room:
        return replace(made, resident_rows=n, staged_rows=staged)
    staged = min(staged, int(room * _STAGED_SHARE) // (STAGED * listed))
    staged = _even(staged)
    if staged < 1:
        source = made.facts.free_bytes.source
        raise MemoryError(
            f"{n:,} rows in {made.n_clusters:,} clusters need more than {free:,} bytes on the "
            f"device even if the rows come in parts, and no more are free ({source}): pass "
            "device='cpu', or fewer rows"
        )
    resident = _even(room // listed - STAGED * staged)
    return replace(made, resident_rows=resident, staged_rows=staged)


def _even(rows: int) -> int:
    """The multiple of `_STAGED_MULTIPLE` below, if there is one."""
    return rows // _STAGED_MULTIPLE * _STAGED_MULTIPLE if rows > _STAGED_MULTIPLE else rows


def rows_at_once(row_bytes: int, result_bytes: int, free: float) -> int:
    """Rows of a part that are computed with and forgotten, such as rows to be labelled.

    Half of the free bytes has room for the parts, 20 bytes per row of a pass, and results: in
    float64, while they are converted, and what Triton's kernels leave to torch.
    """
    each = STAGED * row_bytes + 5 * _INT + 4 * result_bytes
    return max(1, min(_STAGED_BYTES // max(1, row_bytes), int(free // (2 * each))))


def kept_bytes(made: DevicePlan) -> int:
    """What rows that come in parts leave on the device: the most of a fit and of a start."""
    bare = replace(made, resident_rows=0, staged_rows=0)
    seeded = bare.bytes_of("seeding", weighted=True)
    # k-means|| has a pass and two numbers of every row besides.
    rounds = seeded + bare.bytes_of("predict") + 2 * _DOUBLE * made.n_rows
    return max(bare.bytes_of("fit", weighted=True), rounds)


def _with_copies(n_clusters: int, length: int) -> int:
    """Bytes of sums and counts of members; small sums have copies, and their total beside them."""
    size, members = 2 * _LONG * n_clusters * length, _LONG * n_clusters
    copies = max(1, min(COPIES, COPIES_BYTES // max(1, size)))
    return (copies + (copies > 1)) * (size + members)


def _explain_kernels(made: DevicePlan, shared: int, why: dict[str, str]) -> None:
    facts = made.facts
    count = facts.multiprocessors
    why["device"] = (
        f"{facts.name.value} ({facts.name.source}), {count.value} multiprocessor"
        f"{'s' * (count.value != 1)} ({count.source})."
    )
    part = f"all {made.n_features} columns, padded to {made.depth}, in blocks of {made.tile_depth}"
    if not read_at_once(made.depth, made.tile_depth):
        part = f"{made.tile_depth} of {made.depth} columns at a time"
    why["tile"] = (
        f"{made.tile_rows} rows x {made.tile_centers} centres per step, {part}: one product of "
        "float16 numbers."
    )
    if facts.interpreted.value:
        why["tile"] += " Large tiles: a step of the interpreter costs the same for all sizes."
    why["stages"] = (
        f"rows and {made.stages} stage{'s' * (made.stages > 1)} of centres take "
        f"{sized(shared)} of what one block may have ({sourced(facts.shared_bytes)})."
    )
    scores = made.tile_rows * made.tile_centers // (32 * made.warps)
    why["warps"] = f"{made.warps} warps share a tile: {scores} scores for each thread."
    packed = made.padded_clusters * made.depth * _HALF
    why["centers"] = f"{made.padded_clusters} x {made.depth} float16 numbers take {sized(packed)}"
    if facts.l2_bytes.value:
        fits = "fit" if packed <= facts.l2_bytes.value // 2 else "do not fit"
        why["centers"] += f"; with room for rows they {fits} in L2 ({sourced(facts.l2_bytes)})"
    why["centers"] += f". A block packs {made.packed_centers}."
    each = made.programs // count.value
    why["decision"] = (
        f"{made.programs} block{'s' * (made.programs > 1)}, {each} for each multiprocessor, until "
        f"the list is empty: {made.decided_rows} rows x {made.decided_centers} centres at a time, "
        f"in {made.decided_stages} stage{'s' * (made.decided_stages > 1)}. "
        f"A row keeps up to {CANDIDATES} candidates."
    )
    ratio = facts.float64_ratio
    why["exact"] = (
        f"{made.exact_rows} rows per block, in float64. Its speed is "
        f"{device_text('float64_ratio', ratio.value)} of float32's ({ratio.source})."
    )


def _explain_memory(made: DevicePlan, why: dict[str, str]) -> None:
    facts = made.facts
    data = made.n_rows * made.n_features * ITEM[made.dtype]
    if facts.bandwidth.value:
        rate = facts.bandwidth.value
        why["rows"] = (
            f"one read of {sized(data)} takes at least {1e3 * data / rate:.3g} ms at "
            f"{device_text('bandwidth', rate)} ({facts.bandwidth.source})."
        )
    parts = [
        f"{what} {made.row_bytes(what)} bytes per row, {sized(made.bytes_of(what))} in all"
        for what in ("predict", "fit", "seeding")
    ]
    why["memory"] = f"{'; '.join(parts)}, beside the data. Weights add 8 bytes per row of a fit."
    free = facts.free_bytes
    if made.moved_bytes:
        data = made.resident_rows * made.moved_bytes
    share = (data + made.bytes_of("fit")) / free.value if free.value else 0.0
    there = "rows that stay" if made.resident_rows < made.n_rows else "the data"
    why["free"] = f"{sourced(free)}; {there} and a fit take {100 * share:.3g} % of it."


def link_bound(size: int, facts: DeviceFacts) -> str:
    """How long so many bytes take from the host at least, as a sentence without its full stop."""
    rate = facts.host_bandwidth.value
    if not rate:
        return "How fast the link to the host is, nobody tells"
    speed = f"{device_text('host_bandwidth', rate)} ({facts.host_bandwidth.source})"
    return f"At {speed} that takes {1e3 * size / rate:.3g} ms or more"


def _explain_moves(made: DevicePlan, why: dict[str, str]) -> None:
    n, row, facts = made.n_rows, made.moved_bytes, made.facts
    left = n - made.resident_rows
    stay = f"{made.resident_rows:,} of {n:,} rows, {sized(made.resident_rows * row)}"
    if left:
        why["resident"] = (
            f"{stay}: what fits into {sourced(facts.free_bytes)}, beside {sized(kept_bytes(made))} "
            f"that all rows leave there and {sized(made.window_bytes)} for rows that come and go."
        )
    else:
        why["resident"] = f"{stay}: all fit into {sourced(facts.free_bytes)}."
    why["staged"] = (
        f"{STAGED} buffers of {made.staged_rows:,} rows in pinned memory of the host, "
        f"{sized(made.staged_rows * row)} each: rows are copied on a stream of their own while "
        "kernels compute with those before."
    )
    bound = link_bound((left or n) * row, facts)
    if left:
        parts = -(-left // made.staged_rows)
        why["moved"] = (
            f"each pass moves {left:,} rows, {sized(left * row)}, in {parts} "
            f"part{'s' * (parts > 1)}; k-means++ makes two passes for each centre. {bound}; the "
            "link bounds such passes, not the device."
        )
    else:
        why["moved"] = f"{sized(n * row)} once, in the first pass. {bound}."
