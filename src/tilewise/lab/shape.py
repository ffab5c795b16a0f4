"""The loop nest of a plan in numbers: for the formulas of `traffic` and the walk of `trace`."""

from dataclasses import dataclass

from tilewise.plan import Plan
from tilewise.plan.layout import TILES

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
        return cls(
            n=plan.n_samples, d=d, k=k, data_item=4 if plan.dtype == "float32" else 8, item=item,
            vector_bytes=vector_bytes, lanes=lanes, tile_rows=rows, width=width, n_panels=n_panels,
            panels_per_block=min(plan.panels_per_block, n_panels),
            depth_block=max(lanes, -(-plan.depth_block // lanes) * lanes),
            chunk_rows=plan.chunk_rows, shard_rows=plan.shard_rows, slots=plan.slots,
            layout=plan.layout, packed_row_bytes=(d if in_lanes else -(-d // lanes) * lanes) * item,
            state_row_bytes=item if in_lanes else vector_bytes,
            panel_bytes=(d + 1) * width * item, sums_row_bytes=-(-d // 8) * 64,
        )  # fmt: skip

    @property
    def origin_item(self) -> int:
        """Bytes of a number of the origin: the wider of data and scores."""
        return max(self.item, self.data_item)

    @property
    def split(self) -> bool:
        """Whether rows are longer than one block of the depth."""
        return self.layout == "centres-in-lanes" and self.d > self.depth_block

    def padded(self, rows: int) -> int:
        """Rows of the workspace for so many rows of data."""
        return -(-rows // self.tile_rows) * self.tile_rows

    def chunks(self, shard: int) -> list[tuple[int, int]]:
        """First row and number of rows of every chunk of a shard."""
        first, stop = shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.n)
        step = self.chunk_rows
        return [(at, min(step, stop - at)) for at in range(first, stop, step)]
