"""Thresholds that choose an algorithm, or one thread, each with the measurement behind it.

Planners and engines read them here and nowhere else. A plan whose sentence depends on one of them
states the number.
"""

from functools import lru_cache
from typing import NamedTuple, Protocol

__all__ = [
    "ASSIGNMENT_COORDINATES", "ASSIGNMENT_LOOK_COORDINATES", "ASSIGNMENT_ROWS",
    "ASSIGNMENT_ROWS_PER_COORDINATE", "BRUTE_FORCE_MOST_ROWS", "CANCELLING_SHARE",
    "CSR_INDEXED_ROWS", "FEW_DISTANCES", "FEW_SEEDS", "KEPT_PASS_BYTES", "LOOK_DEPTH",
    "LOOK_MEASURED", "LOOK_MOST_CLUSTERS", "LOOK_MOST_LEFT", "LOOK_ROWS", "LOOK_TRIED", "LOOK_WORK",
    "MIRRORED_FEATURES", "MIRRORED_ROWS", "MIRRORED_THREADS", "OWN_CLUSTERS", "OWN_SUMS_BYTES",
    "PRODUCTS_FEATURES", "SCAN_ROWS", "SEEDING_COPY_FEATURES", "SEEDING_COPY_SETS",
    "SEEDING_COPY_SHARE", "SEEDING_COPY_WORK", "SERIAL_WORK", "STORED_SHARE", "Limit",
    "brute_force_pays", "few_stored", "most_single_rows", "own_distance_share", "worth_threads",
]  # fmt: skip


class Limit(NamedTuple):
    """An amount of work and its unit."""

    value: int
    unit: str


# Work below which one thread does it, since starting threads costs more than it saves. Estimates,
# except where a measurement is named.
SERIAL_WORK = {
    # One pass of K-Means.
    "fit": Limit(200_000, "multiply-adds"),
    # About half a millisecond: where others use the cores as well, threads took 15 ms (measured).
    "neighbors": Limit(5_000_000, "multiply-adds"),
    "csr neighbors": Limit(200_000, "multiply-adds"),
    "brute force": Limit(2**15, "distances"),
    "matrix": Limit(400_000, "multiply-adds"),
    # Distances of a block that are compared with a limit, counted or copied.
    "block": Limit(2**14, "distances"),
    # Pairs that are sorted, or that take a canonical distance.
    "pairs": Limit(2**10, "pairs"),
    # Coordinates whose largest magnitude is looked for.
    "extent": Limit(2**18, "coordinates"),
    # Coordinates of centres that are packed, averaged or moved.
    "centers": Limit(2**17, "coordinates"),
    # One pass of k-means++ over the rows (measured at 3072 x 16, two threads: no gain, and eighty
    # times the time where the CPUs are busy, since it is over before another thread has woken up).
    "one seed": Limit(2**17, "coordinates"),
    # Distances of the candidates of k-means++ to the seeds before them.
    "seeds": Limit(100_000, "multiply-adds"),
}

# k-means++ of rows too few for threads ("one seed"): up to so many seeds, and distances of rows to
# the candidates of a step (256 KiB), all steps run in one call, which measures every row against
# every candidate. Measured with AVX-512, against steps that leave rows out by the triangle
# inequality: 1.6 to 3 times faster from 150 x 4 to 10,000 x 2, 1.4 times at 1,000 x 100 with 100
# seeds, none at 4,000 x 30 with 200.
FEW_SEEDS, FEW_DISTANCES = 128, 2**15


def worth_threads(n_threads: int, work: float, kind: str) -> int:
    """The number of threads, or 1 where the work is below ``SERIAL_WORK[kind]``."""
    return n_threads if work >= SERIAL_WORK[kind].value else 1


# CSR rows: the largest share of entries that are stored up to which a loop works from the stored
# entries. Above it rows are made dense a block at a time: dense loops take many columns at once.
STORED_SHARE = {
    # Scores of K-Means (measured: from 60 x 20 to 10,000 x 100 both take equally long at a share
    # of 0.3 to 0.5).
    "scores": 0.3,
    # A matrix of distances: the sparser side.
    "matrix": 0.2,
    # Neighbours: multiplications per pair and column as if both rows were dense, so the product of
    # both shares where both sides are CSR.
    "neighbors, one side": 0.05,
    "neighbors, both sides": 0.003,
    # Inertia, seeding and mini-batches, which meet each row once: a stored entry costs about as
    # much as thirty numbers of a row that is spread out (measured for seeding at 100 and 2,000
    # columns: both take equally long between 0.02 and 0.05).
    "rows one by one": 0.03,
}


class _Stored(Protocol):
    is_sparse: bool
    given_density: float


def few_stored(rows: _Stored, kind: str) -> bool:
    """Whether rows, as they were given, are CSR and store at most ``STORED_SHARE[kind]`` of all."""
    return rows.is_sparse and rows.given_density <= STORED_SHARE[kind]


# A matrix of two CSR sides: with fewer rows of X than this, and more of Y, X is indexed and the
# rows of Y are read one by one.
CSR_INDEXED_ROWS = 512

# Rows of X below which all canonical distances are computed while Y streams by: packing Y would
# cost more (measured for 64 features: they meet at 4).
SCAN_ROWS = 4

# The nearest row alone: a pass that assigns rows as K-Means does finds it from so many rows of X
# on, where Y has up to so many coordinates. A search by scores spends about a microsecond on the
# first candidates of each row; a pass has to prepare the rows of Y, so it takes so many rows of X
# per coordinate to pay. Measured with AVX-512, one thread, against scores: 7.5 times at
# 200,000 x 300 x 4, 5.7 at 200,000 x 100 x 16, 1.9 at 9,000 x 1,000 x 24, 1.3 at 9,000 x 4,000 x
# 24, 0.9 at 50,000 x 5,000 x 128 (float32).
ASSIGNMENT_ROWS, ASSIGNMENT_COORDINATES, ASSIGNMENT_ROWS_PER_COORDINATE = 1000, 2**18, 1 / 40
# ... with a first look in bytes, which the search by scores lacks: up to some 32 MiB of copies of Y
# (measured: 2.7 times as fast at 30,000 x 1,024 x 384).
ASSIGNMENT_LOOK_COORDINATES = 2**20

# Most rows of Y that brute force takes, as the kernel has it.
BRUTE_FORCE_MOST_ROWS = 128
# ... and rows of X per row of Y from which on it is considered.
_BRUTE_FORCE_RATIO = 8
# Nanoseconds per row of X (measured with AVX-512), beyond what both ways share: brute force pays
# for the coordinates of all rows of Y, for the pairs of them that are compared to rank them, and
# for the rows ...
_COORDINATE, _PAIR, _ROW = 0.07, 0.03, 0.6
# ... and a search by scores for itself and for each of the k neighbours.
_SEARCH, _NEIGHBOR = 200, 40
# The nearest row alone needs no ranks: coordinates up to which brute force finds it faster.
_BRUTE_FORCE_MOST_COORDINATES = 1536
# Longer rows are not measured eight at a time. With vectors below 64 bytes, too narrow for eight
# sums, that takes so many times as long.
_LANES_DEPTH, _WIDE_VECTOR, _NARROW = 24, 64, 4


def brute_force_pays(n: int, m: int, d: int, k: int, vector_bytes: int) -> bool:
    """Whether all distances of n dense rows to m others are the faster way to the k nearest."""
    if k == 0 or m > BRUTE_FORCE_MOST_ROWS or n < _BRUTE_FORCE_RATIO * m:
        return False
    coordinates = m * max(8, d)
    if d > _LANES_DEPTH and vector_bytes < _WIDE_VECTOR:
        coordinates *= _NARROW
    if k == 1:
        return coordinates <= _BRUTE_FORCE_MOST_COORDINATES
    return _COORDINATE * coordinates + _PAIR * m * m + _ROW * m <= _SEARCH + _NEIGHBOR * k


# Features from which on a matrix of distances comes from norms and products (measured: twice as
# fast as differences where rows are long, even at 32 features) ...
PRODUCTS_FEATURES = {"float32": 48, "float64": 32}
# ... unless more than this share of pairs would cancel and be made from differences after all
# (measured: one such pair costs a dozen others in float32, four in float64).
CANCELLING_SHARE = {"float32": 0.06, "float64": 0.2}

# A symmetric matrix is computed on one side of its diagonal, in strips of so many rows, and copied
# to the other side: from so many features on, and up to so many threads (one thread copies).
MIRRORED_ROWS = 384
MIRRORED_FEATURES = 256
MIRRORED_THREADS = 4

# Tables of the sums of clusters of up to so many bytes are kept once for each thread, since they
# fit a small L2; of larger ones there is one, whose rows are locked while a row of data is added.
OWN_SUMS_BYTES = 2**19

# Buffers, packed centres, sums and bounds of up to so many bytes stay from one run of a fit to the
# next. Opening a pass takes about 50 microseconds (measured at 150 x 4 and 1,797 x 64), a third of
# a run on 150 rows; where there is more to keep, it is less than 2 % of a run.
KEPT_PASS_BYTES = 2**20


# From this many clusters on, one distance to the own centre first may be cheaper than scoring.
OWN_CLUSTERS = 48
# Nanoseconds of such a distance, of a row and of each of its numbers, where rows are scattered
# (measured with AVX-512 at 64 and 192 columns, on a busy machine) ...
_OWN_ROW, _OWN_NUMBER = 20, 0.4
# ... and multiply-adds per nanosecond of scores, of each lane (measured: 44 with sixteen) and
# how many times faster products of parts are.
_LANE_RATE, _PRODUCTS_RATE = 2.75, 3


def own_distance_share(k: int, d: int, lanes: int, products: int) -> float:
    """The share of rows that own distances must settle to take no longer than they save."""
    rate = lanes * _LANE_RATE * (_PRODUCTS_RATE if products else 1)
    return (_OWN_ROW + _OWN_NUMBER * d) * rate / max(1, k * d)


# Features, as the kernel has it, and clusters (a MiB of scores a tile), up to which rows have a
# first look in bytes ...
LOOK_DEPTH, LOOK_MOST_CLUSTERS = 2**14, 2**13
# ... and features x clusters, and rows, from which on it pays (measured with AVX-512 VNNI, a pass
# without bounds: 64 x 256 1.2 times as fast, 192 x 256 1.8, 256 x 1024 3.1, 384 x 1024 2.9; the
# copy of the centres takes as long as 400 rows save).
LOOK_WORK, LOOK_ROWS = 2**14, 1024
# It ends where it leaves more than this share of the rows, with each distance that it measures
# counted as scores of so many centres (measured at 384 features: 90 ns against 5).
LOOK_MOST_LEFT, LOOK_MEASURED = 0.5, 16
# Rows after which it is first asked whether it pays.
LOOK_TRIED = 4096


# k-means++ rounds the rows to bytes once where that takes at most this share of the data ...
SEEDING_COPY_SHARE = 1 / 3
# ... from so many features on: shorter rows are turned into the lanes as fast as a copy is read
# (measured at 30,000 x 28, 64 seeds: 1.5 times as fast with a copy) ...
SEEDING_COPY_FEATURES = 25
# ... and from so many multiply-adds (rows x features x seeds) on: fewer do not repay the copy
# (measured with AVX-512 at 64 features: 1797, 4000 and 1000 rows and 10, 20 and 64 seeds take 1.7,
# 1.4 and 1.1 times as long with one, 30,000 rows and 64 seeds 0.75 times as long) ...
SEEDING_COPY_WORK = 2**25
# ... with the instruction sets whose products of bytes are faster than those of float32 (measured
# at 30,000 x 64, 64 seeds: SSE2 1.5, AVX2 1.3, AVX-512 with VNNI 1.3 times).
SEEDING_COPY_SETS = ("sse2", "avx2", "avx512", "amx")


# Nanoseconds (measured with AVX-512, one thread, 2 x 8 to 128 x 4096): a call that plans and packs,
# and each coordinate of its centres ...
_PLANNED, _PACKED = 190_000, 7.2
# ... and how much longer a row takes that is answered on its own: per coordinate, and per centre.
_ON_ITS_OWN = {"float32": (0.039, 1.0), "float64": (0.115, 1.0)}


@lru_cache(maxsize=256)
def most_single_rows(n_clusters: int, n_features: int, dtype: str = "float32") -> int:
    """Rows up to which a call compares each with the centres as they lie, without packing them."""
    per_coordinate, per_center = _ON_ITS_OWN[dtype]
    work = n_clusters * n_features
    row = per_coordinate * work + per_center * n_clusters + 20
    return max(1, int((_PLANNED + _PACKED * work) / row))
