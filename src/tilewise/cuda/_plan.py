"""Sizes of passes on a device, and why; and what they keep in its memory."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

from tilewise._sizes import KIB, sized
from tilewise.cuda._facts import DeviceFacts, device_text
from tilewise.plan import Plan, plan
from tilewise.plan._reasons import Reasoned, sourced

__all__ = ["CANDIDATES", "SEED_BLOCK", "DevicePlan", "Sizes", "plan_device", "sizes_for"]

#: Centres of an open row that are listed; a row with more is compared with all of them.
CANDIDATES = 8
#: Rows whose digits are summed together when seeds are drawn.
SEED_BLOCK = 4096

#: Copies of small sums, and the bytes that they take together at most.
COPIES, COPIES_BYTES = 64, 2**23

# Rows of up to so many blocks of columns stay in shared memory while all centres pass by.
_WHOLE_BLOCKS, _BLOCK = 4, 128
# Columns at a time of longer rows.
_PART = 64
# Rows, centres and stages of the first look, the best first. The first that fits shared memory is
# taken. Two stages come before wide tiles: with one, a block waits for every panel of centres.
_TILES = (
    (128, 128, 3), (128, 128, 2), (128, 64, 2), (64, 64, 2), (64, 32, 2), (32, 32, 2), (32, 16, 1),
)  # fmt: skip
# What a tensor core multiplies at least, rows, centres and columns.
_LEAST_TILE = 16
_HALF, _INT, _LONG, _DOUBLE = 2, 4, 8, 8
_ITEM = {"float32": 4, "float64": 8}


@dataclass(frozen=True)
class Sizes:
    """What kernels are launched with; see `DevicePlan` for the meaning."""

    tile_rows: int
    tile_centers: int
    tile_depth: int
    warps: int
    stages: int
    packed_centers: int
    decided_rows: int
    decided_centers: int
    decided_stages: int
    exact_rows: int
    programs: int

    def decision_bytes(self, item: int) -> int:
        """Shared memory of a block that scores open rows: as below, and a list of close centres."""
        rows, centers = self.decided_rows, self.decided_centers
        numbers = (rows + self.decided_stages * centers) * self.tile_depth * _HALF
        ahead = (self.decided_stages - 1) * rows * self.tile_depth * item
        return numbers + ahead + rows * centers * _INT + 2 * KIB

    def look_bytes(self, depth: int, item: int) -> int:
        """Shared memory of a block of the first look, for rows of so many columns and type.

        Rows in float16, centres for every stage, and 1 KiB for what threads tell each other. Rows
        that come in parts are fetched ahead as well, in their own type. That is what Triton 3.9
        takes for compute capability 9.0, at 16 to 768 columns. Older devices take less: there the
        rows stay in registers.
        """
        together, ahead = depth, 0
        if depth > _WHOLE_BLOCKS * self.tile_depth:
            together = self.tile_depth
            ahead = (self.stages - 1) * self.tile_rows * together * item
        numbers = (self.tile_rows + self.stages * self.tile_centers) * together
        return numbers * _HALF + ahead + KIB


def sizes_for(depth: int, n_clusters: int, dtype: str, facts: DeviceFacts) -> Sizes:
    """The sizes of kernels: all that is tuned is chosen here.

    Parameters
    ----------
    depth : int
        Columns, padded.
    n_clusters : int
    dtype : str
    facts : DeviceFacts
    """
    columns = min(depth, _BLOCK) if depth <= _WHOLE_BLOCKS * _BLOCK else _PART
    most = max(_LEAST_TILE, _power_of_two(n_clusters))
    for rows, centers, stages in _TILES:
        centers = min(centers, most)
        # Scores of two columns at least for each thread, without so many that they do not fit.
        warps = 8 if rows * centers >= 128 * 64 else 4
        made = Sizes(
            tile_rows=rows, tile_centers=centers, tile_depth=columns, warps=warps, stages=stages,
            packed_centers=min(32, centers), decided_rows=64, decided_centers=min(64, centers),
            decided_stages=3, exact_rows=32, programs=4 * facts.multiprocessors.value,
        )  # fmt: skip
        if made.look_bytes(depth, _ITEM[dtype]) <= facts.shared_bytes.value:
            break
    while made.decided_stages > 1 and made.decision_bytes(_ITEM[dtype]) > facts.shared_bytes.value:
        made = replace(made, decided_stages=made.decided_stages - 1)
    if facts.interpreted.value:
        # A step of the interpreter costs the same for few numbers and for many.
        return replace(made, tile_rows=256, exact_rows=256, programs=1, stages=1, decided_stages=1)
    return made


@dataclass(frozen=True, repr=False)
class DevicePlan(Reasoned):
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
    tile_rows: int
    tile_centers: int
    tile_depth: int
    warps: int
    stages: int
    packed_centers: int
    decided_rows: int
    decided_centers: int
    decided_stages: int
    exact_rows: int
    programs: int
    facts: DeviceFacts = field(compare=False)
    host: Plan
    reasons: dict[str, str]

    _titles: ClassVar[dict[str, str]] = {
        "device": "Device", "tile": "First look", "stages": "Shared memory", "warps": "Warps",
        "centers": "Packed centres", "decision": "Open rows", "exact": "Exact distances",
        "rows": "Reading", "memory": "Memory", "free": "Free memory",
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

    def resized(self, n_clusters: int) -> "DevicePlan":
        """The plan for another number of clusters."""
        shape = (self.n_rows, self.n_features, n_clusters)
        return _made(shape, self.dtype, self.facts, self.host)

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
            }
        padded = self.padded_clusters
        held = {
            "labels": _INT * n,
            "lists of open rows": 3 * _INT * n,
            "packed centres": padded * (self.depth * _HALF + _INT),
            "lists of candidates": _INT * self.programs * self.decided_rows * CANDIDATES,
            "centres": 2 * _DOUBLE * k * d + _ITEM[self.dtype] * d,
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
        more = replace(self, n_rows=self.n_rows + SEED_BLOCK)
        grown = more.bytes_of(what, weighted=weighted) - self.bytes_of(what, weighted=weighted)
        return grown // SEED_BLOCK


def plan_device(
    n_rows: int, n_features: int, n_clusters: int, dtype: str, facts: DeviceFacts, **wishes: Any
) -> DevicePlan:
    """The plan of passes over rows of this shape on a device.

    Parameters
    ----------
    n_rows, n_features, n_clusters : int
    dtype : str
        "float32" or "float64".
    facts : DeviceFacts
    **wishes
        What `tilewise.plan` takes, for the CPU's part.

    Returns
    -------
    DevicePlan
    """
    host = plan(n_rows, n_features, n_clusters, dtype, **wishes)
    return _made((n_rows, n_features, n_clusters), dtype, facts, host)


def _made(shape: tuple[int, int, int], dtype: str, facts: DeviceFacts, host: Plan) -> DevicePlan:
    n, d, k = shape
    depth = max(_LEAST_TILE, _power_of_two(d))
    if depth > _BLOCK:
        depth = -(-d // _BLOCK) * _BLOCK
    sizes = sizes_for(depth, k, dtype, facts)
    why: dict[str, str] = {}
    made = DevicePlan(n, d, k, dtype, depth, **vars(sizes), facts=facts, host=host, reasons=why)
    _explain_kernels(made, sizes.look_bytes(depth, _ITEM[dtype]), why)
    _explain_memory(made, why)
    return made


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
    if made.depth > _WHOLE_BLOCKS * made.tile_depth:
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
    data = made.n_rows * made.n_features * _ITEM[made.dtype]
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
    share = (data + made.bytes_of("fit")) / free.value if free.value else 0.0
    why["free"] = f"{sourced(free)}; the data and a fit take {100 * share:.3g} % of it."


def _power_of_two(number: int) -> int:
    """The least power of two that is not less."""
    return 1 << (max(1, number) - 1).bit_length()
