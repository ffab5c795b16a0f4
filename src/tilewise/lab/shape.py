"""The loop nest of a plan in numbers: for the formulas of `traffic` and the walk of `trace`."""

from dataclasses import dataclass

from tilewise.plan import Plan
from tilewise.plan.layout import TILES
from tilewise.plan.split import SPLIT_ROWS, SPLIT_STEP

__all__ = ["Shape"]


@dataclass(frozen=True)
class Shape:
    """Sizes of the loop nest, in items and bytes, as the kernels derive them from a plan.

    Examples
    --------
    >>> import tilewise
    >>> from tilewise.lab.shape import Shape
    >>> shape = Shape.of(tilewise.plan(1000, 64, 256))
    >>> shape.panel_bytes == (64 + 1) * shape.width * 4
    True
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
    slots: int
    layout: str
    packed_row_bytes: int
    state_row_bytes: int  # of one of the three running bests
    panel_bytes: int
    sums_row_bytes: int
    products: int  # of parts of bfloat16; 0 where scores are plain
    number_bytes: int  # of one packed number: all its parts
    depth: int  # features as packed rows have them, filled up
    look_rows: int  # of the tile of a second look, where scores are split
    plain_panel_bytes: int  # of a panel that is kept for the second look, where scores are split

    @classmethod
    def of(cls, plan: Plan) -> "Shape":
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
        vector_bytes, tile_rows, vectors, row_vectors, group = TILES[plan.isa]
        lanes, d, k = vector_bytes // item, plan.n_features, plan.n_clusters
        in_lanes = plan.layout == "rows-in-lanes"
        width = group if in_lanes else (1 if k <= lanes else vectors) * lanes
        n_panels = -(-k // width)
        rows = row_vectors * lanes if in_lanes else tile_rows
        depth_block = max(lanes, -(-plan.depth_block // lanes) * lanes)
        number, depth, packed_row = item, d, (d if in_lanes else -(-d // lanes) * lanes) * item
        panel = plain_panel = (d + 1) * width * item
        if plan.products:
            rows, width = SPLIT_ROWS, vectors * lanes
            n_panels = -(-k // width)
            number = 6 if plan.products == 6 else 4
            depth = -(-d // SPLIT_STEP) * SPLIT_STEP
            depth_block = -(-plan.depth_block // SPLIT_STEP) * SPLIT_STEP
            packed_row, panel = depth * number, width * (depth * number + item)
            plain_panel = (d + 1) * width * item
        return cls(
            n=plan.n_samples, d=d, k=k, data_item=4 if plan.dtype == "float32" else 8, item=item,
            vector_bytes=vector_bytes, lanes=lanes, tile_rows=rows, width=width, n_panels=n_panels,
            panels_per_block=min(plan.panels_per_block, n_panels),
            depth_block=depth_block,
            chunk_rows=plan.chunk_rows, shard_rows=plan.shard_rows, slots=plan.slots,
            layout=plan.layout, packed_row_bytes=packed_row,
            state_row_bytes=item if in_lanes else vector_bytes, panel_bytes=panel,
            sums_row_bytes=-(-d // 8) * 64, products=plan.products, number_bytes=number,
            depth=depth, look_rows=tile_rows, plain_panel_bytes=plain_panel,
        )  # fmt: skip

    @property
    def origin_item(self) -> int:
        """Bytes of a number of the origin: the wider of data and scores."""
        return max(self.item, self.data_item)

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

    def padded(self, rows: int) -> int:
        """Rows of the workspace for so many rows of data."""
        return -(-rows // self.tile_rows) * self.tile_rows

    def chunks(self, shard: int) -> list[tuple[int, int]]:
        """First row and number of rows of every chunk of a shard."""
        first, stop = shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.n)
        step = self.chunk_rows
        return [(at, min(step, stop - at)) for at in range(first, stop, step)]
