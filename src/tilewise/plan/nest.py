"""The loop nest of a plan in numbers: its blocks, and the bytes and places of its buffers."""

from collections.abc import Mapping
from dataclasses import dataclass

from tilewise.plan.layout import TILES
from tilewise.plan.plan import Plan
from tilewise.plan.split import SPLIT_STEP

__all__ = ["BUFFERS", "PANELS_PER_BATCH", "LoopNest"]

#: What accesses are attributed to.
BUFFERS = (
    "X", "packed rows", "centres", "running bests", "partial scores", "scores", "certificate",
    "row lists", "labels", "origin", "sums",
)  # fmt: skip
#: Panels of split centres whose scores are folded together.
PANELS_PER_BATCH = 2

_PAGE = 4096
# As the kernels have it: rows of a second look.
_LOOK_ROWS = 32


@dataclass(frozen=True)
class LoopNest:
    """Sizes of the loop nest, in items and bytes, as the kernels derive them from a plan.

    Examples
    --------
    >>> import tilewise
    >>> from tilewise.plan.nest import LoopNest
    >>> nest = LoopNest.of(tilewise.plan(1000, 64, 256))
    >>> nest.panel_bytes == (64 + 1) * nest.width * 4
    True
    >>> at = nest.addresses(update=False)
    >>> at["X"] % 4096, at["labels"] > at["X"] + 1000 * 64 * 4
    (64, True)
    """

    n: int
    d: int
    k: int
    data_item: int
    item: int
    vector_bytes: int
    lanes: int
    tile_rows: int
    width: int  # centres of a panel or group
    n_panels: int
    panels_per_block: int
    depth_block: int
    chunk_rows: int
    shard_rows: int
    layout: str
    packed_row_bytes: int
    state_row_bytes: int  # of one of the three running bests
    panel_bytes: int
    sums_row_bytes: int  # of one cluster; float64 columns mostly have two limbs
    products: int  # of parts of bfloat16; 0 where scores are plain
    number_bytes: int  # of one packed number: all its parts
    depth: int  # features as packed rows have them, filled up
    look_rows: int  # of the tile of a second look, where scores are split
    plain_panel_bytes: int  # of a panel that is kept for the second look, where scores are split

    @classmethod
    def of(cls, plan: Plan) -> "LoopNest":
        """Sizes of the loop nest that runs `plan`.

        Raises
        ------
        ValueError
            For the layout "csr", whose accesses follow the stored entries.
        """
        if plan.layout == "csr":
            raise ValueError(
                "the accesses of CSR rows follow their stored entries, which a plan does not "
                "know: give a plan of dense rows"
            )
        item = 8 if plan.score_dtype == "float64" else 4
        vector_bytes, look_rows, *_ = TILES[plan.isa]
        lanes, d, width = vector_bytes // item, plan.n_features, plan.panel_columns
        in_lanes = plan.layout == "rows-in-lanes"
        number, depth, step = item, d, lanes
        packed_row = (d if in_lanes else -(-d // lanes) * lanes) * item
        if plan.products:
            number, step = (6 if plan.products == 6 else 4), SPLIT_STEP
            depth = -(-d // step) * step
            packed_row = depth * number
        n_panels = -(-plan.n_clusters // width)
        return cls(
            n=plan.n_samples, d=d, k=plan.n_clusters,
            data_item=4 if plan.dtype == "float32" else 8, item=item,
            vector_bytes=vector_bytes, lanes=lanes, tile_rows=plan.tile_rows, width=width,
            n_panels=n_panels, panels_per_block=min(plan.panels_per_block, n_panels),
            depth_block=max(step, -(-plan.depth_block // step) * step),
            chunk_rows=plan.chunk_rows, shard_rows=plan.shard_rows,
            layout=plan.layout, packed_row_bytes=packed_row,
            state_row_bytes=item if in_lanes else vector_bytes,
            panel_bytes=width * (depth * number + item), plain_panel_bytes=(d + 1) * width * item,
            sums_row_bytes=-(-d // 8) * 64 * (1 if plan.dtype == "float32" else 2),
            products=plan.products, number_bytes=number, depth=depth, look_rows=look_rows,
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

    def buffers(self, *, update: bool) -> list[dict[str, int]]:
        """Bytes of every buffer, allocation by allocation.

        Parameters
        ----------
        update : bool
            Whether the pass sums the rows of each cluster.

        Returns
        -------
        list of dict of str to int
            For each allocation its buffers, in order.
        """
        blas = self.layout == "blas"
        rows = self.padded(self.chunk_rows)
        filled = -(-self.d // self.lanes) * self.lanes * self.item
        split = rows * self.item if self.products else 0
        state = rows * self.state_row_bytes
        plain = self.k * self.d * self.item if blas else self.n_panels * self.plain_panel_bytes
        alone = {
            "X": self.n * self.row_bytes,
            "labels": 4 * self.n,
            "packed": plain,
            **({"split panels": self.n_panels * self.panel_bytes} if self.products else {}),
            "half norms": self.k * self.item,
            "origin": self.d * self.origin_item,
            "sums": self.k * self.sums_row_bytes if update else 0,
        }
        # Small blocks stand one behind the other.
        beside = {
            "grid": self.grid_bytes if update else 0,
            "pending": 4 * self.k if update else 0,
            "members": 8 * self.k if update else 0,
            "changed": self.k if update else 0,
        }
        workspace = {
            "ids": 8 * rows,
            "pointers": 8 * rows,
            "ahead": 8 * rows if self.layout == "centres-in-lanes" else 0,
            "rows": rows * (self.packed_row_bytes if self.products else filled),
            "second_norms": split,
            "rest_norms": split,
            "split_errors": split,
            "again": (_LOOK_ROWS + self.look_rows) * filled if self.products else 0,
            "norms": rows * self.item,
            "band": rows * self.item,
            "best": state,
            "second": state,
            "ordinal": state,
            "label": 4 * rows,
            "lowest": rows * self.item,
            "second_lowest": rows * self.item,
            "upper": 4 * rows,
            "lower": 4 * rows,
            "scratch": rows * self.k * self.item if blas
            else self.panels_per_block * self.scratch_bytes,
        }  # fmt: skip
        # Finished scores lie on the stack.
        stack = [{"finished": self.finished_bytes}] if self.products else []
        return [*({name: size} for name, size in alone.items()), beside, workspace, *stack]

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
                free += -(-size // 64) * 64
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
        "packed rows": ("rows",),
        "centres": ("packed", "split panels", "half norms"),
        "running bests": ("best", "second", "ordinal"),
        "scores": ("finished",),
        "certificate": ("norms", "second_norms", "rest_norms", "split_errors", "band", "label",
                        "lowest", "second_lowest"),
        "row lists": ("ids", "pointers", "ahead"),
        "labels": ("labels",),
        "origin": ("origin", "grid"),
        "sums": ("sums", "pending", "members", "changed"),
    }.items()
    for key in keys
}  # fmt: skip
