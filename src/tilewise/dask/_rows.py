"""The rows of a cluster: which worker has which, and tasks over all of them."""

import contextlib
import copy
import heapq
import itertools
import time
import uuid
from collections import defaultdict

import dask
import numpy as np

from tilewise import engine
from tilewise._sizes import sized
from tilewise.sources._names import order_of

from . import _part, _pieces
from ._collect import NotTaken, collect, collect_weights
from ._report import ROW_BYTES, ClusterReport

__all__ = ["ClusterRows", "ClusterWeights", "open_cluster_rows"]

# A worker may have so much more than its share of the rows before some are sent elsewhere.
_UNEVEN = 1.1
# Of a worker's memory, what rows and what passes keep of them may take.
_USABLE = 0.9
# Seconds until somebody asks again which workers there are.
_LOOK_SECONDS = 0.5
# Answers that one task puts together; with fewer parts the client does.
FAN = 8


class ClusterWeights:
    """A weight for every row, where the rows lie.

    Attributes
    ----------
    futures : list of Future
        For each partition its weights, (n,) float64.
    sizes : tuple of float
        The largest and the least magnitude other than zero.
    """

    def __init__(self, rows, futures, sizes):
        self._rows, self.futures, self.sizes = rows, futures, sizes

    def __getitem__(self, ids):
        """Weights by the numbers of their rows, or a slice of them, (m,) float64."""
        if isinstance(ids, slice):
            ids = np.arange(*ids.indices(self._rows.n_rows))
        return self._rows.picked_up(_pieces.take_weights, self.futures, ids, (), np.float64)

    def array(self):
        """All weights, (n,) float64, in this process."""
        return np.concatenate(self._rows.gather(self.futures))

    def __array__(self, dtype=None, copy=None):
        return self.array().astype(dtype or np.float64, copy=False)


class Partition:
    """The pieces that one worker works on, and the future of its `Part`."""

    def __init__(self, worker, pieces, future):
        self.worker, self.pieces, self.future = worker, pieces, future


class ClusterRows:
    """Rows in the memories of workers, in the partitions in which they came.

    Parameters
    ----------
    client : distributed.Client
    futures : list of Future
        Each a `Piece`.
    sizes : list of int
        Rows of each.
    n_features : int
    dtype : dtype

    Attributes
    ----------
    reading : StreamRows or None
        The rows as they come to this process, if they do.
    wishes : dict
        What plans of the workers are to heed.
    """

    backend = "dask"
    is_sparse = False
    in_memory = False
    is_direct = True
    given_density = 1.0

    def __init__(self, client, futures, sizes, n_features, dtype):
        self.client, self.futures, self.sizes = client, futures, sizes
        self.starts = np.cumsum([0, *sizes])
        self.n_rows, self.n_features = int(self.starts[-1]), n_features
        self.compute_dtype = self.result_dtype = np.dtype(dtype)
        self.exponent = 0
        self.wishes = {}
        self._report, self.reading = ClusterReport(), None
        self._placed = {}
        self._workers, self._looked = frozenset(), 0.0

    name = "the rows of the cluster"

    @property
    def report(self):
        """What the passes took, or the reading where rows come to this process."""
        return self._report if self.reading is None else self.reading.report

    # ------------------------------------------------------------ tasks

    def submit(self, function, *args, worker=None, name=None):
        """One task; it runs elsewhere if its worker is gone."""
        where = {} if worker is None else {"workers": [worker], "allow_other_workers": True}
        key = f"tilewise-{name or function.__name__.lstrip('_')}-{uuid.uuid4().hex}"
        return self.client.submit(function, *args, pure=False, key=key, **where)

    def ship(self, value, name):
        """A value of this process as the result of a task, however large it is."""
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PB"}):
            return self.submit(_pieces.same, value, name=name)

    def gather(self, futures):
        """Their results; errors say what is wrong with which rows, and what runs is cancelled."""
        try:
            return self.client.gather(futures)
        except BaseException as error:
            with contextlib.suppress(Exception):
                self.client.cancel(list(futures), force=True)
            told = self._told(error)
            if told is error:
                raise
            raise told from error

    def _told(self, error):
        from concurrent.futures import CancelledError

        if isinstance(error, _pieces.BadValue):
            return self.bad_value(error)
        if type(error).__name__ == "KilledWorker":
            return RuntimeError(
                f"workers died again and again while they worked on {error.task!r}: they may need "
                "more memory. Their logs say more."
            )
        if isinstance(error, CancelledError):
            lost = [n for n, future in enumerate(self.futures) if future.status != "finished"]
            which = f" partitions {lost[:5]}" if lost else ""
            return RuntimeError(
                f"rows of X were cancelled, or lost with their worker:{which}. Data that were "
                "scattered cannot be made again: load them by a task, such as "
                "dask.array.from_delayed"
            )
        return error

    def bad_value(self, error):
        """The error that says where a value is not finite."""
        partition = int(np.searchsorted(self.starts, error.row, side="right")) - 1
        kind = error.kind
        if kind != "NaN":
            kind = f"infinity or a value too large for {self.result_dtype!r}"
        return ValueError(
            f"Input X contains {kind}: row {error.row - self.starts[partition]} of partition "
            f"{partition}, row {error.row} of all, column {error.column}."
        )

    def ask(self, function, *args):
        """Results of a task over each part, in the order of `parts`."""
        return self.gather(
            [self.submit(function, part.future, *args, worker=part.worker) for part in self.parts()]
        )

    def job(self, n_clusters, **more):
        """What parts need to know of a piece of work; its "id" tells it from others."""
        return {
            "id": uuid.uuid4().hex, "n_clusters": n_clusters, "n_features": self.n_features,
            "dtype": self.compute_dtype.name, "exponent": self.exponent, "wishes": self.wishes,
            **more,
        }  # fmt: skip

    def hand_out(self, value, parts, name):
        """Futures of a value, by worker, handed on from worker to worker.

        They are results of tasks, not scattered, so that they can be made again.
        """
        root = self.ship(value, name)
        sent = {None: root}
        level = {root: [part.worker for part in parts]}
        while level:
            below = {}
            for future, workers in level.items():
                if len(workers) <= FAN:
                    sent |= dict.fromkeys(workers, future)
                    continue
                share = FAN
                while share * FAN < len(workers):
                    share *= FAN
                for group in grouped(workers, share):
                    handed = self.submit(_pieces.same, future, worker=group[0], name=name)
                    below[handed] = group
            level = below
        return sent

    def merged(self, answers, parts, merge, needed):
        """Futures of few answers from those of all parts; `merge` takes ``needed(part)``, too."""
        while len(answers) > FAN // 2:
            parts = parts[::FAN]
            answers = [
                self.submit(merge, needed(part), *group)
                for part, group in zip(parts, grouped(answers, FAN), strict=True)
            ]
        return answers

    # ------------------------------------------------------------ placement

    def parts(self, weights=None):
        """The parts, one for each worker; placed again where workers have come or gone."""
        key = None if weights is None else id(weights)
        known = self._placed.get(key)
        workers = self._workers
        if known is None or time.monotonic() > self._looked + _LOOK_SECONDS:
            workers = self._workers = frozenset(self.client.nthreads())
            self._looked = time.monotonic()
        if not workers:
            raise RuntimeError("this cluster has no workers")
        if known is None or known[0] != workers:
            before = [] if known is None else known[1]
            self._placed[key] = workers, self._place(workers, weights, before), weights
        return self._placed[key][1]

    def _place(self, workers, weights, before):
        shares = self._shares(sorted(workers), before)
        kept = {(part.worker, part.pieces): part for part in before}
        placed = []
        for worker, pieces in shares.items():
            part = kept.get((worker, pieces))
            if part is None or part.future.status not in ("finished", "pending"):
                own = [] if weights is None else [weights.futures[i] for i in pieces]
                future = self.submit(
                    _part.make_part, [int(self.starts[i]) for i in pieces], weights is not None,
                    *(self.futures[i] for i in pieces), *own, worker=worker, name="part",
                )  # fmt: skip
                part = Partition(worker, pieces, future)
            placed.append(part)
        return placed

    def _shares(self, workers, before):
        """Pieces for each worker: those that it holds, as far as that is even."""
        pieces = [i for i, size in enumerate(self.sizes) if size]
        holders = self.client.who_has([self.futures[i] for i in pieces])
        own = {i: part.worker for part in before for i in part.pieces}
        fair = self.n_rows / len(workers) * _UNEVEN
        load, shares, rest = dict.fromkeys(workers, 0), defaultdict(list), []
        for i in pieces:
            held = [w for w in holders.get(self.futures[i].key, ()) if w in load]
            if own.get(i) in held:
                held = [own[i]]
            worker = min(held, key=load.get, default=None)
            if worker is None or (load[worker] and load[worker] + self.sizes[i] > fair):
                rest.append(i)
                continue
            shares[worker].append(i)
            load[worker] += self.sizes[i]
        least = [(load[worker], worker) for worker in workers]
        heapq.heapify(least)
        for i in sorted(rest, key=lambda i: -self.sizes[i]):
            rows, worker = least[0]
            shares[worker].append(i)
            heapq.heapreplace(least, (rows + self.sizes[i], worker))
        return {worker: tuple(sorted(shares[worker])) for worker in workers if shares[worker]}

    def close(self):
        """Let go of everything on the workers that belongs to this fit alone."""
        self._placed.clear()
        self.futures = []

    # ------------------------------------------------------------ rows

    def scaled(self, exponent):
        """These rows times a power of two; see `Rows.scaled`."""
        rows = copy.copy(self)
        rows.exponent = exponent
        rows.compute_dtype = np.dtype(np.float64)
        return rows

    def picked_up(self, function, held, ids, shape, dtype):
        """``function(piece, rows)`` of single rows, in the order of `ids`."""
        ids = np.asarray(ids, dtype=np.int64).reshape(-1)
        if ids.size and (ids.min() < 0 or ids.max() >= self.n_rows):
            raise IndexError(f"row indices must lie in [0, {self.n_rows})")
        out = np.empty((ids.size, *shape), dtype=dtype)
        at = np.searchsorted(self.starts, ids, side="right") - 1
        wanted = [(i, np.flatnonzero(at == i)) for i in np.unique(at)]
        found = self.gather(
            [self.submit(function, held[i], ids[here] - self.starts[i]) for i, here in wanted]
        )
        for (_, here), values in zip(wanted, found, strict=True):
            out[here] = values
        return out

    def take(self, indices):
        """Rows by index, as a C-contiguous array of `compute_dtype`."""
        found = self.picked_up(
            _pieces.take, self.futures, indices, (self.n_features,), self.result_dtype
        )
        return _pieces.scaled(found, self.exponent)

    def values(self, size):
        """The least and the largest magnitude of each part: all that is asked of values."""
        yield from self.ask(_part.extent)

    def fingerprint(self):
        """What tells the rows from others: they are read once for it."""
        own = self.gather([self.submit(_pieces.digest, future) for future in self.futures])
        return {"source": {"kind": "dask", "partitions": list(map(int, self.sizes)), "rows": own}}

    def open_weights(self, weights, check):
        """Weights where the rows are; ``check(weights, n_rows)`` those that are in memory."""
        made = None if weights is None else collect_weights(weights, self)
        if made is None:
            weights = check(weights, self.n_rows)
            if weights is None:
                return None
            cut = np.split(weights, self.starts[1:-1])
            futures = [self.ship(own, "weights") for own in cut]
            return ClusterWeights(self, futures, engine.weight_sizes(weights))
        futures = self.client.compute(made)
        found = self.gather([self.submit(_pieces.describe, future) for future in futures])
        for number, (length, bad, _) in enumerate(found):
            if length != self.sizes[number]:
                raise ValueError(
                    f"sample_weight has {length} weights for the {self.sizes[number]} rows of "
                    f"partition {number}"
                )
            if bad is not None:
                at = int(self.starts[number]) + bad[0]
                raise ValueError(f"Input sample_weight contains {bad[1]} at position {at}.")
        sizes = max(size[0] for *_, size in found), min(size[1] for *_, size in found)
        if not sizes[0]:
            raise ValueError("Sample weights must contain at least one non-zero number.")
        return ClusterWeights(self, futures, sizes)


def open_cluster_rows(X, client, request):
    """Compute the partitions where the cluster puts them; count and compare them."""
    found = collect(X)
    if found.columns == 0:
        raise _no_columns(request)
    if found.columns is not None:
        request.check_columns(found.columns, found.names)
    _check_room(client, found)
    rows = ClusterRows(client, client.compute(found.tasks), [0] * len(found.tasks), 0, np.float64)
    shapes = rows.gather([rows.submit(_pieces.describe, future) for future in rows.futures])
    columns = [shape[1] for shape in shapes]
    other = next((i for i, n in enumerate(columns) if n != columns[0]), None)
    if other is not None:
        raise NotTaken(
            f"partition {other} has {columns[other]} columns, partition 0 has {columns[0]}"
        )
    if columns[0] == 0:
        raise _no_columns(request)
    if found.columns is None:
        names = shapes[0][3]
        for i, shape in enumerate(shapes):
            order = order_of(names, shape[3], f"partition {i}", "partition 0")
            if order is not None:
                rows.futures[i] = rows.submit(_pieces.reordered, rows.futures[i], order)
        request.check_columns(columns[0], names)
    kinds = {shape[2] for shape in shapes if shape[0]}
    dtype = "float32" if kinds == {"float32"} else "float64"
    futures = [
        future if shape[2] == dtype else rows.submit(_pieces.widen, future)
        for future, shape in zip(rows.futures, shapes, strict=True)
    ]
    sizes = [shape[0] for shape in shapes]
    if not sum(sizes):
        raise ValueError(
            f"Found array with 0 sample(s) (shape=(0, {columns[0]})) while a minimum of 1 is "
            f"required by {request.name}."
        )
    return ClusterRows(client, futures, sizes, columns[0], dtype)


def _no_columns(request):
    return ValueError(
        f"Found array with 0 feature(s) while a minimum of 1 is required by {request.name}."
    )


def _check_room(client, found):
    """Raise before anything is read where the workers together have no room for the rows."""
    limits = [w["memory_limit"] for w in client.scheduler_info(n_workers=-1)["workers"].values()]
    if found.bytes is None or not limits or not all(limits):
        return
    row = found.bytes // max(1, sum(found.rows)) + ROW_BYTES
    needed, largest = row * sum(found.rows), row * max(found.rows)
    if needed > _USABLE * sum(limits):
        raise NotTaken(
            f"the rows and what is kept of them take {sized(needed)}; the {len(limits)} workers "
            f"have {sized(sum(limits))} together. Add workers, or use tilewise.KMeans, which reads "
            "a part at a time."
        )
    if largest > _USABLE * max(limits):
        raise NotTaken(
            f"partition {found.rows.index(max(found.rows))} takes {sized(largest)}, and no worker "
            f"has more than {sized(max(limits))}: make partitions smaller, X.rechunk(...)"
        )


def near(sent, part):
    """The copy of what was sent that is next to a part; None where nothing was."""
    return None if sent is None else sent.get(part.worker, sent[None])


def grouped(items, size):
    """Runs of so many items."""
    iterator = iter(items)
    while group := list(itertools.islice(iterator, size)):
        yield group
