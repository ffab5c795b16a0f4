"""The loop nest of a plan in numbers: its blocks, and its buffers by name and bytes.

Each size is computed here alone. Kernels allocate these buffers, the plan's memory sentence adds
them up, and the lab models the accesses to them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tilewise.plan._common import item_of
from tilewise.plan.layout import TILES, tile_shape
from tilewise.plan.looks import LOOK_CENTRES, LOOK_TILE
from tilewise.plan.split import SPLIT_STEP, split_bytes
from tilewise.plan.thresholds import (
    LOOK_MEASURED,
    LOOK_MOST_LEFT,
    OWN_CLUSTERS,
    OWN_SUMS_BYTES,
    worth_threads,
)

if TYPE_CHECKING:
    from tilewise.plan.plan import Plan

__all__ = ["BUFFERS", "ENTRIES", "PANELS_PER_BATCH", "LoopNest", "RowShape"]

#: What accesses are attributed to.
BUFFERS = (
    "X", "packed rows", "centres", "running bests", "partial scores", "scores", "certificate",
    "row lists", "labels", "origin", "sums",
)  # fmt: skip
#: Panels of split centres whose scores are folded together.
PANELS_PER_BATCH = 2
#: Stored values that a chunk of CSR rows may have, unless one row has more: with their columns
#: half a MiB or so, a quarter of a common L2.
ENTRIES = 65536

# Groups of centres that collected rows may meet together: three quarters of a MiB with all that is
# kept of them.
_LIST_ENTRIES = 32768
# Rows that are collected at least, however many groups there are.
_LIST_ROWS = 128

_PAGE = 4096
_LINE = 64
# As the kernels have it: rows of a second look, and bytes of what one shard reports.
_LOOK_ROWS = 32
_REPORT_BYTES = 80
# Features per running score in the second look at rows that were split: as many as keep its own
# error small.
_LOOK_BLOCK = 64
# A centre that CSR rows meet is listed while at most one in so many of its numbers is not zero.
_LISTED_SHARE = 32
# As `_sums.pyx` has it: blocks of eight columns that are locked together.
_SEGMENT = 512


class _Shaped(Protocol):
    is_direct: bool
    longest: int
    stored: int


class RowShape(NamedTuple):
    """What sizes of buffers depend on besides a plan; `Rows` have these attributes, too."""

    is_direct: bool = True  # whether rows can be read where they stand
    longest: int = 0  # CSR: stored values of the longest row
    stored: int = 0  # CSR: stored values of all rows


#: Dense rows that are read where they stand.
IN_PLACE = RowShape()


@dataclass(frozen=True)
class LoopNest:
    """Sizes of the loop nest, in items and bytes, that kernels run and allocate.

    Examples
    --------
    >>> import tilewise
    >>> from tilewise.plan.nest import LoopNest
    >>> nest = LoopNest.of(tilewise.plan(1000, 64, 256))
    >>> nest.panel_bytes == (64 + 1) * nest.width * 4
    True
    >>> nest.shared["packed"] == nest.n_panels * nest.panel_bytes
    True
    >>> at = nest.addresses(update=False)
    >>> at["X"] % 4096, at["labels"] > at["X"] + 1000 * 64 * 4
    (64, True)
    """

    isa: str
    layout: str
    n: int
    d: int
    k: int
    data_item: int
    item: int
    vector_bytes: int
    lanes: int
    tile_rows: int
    width: int  # centres of a panel or group; 1 where CSR rows meet centres that are not packed
    n_panels: int
    panels_per_block: int
    depth_block: int
    look_block: int  # the same of a second look, where scores are split
    chunk_rows: int
    shard_rows: int
    shards_per_call: int
    n_threads: int
    center_threads: int  # of loops over the centres
    packed_row_bytes: int
    state_row_bytes: int  # of one of the three running bests
    panel_bytes: int
    sums_row_bytes: int  # of one cluster; float64 columns mostly have two limbs
    products: int  # of parts of bfloat16; 0 where scores are plain
    number_bytes: int  # of one packed number: all its parts
    depth: int  # features as packed rows have them, filled up
    look_rows: int  # of the tile of a second look, where scores are split
    plain_panel_bytes: int  # of a panel that is kept for the second look, where scores are split
    entries: int  # CSR: stored values of a chunk
    longest: int  # CSR: stored values of the longest row
    listed_entries: int  # CSR: most numbers of a centre that is listed
    direct: bool  # whether rows are read where they stand
    groups: int  # of centres that have a bound of every row; 0: rows meet all centres
    list_entries: int  # groups that the rows of a chunk may meet, together
    first_look: bool  # whether rows may have a first look in bytes
    look_most_left: float = LOOK_MOST_LEFT  # where it ends, see `tilewise.plan.thresholds`
    look_measured: int = LOOK_MEASURED

    @classmethod
    def of(
        cls, plan: "Plan", rows: _Shaped = IN_PLACE, *, score_dtype: str | None = None,
        products: int | None = None, grouped: bool = False,
    ) -> "LoopNest":  # fmt: skip
        """Sizes of the loop nest that runs `plan`.

        Parameters
        ----------
        plan : Plan
        rows : Rows or RowShape, optional
            Dense rows that are read where they stand, by default.
        score_dtype, products
            Scores of another kind than those of the plan.
        grouped : bool
            Whether rows meet those of the plan's groups of centres that their bounds leave open.
            Scores are plain then.
        """
        groups = plan.groups if grouped else 0
        products = 0 if groups else products
        products = plan.products if products is None else products
        item, data_item = item_of(score_dtype or plan.score_dtype), item_of(plan.dtype)
        products = 0 if item == 8 or not plan.n_features else products
        vector_bytes, look_rows, *_ = TILES[plan.isa]
        lanes, d, k = vector_bytes // item, plan.n_features, plan.n_clusters
        tile_rows, width = tile_shape(
            plan.isa, plan.layout, k, item, products=products, asked=plan.panel_columns
        )
        in_lanes, csr = plan.layout == "rows-in-lanes", plan.layout == "csr"
        number, depth, step = item, d, lanes
        packed_row = (d if in_lanes else -(-d // lanes) * lanes) * item
        if products:
            number, step = split_bytes(products), SPLIT_STEP
            depth = -(-d // step) * step
            packed_row = depth * number
        n_panels = -(-k // width)
        return cls(
            isa=plan.isa, layout=plan.layout, n=plan.n_samples, d=d, k=k,
            data_item=data_item, item=item, vector_bytes=vector_bytes, lanes=lanes,
            tile_rows=tile_rows, width=width, n_panels=n_panels,
            panels_per_block=min(plan.panels_per_block, n_panels),
            depth_block=max(step, -(-plan.depth_block // step) * step), look_block=_LOOK_BLOCK,
            chunk_rows=plan.group_rows if groups else plan.chunk_rows,
            shard_rows=plan.shard_rows,
            shards_per_call=max(1, plan.shards_per_call), n_threads=plan.n_threads,
            center_threads=worth_threads(plan.n_threads, k * d, "centers"),
            packed_row_bytes=packed_row, state_row_bytes=item if in_lanes else vector_bytes,
            panel_bytes=width * (depth * number + (0 if csr else item)),
            plain_panel_bytes=(d + (not csr)) * width * item,
            sums_row_bytes=-(-d // 8) * 64 * (1 if data_item == 4 else 2),
            products=products, number_bytes=number, depth=depth, look_rows=look_rows,
            entries=max(1, rows.longest, min(ENTRIES, rows.stored)) if csr else 0,
            longest=rows.longest if csr else 0, listed_entries=d // _LISTED_SHARE if csr else 0,
            direct=rows.is_direct, groups=groups,
            list_entries=max(_LIST_ENTRIES, _LIST_ROWS * groups) if groups else 0,
            first_look=plan.look and not groups,
        )  # fmt: skip

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of X."""
        return self.d * self.data_item

    @property
    def origin_item(self) -> int:
        """Bytes of a number of the origin: the wider of data and scores."""
        return max(self.item, self.data_item)

    @property
    def grid_bytes(self) -> int:
        """The units of a row of sums, float64, which every row is cut with."""
        return self.sums_row_bytes

    @property
    def packs_groups(self) -> bool:
        """Whether a vector's width of rows is packed at a time."""
        return self.layout == "rows-in-lanes" and 2 * self.d >= self.lanes

    @property
    def piece_bytes(self) -> int:
        """What lies side by side of a packed row, between pieces of the tile's other rows."""
        if self.products:
            return 2 * SPLIT_STEP
        return self.item if self.layout == "rows-in-lanes" else self.vector_bytes

    @property
    def split(self) -> bool:
        """Whether rows are longer than one block of the depth."""
        return self.layout == "centres-in-lanes" and self.depth > self.depth_block

    @property
    def parts(self) -> int:
        """Parts of bfloat16 of a number; 0 where scores are plain."""
        return self.number_bytes // 2 if self.products else 0

    @property
    def scratch_bytes(self) -> int:
        """Scores of a tile against one panel, where they are stored at all."""
        stored = self.products or self.split
        return self.tile_rows * self.width * self.item if stored else 0

    @property
    def finished_bytes(self) -> int:
        """The two arrays in which finished scores of split rows take turns."""
        return 2 * min(PANELS_PER_BATCH, self.panels_per_block) * self.scratch_bytes

    def padded(self, rows: int) -> int:
        """Rows of the workspace for so many rows of data."""
        return -(-rows // self.tile_rows) * self.tile_rows

    def chunks(self, shard: int) -> list[tuple[int, int]]:
        """First row and number of rows of every chunk of a shard."""
        first, stop = shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.n)
        step = self.chunk_rows
        return [(at, min(step, stop - at)) for at in range(first, stop, step)]

    def attributed(self, key: str) -> str:
        """Which of `BUFFERS` the accesses to a buffer count for."""
        if key == "scratch":
            return "scores" if self.products or self.layout == "blas" else "partial scores"
        return _ATTRIBUTED[key]

    @cached_property
    def workspace(self) -> dict[str, int]:
        """Bytes of each buffer of one thread: a chunk on its way through pack, score and decide."""
        rows, item = self.padded(self.chunk_rows), self.item
        csr, number, state = self.layout == "csr", rows * item, rows * self.state_row_bytes
        filled = -(-self.d // self.lanes) * self.lanes * item
        split = number if self.products else 0
        scores = {"blas": self.k, "csr": self.n_panels * self.width}.get(self.layout, 0)
        return {
            "ids": 8 * rows,
            "pointers": 0 if csr else 8 * rows,
            "ahead": 8 * rows if self.layout == "centres-in-lanes" and not self.groups else 0,
            "staging": 0 if csr or self.direct else rows * -(-self.d // 8) * 8 * self.data_item,
            "rows": self.entries * item if csr
            else rows * (self.packed_row_bytes if self.products else filled),
            "columns": 4 * self.entries,
            "starts": 4 * (rows + 1) if csr or self.groups else 0,
            "wide": 8 * self.longest,
            "second_norms": split,
            "rest_norms": split,
            "split_errors": split,
            "again": (_LOOK_ROWS + self.look_rows) * filled if self.products else 0,
            "norms": number,
            "band": number,
            "best": 0 if self.groups else state,
            "second": 0 if self.groups else state,
            "ordinal": 0 if self.groups else state,
            "label": 4 * rows,
            "lowest": number,
            "second_lowest": number,
            "upper": 4 * rows,
            "lower": 4 * rows,
            "scratch": rows * scores * item if scores
            else 0 if self.groups else self.panels_per_block * self.scratch_bytes,
            "groups": 4 * self.list_entries,
            "places": 4 * self.list_entries,
            "begins": 4 * (self.groups + 1) if self.groups else 0,
            "listed": 8 * self.list_entries,
            "low": item * self.list_entries,
            "next": item * self.list_entries,
            "where": 4 * self.list_entries,
            "slot": 4 * rows if self.groups else 0,
            "looked_rows": LOOK_TILE * -(-self.d // 4) * 4 if self.first_look else 0,
            "looked_scores": 4 * LOOK_TILE * self.looked_centres,
        }  # fmt: skip

    @cached_property
    def shared(self) -> dict[str, int]:
        """Bytes of each buffer that all threads of a pass share: centres in every form."""
        k, d, csr, blas = self.k, self.d, self.layout == "csr", self.layout == "blas"
        packed = k * d * self.item if blas else self.n_panels * self.plain_panel_bytes
        listed = k * self.listed_entries
        return {
            "packed": 0 if self.gathered else packed,
            "split panels": self.n_panels * self.panel_bytes if self.products else 0,
            "shares": 16 * self.n_panels if self.products else 0,
            "half norms": k * self.item,
            "norms of centres": 8 * k,
            "canonical centres": 0 if csr else k * -(-d // 8) * 64,
            "narrow centres": k * -(-d // 16) * 64 if self.narrowed else 0,
            "narrow errors": 8 * k if self.narrowed else 0,
            "looked centres": self.looked_centres * -(-d // 4) * 4,
            "looked numbers": 16 * self.looked_centres,
            "order": 4 * k if self.groups else 0,
            "slots": 4 * k if self.groups else 0,
            "origin": 0 if csr else d * self.origin_item,
            "wide origin": 0 if csr else 8 * d,
            "lengths of lists": 4 * k if csr else 0,
            "listed columns": 4 * listed,
            "listed values": 8 * listed,
            "squared norms": 8 * k if csr else 0,
            "largest": 8 * k if csr else 0,
            "reports": _REPORT_BYTES * self.shards_per_call,
        }  # fmt: skip

    def _table(self):
        """One table of sums of clusters."""
        k, blocks = self.k, -(-self.d // 8)
        return {
            "sums": k * self.sums_row_bytes, "spill": k * blocks * 64,
            "pending": 4 * k * -(-blocks // _SEGMENT), "members": 8 * k, "spilt": k, "changed": k,
        }  # fmt: skip

    @cached_property
    def summing(self) -> dict[str, int]:
        """Bytes of what a pass has besides that sums the rows of each cluster."""
        table = self._table()
        tables = 1 + self.n_threads if self.own_sums else 1
        locked = self.n_threads > 1 and not self.own_sums
        return {
            **{name: tables * size for name, size in table.items()},
            "grid": self.grid_bytes,
            "locks": table["pending"] // 4 if locked else 0,
            "old and new centres": 16 * self.k * self.d,
        }

    @property
    def table_bytes(self) -> int:
        """Bytes of the sums of all clusters, and of their carries."""
        return self._table()["sums"] + self._table()["spill"]

    @property
    def own_sums(self) -> bool:
        """Whether each thread has a table of sums of its own."""
        return self.n_threads > 1 and self.table_bytes <= OWN_SUMS_BYTES

    @property
    def gathered(self) -> bool:
        """Whether CSR rows meet the centres where they stand, none of which is packed."""
        return self.layout == "csr" and self.width == 1

    @property
    def narrowed(self) -> bool:
        """Whether rows may be measured from centres that are rounded to float32."""
        return (
            self.layout != "csr"
            and self.data_item == 4
            and (self.k >= OWN_CLUSTERS or self.groups > 0)
        )

    @property
    def looked_centres(self) -> int:
        """Centres that a first look meets, filled up to whole panels; 0 where there is none."""
        return -(-self.k // LOOK_CENTRES) * LOOK_CENTRES if self.first_look else 0

    @property
    def workspace_bytes(self) -> int:
        """Bytes of the buffers of one thread, each of them on a line of its own."""
        return sum(-(-size // _LINE) * _LINE for size in self.workspace.values())

    @property
    def shared_bytes(self) -> int:
        """Bytes of what all threads share, sums of clusters and two sets of centres included."""
        return sum(self.shared.values()) + sum(self.summing.values())

    def buffers(self, *, update: bool) -> list[dict[str, int]]:
        """Bytes of the buffers that dense rows meet, allocation by allocation.

        Parameters
        ----------
        update : bool
            Whether the pass sums the rows of each cluster.

        Returns
        -------
        list of dict of str to int
            For each allocation its buffers, in order.
        """
        sizes = {"X": self.n * self.row_bytes, "labels": 4 * self.n, **self.shared}
        alone = ("X", "labels", "packed", *(["split panels"] if self.products else []),
                 "half norms", "origin")  # fmt: skip
        table = {"grid": self.grid_bytes, **self._table()}
        sums = {name: size if update else 0 for name, size in table.items()}
        # Small blocks stand one behind the other.
        beside = {name: sums[name] for name in ("grid", "pending", "members", "changed")}
        # Finished scores lie on the stack.
        stack = [{"finished": self.finished_bytes}] if self.products else []
        return [*({name: sizes[name]} for name in alone), {"sums": sums["sums"]}, beside,
                dict(self.workspace), *stack]  # fmt: skip

    def addresses(self, *, update: bool, known: Mapping[str, int] | None = None) -> dict[str, int]:
        """First bytes: one allocation after another, the workspace as `_assign` divides it.

        Parameters
        ----------
        update : bool
            Whether the pass sums the rows of each cluster.
        known : mapping of str to int, optional
            First bytes where a real run had them: of buffers by the names that are returned, and
            of the "workspace", which is divided as ever.

        Returns
        -------
        dict of str to int
            Under "end" the first one behind all of them.
        """
        at, free = {}, _PAGE
        for together in self.buffers(update=update):
            # Large blocks start at a page, behind the allocator's own words.
            free = -(-free // _PAGE) * _PAGE + 64
            for name, size in together.items():
                at[name] = free
                free += -(-size // _LINE) * _LINE
        at["end"] = free
        known = dict(known or {})
        moved = known.pop("workspace", at["ids"]) - at["ids"]
        names = list(at)
        at |= {name: at[name] + moved for name in names[names.index("ids") :]}
        return at | known


_ATTRIBUTED = {
    key: name
    for name, keys in {
        "X": ("X",),
        "packed rows": ("rows", "looked_rows"),
        "centres": ("packed", "split panels", "half norms", "looked centres", "looked numbers"),
        "running bests": ("best", "second", "ordinal"),
        "scores": ("finished", "looked_scores"),
        "certificate": ("low", "next", "where", "norms", "second_norms", "rest_norms",
                        "split_errors", "band", "label", "lowest", "second_lowest"),
        "row lists": ("ids", "pointers", "ahead", "groups", "places", "begins", "listed", "slot"),
        "labels": ("labels",),
        "origin": ("origin", "grid"),
        "sums": ("sums", "pending", "members", "changed"),
    }.items()
    for key in keys
}  # fmt: skip
