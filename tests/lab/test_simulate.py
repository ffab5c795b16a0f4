"""The cache simulator against a plain one, and against formulas that are known."""

import numpy as np
import pytest
from cache_reference import ReferenceCaches
from hypothesis import given, settings
from hypothesis import strategies as st

import tilewise
from tilewise.kernels._cachesim import Caches
from tilewise.lab.simulate import CacheConfig, simulate, simulate_chunks
from tilewise.lab.trace import Trace
from tilewise.plan.nest import BUFFERS

READ, WRITE, PREFETCH = 0, 1, 2


def ops(*rows):
    return np.array([(*row, 1, 0, 0)[:5] if len(row) == 2 else row for row in rows], dtype=np.int64)


def totals(caches):
    return caches.counts().sum(axis=1)[:, :3].tolist()


# ---------------------------------------------------------------- against a plain simulator

levels = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5)), min_size=1, max_size=4)
accesses = st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=300)


@given(levels=levels, accesses=accesses, inclusive=st.booleans())
def test_counts_are_those_of_a_plain_simulator(levels, accesses, inclusive):
    plain = ReferenceCaches(levels, inclusive)
    for line, write in accesses:
        plain.access(line, write)
    fast = Caches([s for s, _ in levels], [w for _, w in levels], 64, inclusive)
    if accesses:
        fast.run(np.array([(64 * line, 1, 1, 0, int(write)) for line, write in accesses]))
    assert totals(fast) == plain.counts


@given(
    address=st.integers(0, 1000), size=st.integers(1, 400), count=st.integers(0, 5),
    stride=st.integers(0, 300), shift=st.integers(4, 7),
)  # fmt: skip
def test_ranges_touch_every_line_once_in_order(address, size, count, stride, shift):
    line = 1 << shift
    plain = ReferenceCaches([(2, 2)])
    for i in range(count):
        start = address + i * stride
        for touched in range(start // line, (start + size - 1) // line + 1):
            plain.access(touched)
    fast = Caches([2], [2], line)
    fast.run(np.array([(address, size, count, stride, READ)]))
    assert totals(fast) == plain.counts


def test_calls_continue_where_the_last_one_ended():
    rng = np.random.default_rng(0)
    stream = np.column_stack(
        [rng.integers(0, 1 << 16, 2000), rng.integers(1, 300, 2000), rng.integers(1, 3, 2000),
         rng.integers(0, 500, 2000), rng.integers(0, 2, 2000)]
    )  # fmt: skip
    whole, parts = Caches([8, 32], [2, 4]), Caches([8, 32], [2, 4])
    whole.run(stream)
    for start in range(0, 2000, 7):
        parts.run(np.ascontiguousarray(stream[start : start + 7]))
    assert totals(whole) == totals(parts)


# ---------------------------------------------------------------- against formulas


@pytest.mark.parametrize("lines", [10, 64, 65, 300])
def test_sequential_sweeps(lines):
    """Twice through a range: the second time free if it fits, all anew if it is one line more."""
    caches = Caches([1], [64])
    caches.run(ops((0, 64 * lines), (0, 64 * lines)))
    accesses, misses, _ = totals(caches)[0]
    assert accesses == 2 * lines
    assert misses == (lines if lines <= 64 else 2 * lines)


@pytest.mark.parametrize("stride", [8, 64, 128, 4096])
def test_strided_reads(stride):
    """One miss per line; a stride that meets one set alone has that set's ways and no more."""
    caches = Caches([64], [8])  # 32 KiB
    count = 32
    for _ in range(2):
        caches.run(ops((0, 8, count, stride, READ)))
    lines = count * stride // 64 if stride < 64 else count
    sets = min(64, max(1, 64 * 64 // stride))
    fits = -(-lines // sets) <= 8
    assert totals(caches)[0][1] == (lines if fits else 2 * lines)


def test_dirty_lines_are_written_back_once():
    caches = Caches([1, 1], [4, 16])
    caches.run(ops((0, 64 * 8, 1, 0, WRITE)))
    # Four of eight lines have left the small level, for the large one, which holds them.
    assert totals(caches) == [[8, 8, 4], [8, 8, 0]]
    caches.flush()
    assert totals(caches) == [[8, 8, 8], [8, 8, 8]]


def test_an_inclusive_level_takes_its_lines_along():
    inclusive, other = (Caches([1, 1], [4, 4], 64, which) for which in (True, False))
    # Line 0 is kept young in the small level; the large one does not see that.
    stream = np.array([(64 * line, 1, 1, 0, READ) for i in range(1, 5) for line in (0, i)])
    for caches in (inclusive, other):
        caches.run(stream)
        caches.run(ops((0, 1)))
    assert totals(other)[0][1] == 5  # 0, 1, 2, 3, 4
    assert totals(inclusive)[0][1] == 6  # 0 left with the outer level's line


def test_prefetches_skip_the_first_level():
    caches = Caches([4, 64], [2, 8], 64, False, 2)
    caches.run(ops((0, 640, 1, 0, 4 + PREFETCH), (0, 640, 1, 0, 0)))
    counts = caches.counts()
    assert counts[0, :, 1].tolist() == [10, 0]  # the reads miss the first level
    assert counts[1, :, 1].tolist() == [0, 10]  # the prefetches have missed the second for them
    assert counts[1, 1, 3] == 10


def test_tiled_assignment():
    """The closed form of a tiled product with 64-byte lines: `rows` of X against all of C.

    n x k scores from d features of eight bytes: X once, and C once per tile of rows while a
    tile and one row of C fit (they do for 16 and 64 rows of 32 KiB), X anew for every row of C
    where the tile does not fit (512 rows).
    """
    n, d, k, item = 1024, 32, 128, 8
    row = d * item
    for rows in (16, 64, 512):
        caches = Caches([64], [8])
        for tile in range(0, n, rows):
            stream = np.empty((k, rows, 2, 5), dtype=np.int64)
            stream[...] = (0, row, 1, 0, READ)
            stream[:, :, 0, 0] = (1 << 20) + row * np.arange(k)[:, None]
            stream[:, :, 1, 0] = row * np.arange(tile, tile + rows)[None]
            caches.run(stream.reshape(-1, 5))
        centres = n // rows * k * row // 64
        data = n * row // 64 * (k if rows == 512 else 1)
        assert totals(caches)[0][1] == pytest.approx(centres + data, rel=0.02)


# ---------------------------------------------------------------- what must be refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], []), "one to 4 levels"),
        (([4], [0]), "at least one set and one way"),
        (([4], [2], 48), "not a power of two"),
        (([4], [2], 64, False, 65), "n_buffers=65"),
    ],
)
def test_impossible_caches(arguments, message):
    with pytest.raises(ValueError, match=message):
        Caches(*arguments)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((0, 8, 1, 0, 8), "names no buffer or no kind"),
        ((0, 8, 1, 0, 3), "names no buffer or no kind"),
        ((-64, 8, 1, 0, 0), "below address 0"),
        ((64, 8, 3, -64, 0), "below address 0"),
        ((2**52 - 7, 8, 1, 0, 0), "beyond address"),
        ((2**52 - 64, 8, 2, 64, 0), "beyond address"),
        ((2**62, 8, 2**40, 2**40, 0), "beyond address"),
        ((0, 0, 1, 0, 0), "has no bytes"),
    ],
)
def test_impossible_accesses(row, message):
    caches = Caches([4], [2], 64, False, 2)
    with pytest.raises(ValueError, match=message):
        caches.run(np.array([row]))
    assert totals(caches) == [[0, 0, 0]]


def test_the_last_addresses_are_counted_as_others_are():
    caches = Caches([4], [2], 1)
    caches.run(ops((2**52 - 1, 1), (2**52 - 1, 1), (0, 1)))
    assert totals(caches) == [[3, 2, 0]]


def test_a_size_that_is_no_whole_number_of_sets():
    with pytest.raises(ValueError, match=r"L2 of 1000 bytes .* multiple of 512"):
        CacheConfig.of([(1024, 8), (1000, 8)])


# ---------------------------------------------------------------- whole passes

SMALL = CacheConfig.of([(16384, 8), (131072, 8)])
SHAPES = [
    (3000, 64, 48, "float32", "auto"),
    (3000, 64, 48, "float64", "auto"),
    (5000, 6, 20, "float32", "auto"),
    (5000, 20, 20, "float64", "auto"),
    (1500, 200, 30, "float32", "auto"),
    (2000, 50, 40, "float32", "blas"),
]


def sized(n, d, k, dtype, engine, **choices):
    return tilewise.plan(n, d, k, dtype, engine=engine, n_threads=1, **choices)


@pytest.mark.parametrize("shape", SHAPES)
def test_compulsory_traffic(shape):
    """In caches that hold everything, each line of each buffer comes once, and X only comes."""
    plan = sized(*shape)
    huge = CacheConfig.of([(1 << 24, 16), (1 << 26, 16)])
    result = simulate(plan, huge)
    n, d, _, dtype, _ = shape
    data = n * d * np.dtype(dtype).itemsize
    for flow in result.flows:
        moved_in, moved_out = flow.by_buffer["X"]
        assert data <= moved_in <= data + 64
        assert moved_out == 0
        assert 4 * n <= flow.by_buffer["labels"][1] <= 4 * n + 64


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("update", [False, True])
def test_one_level_misses_less_than_the_one_inside_it(shape, update):
    result = simulate(sized(*shape), SMALL, update=update, prefetch=False)
    for name, moved in result.flows[1].by_buffer.items():
        assert moved[0] <= result.flows[0].by_buffer[name][0]
    # What leaves the first level has come in. Further out a line may pass by on its way to memory.
    for name, (moved_in, moved_out) in result.flows[0].by_buffer.items():
        assert moved_out <= moved_in, name


@pytest.mark.parametrize("shape", SHAPES)
def test_steps_change_next_to_nothing(shape):
    plan = sized(*shape)
    coarse, fine = (simulate(plan, SMALL, steps=steps) for steps in (False, True))
    for a, b in zip(coarse.flows, fine.flows, strict=True):
        assert a.bytes == pytest.approx(b.bytes, rel=0.03)


@settings(max_examples=25)
@given(
    n=st.integers(1, 2000), d=st.integers(1, 70), k=st.integers(1, 40),
    dtype=st.sampled_from(["float32", "float64"]), engine=st.sampled_from(["auto", "blas"]),
    update=st.booleans(),
)  # fmt: skip
def test_every_access_lies_in_its_buffer(n, d, k, dtype, engine, update):
    """All lines of X and of the labels are met, and no buffer's accesses reach another one's."""
    plan = sized(n, d, k, dtype, engine)
    trace = Trace(plan, update=update)
    item = np.dtype(dtype).itemsize
    blocks = [ops for shard in range(plan.n_shards) for ops in trace.shard(shard)]
    stream = np.concatenate(blocks)
    first, last = stream[:, 0], stream[:, 0] + np.maximum(stream[:, 2] - 1, 0) * stream[:, 3]
    last = last + stream[:, 1]
    buffer = stream[:, 4] >> 2
    for name, at, size in (("X", "X", n * d * item), ("labels", "labels", 4 * n)):
        mine = buffer == BUFFERS.index(name)
        start = trace.at[at]
        assert first[mine].min() == start
        assert start + size <= last[mine].max() <= start + -(-size // 64) * 64
    assert first.min() >= min(trace.at.values())
    assert last.max() <= trace.at["end"]


def test_some_shards_stand_for_all():
    plan = sized(60_000, 32, 16, "float32", "auto")
    assert plan.n_shards > 10
    whole = simulate(plan, SMALL)
    part = simulate(plan, SMALL, max_rows=4 * plan.shard_rows)
    assert part.simulated_rows == 4 * plan.shard_rows
    assert whole.simulated_rows == 60_000
    for a, b in zip(part.flows, whole.flows, strict=True):
        assert a.bytes_in == pytest.approx(b.bytes_in, rel=0.02)


def test_a_sweep_of_chunks():
    seen = []
    sweep = simulate_chunks(
        6000, 32, 64, [48, 384, "auto"], config=SMALL, progress=seen.append
    )  # fmt: skip
    assert [row.chunk_rows for row in sweep][:2] == [48, 384]
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    small, large = (row.simulated.flows[0].by_buffer["centres"][0] for row in sweep[:2])
    assert small > large  # short chunks meet all centres more often
    told = sweep[0].to_dict()
    assert told["simulated"]["levels"][0]["name"] == "L1"
    assert told["predicted"]["flows"][1]["inner"] == "L1"


@pytest.mark.parametrize("engine", ["blas", "fused"])
def test_some_shards_stand_for_all_bytes_that_leave_too(engine):
    """Buffers that stay in a cache to the end leave once, labels in proportion to the rows."""
    plan = tilewise.plan(23_040, 8, 64, n_threads=1, engine=engine, chunk_size="auto")
    caches = CacheConfig.of([(48 << 10, 12), (2 << 20, 16)])
    whole, some = simulate(plan, caches), simulate(plan, caches, max_rows=4608)
    assert some.simulated_rows < whole.simulated_rows
    for all_rows, few in zip(whole.flows, some.flows, strict=True):
        assert few.bytes_in == pytest.approx(all_rows.bytes_in, rel=0.02)
        assert few.bytes_out == pytest.approx(all_rows.bytes_out, rel=0.02)


def test_a_copy_goes_its_own_way():
    caches = Caches([4], [2])
    caches.run(ops((0, 256, 1, 0, WRITE)))
    other = caches.copy()
    other.flush()
    assert totals(other) == [[4, 4, 4]]
    assert totals(caches) == [[4, 4, 0]]
    caches.run(ops((0, 256, 1, 0, READ)))
    assert totals(caches) == [[8, 4, 0]]
    caches.flush()
    assert totals(caches) == [[8, 4, 4]]


def test_ctrl_c_is_seen_between_blocks(monkeypatch):
    """A long simulation is many calls, each of a bounded number of lines."""
    from tilewise.lab import simulate as module

    lengths = []

    class Watched:
        def run(self, ops):
            lengths.append(module._lines(ops))

    monkeypatch.setattr(module, "_UNINTERRUPTED", 5000)
    stream = np.tile(np.array([(0, 640, 1, 0, READ)]), (4000, 1))
    module._walk(Watched(), stream)
    assert sum(lengths) == 40_000
    assert max(lengths) <= 5000
