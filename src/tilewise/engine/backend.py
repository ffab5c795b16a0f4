"""Where a fit runs: the seam between the estimators and what computes.

`algorithms` and `cluster` know the protocols of this module and nothing below them. `BACKENDS` has
a row for each place to run. `open_rows` asks each row in turn, before anybody has validated the
data; the first one that does not decline has them. Whatever the place, the same rows, weights and
parameters give the same bits: labels are the lowest index at the least canonical distance, and sums
are exact before they are rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .cpu import Cpu
from .single import Wanted, aligned
from .stats import Stats
from .streaming import CpuStreams

__all__ = [
    "BACKENDS", "AssignmentPass", "Backend", "BatchPass", "Batches", "OversamplingPass", "Request",
    "RowPair", "RowSet", "SeedingPass", "aligned", "as_rows", "backend_of", "computing", "few_rows",
    "on_host", "open_pair", "open_rows", "register",
]  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What an estimator wants of the data that it was given.

    Attributes
    ----------
    name : str
        Of the estimator, for error messages.
    check : callable
        ``check(X)`` returns data in memory as an ndarray or canonical CSR matrix of real numbers,
        or raises.
    check_columns : callable
        ``check_columns(n_features, names)`` does the same with the columns of other data.
    memory_limit : int, str or None
        As estimators take it.
    again : str or None
        Why the rows are read more than once, as the end of a sentence; None if they are read once.
    once : bool
        Whether rows that come once will do nevertheless.
    in_memory : bool
        Whether only data in memory will do.
    device : {"auto", "cpu", "cuda"}
        As estimators take it.
    """

    name: str
    check: Callable[[Any], Any]
    check_columns: Callable[[int, Any], None]
    memory_limit: int | str | None = None
    again: str | None = None
    once: bool = False
    in_memory: bool = False
    device: str = "auto"


class RowSet(Protocol):
    """Rows that a backend holds or can read.

    Attributes
    ----------
    backend : str
        Name of the backend that they belong to.
    n_rows : int or None
        None if rows come once and nobody knows how many. Such rows also have a `name`, for error
        messages, and a backend that has them `Backend.check_batch_memory`.
    n_features : int
    is_sparse : bool
        Whether `array` returns a CSR matrix.
    compute_dtype, result_dtype : numpy.dtype
        float32 or float64: what `take` hands out, and what centres and distances are rounded to.
    report : StreamReport or None
        What reading them took, if they are read.
    """

    backend: str
    n_rows: int
    n_features: int
    is_sparse: bool
    compute_dtype: np.dtype
    result_dtype: np.dtype
    report: Any

    def take(self, ids) -> np.ndarray:
        """Rows by index, (m, d), in `compute_dtype`."""

    def picked(self, ids: np.ndarray) -> RowSet:
        """Rows by index, without a copy; `ids` may be written to later."""

    def copied(self, ids: np.ndarray) -> RowSet:
        """Rows by index, copied."""

    def scaled(self, exponent: int) -> RowSet:
        """These rows times a power of two, in float64."""

    def used_columns(self) -> np.ndarray:
        """Which columns have a stored entry, (d,) bool; asked of CSR rows only."""

    def folded(self, places: np.ndarray, width: int) -> RowSet:
        """CSR rows with their columns elsewhere, copied: column l, if used, at places[l]."""

    def values(self, size: int) -> Iterator[np.ndarray]:
        """All values other than zeros that are not stored, about `size` at a time."""

    def magnitudes(self) -> np.ndarray:
        """The largest magnitude in each row, (n,)."""

    def array(self) -> Any:
        """The rows as functions of the user get them: an array or CSR matrix of `result_dtype`."""

    def originals(self, ids: np.ndarray) -> Any:
        """Rows by index in the type in which they were given, (m, d), where they were given."""

    def fingerprint(self) -> dict[str, Any]:
        """JSON-safe values that differ for other data."""

    def raise_nonfinite(self) -> None:
        """Raise the ValueError that names the first value that is not finite, if there is one."""


class AssignmentPass(Protocol):
    """Rows against one set of centres after another; see `tilewise.engine.Pass`.

    Attributes
    ----------
    labels : ndarray of shape (n,), int32
    weights : ndarray of shape (k,), float64
        Weight of each cluster in the sums.
    renewable : bool
        Whether `renew` may be called.
    """

    labels: np.ndarray
    renewable: bool

    @property
    def weights(self) -> np.ndarray:
        """Weight of each cluster in the sums, (k,) float64."""

    def hold(self, centers) -> Any:
        """Centres (k, d) as float64 where the pass wants them; NumPy can read what comes back."""

    def blank(self, centers) -> Any:
        """Room for as many others as `hold` returned, for `average`."""

    def assign(self, centers: np.ndarray) -> int:
        """Assign every row to its closest centre; returns how many labels changed."""

    def assign_and_sum(self, centers: np.ndarray) -> int:
        """The same, and sum the rows of each cluster."""

    def assign_and_measure(self, centers: np.ndarray) -> float:
        """The same as `assign`; returns the inertia."""

    def average(self, out: np.ndarray, relocated=None) -> float | None:
        """Write the means of the clusters; returns the sum of their squared shifts."""

    def inertia(self, centers: np.ndarray) -> float:
        """Weighted sum of the squared distances to the labelled centres."""

    def farthest(self, centers: np.ndarray, count: int) -> np.ndarray:
        """The rows farthest from their centres, the farthest first; none if all lie on them."""

    def progress(self, centers: np.ndarray) -> str:
        """What to print of the last pass."""

    def forget(self) -> None:
        """Others have had the averages in their hands."""

    def close_sums(self) -> None:
        """Nothing is averaged any more, unless after `renew`."""

    def renew(self) -> None:
        """Begin another run, with another array of labels: that of the last run stays as it is."""


class SeedingPass(Protocol):
    """Closest seed of every row while seeds are added; see `tilewise.engine.SeedingPass`."""

    def first(self, random_state) -> int:
        """Draw a row in proportion to the weights."""

    def locate(self, targets: np.ndarray) -> np.ndarray:
        """First rows at which the running sum of weight x squared distance reaches the targets."""

    def gains(self, candidates: np.ndarray) -> np.ndarray:
        """How much each row would lower the potential as a seed."""

    def take(self, candidate: int) -> float:
        """Make a row a seed; returns the potential."""

    def at_once(self, n_trials: int) -> bool:
        """Whether `follow` can choose all seeds after the first, each among so many candidates."""

    def follow(self, draws: np.ndarray) -> np.ndarray:
        """Seeds, (steps,) int64, as `locate`, `gains` and `take` find them from uniform draws.

        Those are (steps, n_trials), in the order in which the steps use them.
        """


class OversamplingPass(Protocol):
    """Closest candidate of every row while more and more are taken in.

    The CPU's is `tilewise.engine.OversamplingPass`. Weights may be multiplied by a power of two.
    """

    def first(self, random_state) -> int:
        """Draw a row as `SeedingPass.first` does."""

    def spread(self, points: np.ndarray) -> float:
        """Take in more candidates, (m, d); returns the potential.

        That is the exact sum of weight x squared distance to the closest candidate, rounded once.
        Of candidates at the same distance the one that came first is the closest.
        """

    def draw(self, key: int, share: float) -> np.ndarray:
        """Numbers of the rows with ``draws(key, row) < share * (weight * distance)``, ascending.

        See `tilewise.engine.draws`. Both products are rounded to float64.
        """

    def counts(self, n_candidates: int) -> np.ndarray:
        """Weight of the rows closest to each candidate, (m,) float64: exact, then rounded once."""


class BatchPass(Protocol):
    """A batch of rows that centres are moved by; see `tilewise.engine.BatchPass`."""

    rows: RowSet
    labels: np.ndarray

    def step(self, centers: np.ndarray, moved: np.ndarray, counts: np.ndarray, stale=None) -> float:
        """Assign the batch, write where the centres move; returns the inertia before."""


class Batches(AbstractContextManager, Protocol):
    """Batches of the rows of a fit, one after another.

    Attributes
    ----------
    n_rows : int
        Rows there are; rows so far where nobody knew.
    at_rest : bool
        Whether a fit can be taken up again after the last batch.
    """

    n_rows: int
    at_rest: bool

    def first_rows(self, count: int) -> RowSet:
        """Copies of the first of rows that come once, which remain to be batched."""

    def next_batch(self) -> BatchPass | None:
        """The batch of the next step; None if there are no more."""

    def most_steps(self, epochs: int) -> int:
        """Steps of so many epochs; None if nobody knows."""

    def epochs(self, steps: int) -> int:
        """Epochs that so many steps amount to, rounded up."""

    def whole_weight(self) -> float:
        """What the mean inertia of a row is multiplied by for that of all rows."""


class RowPair(Protocol):
    """Two sets of rows X and Y whose distances a backend computes.

    Results lie where the rows lie, and have the bits that the CPU gives them.

    Attributes
    ----------
    shapes : tuple of two tuples of int
        Nobody has checked them.
    """

    shapes: tuple[tuple[int, ...], tuple[int, ...]]

    def check_finite(self) -> None:
        """Raise the ValueError that names the first NaN or infinity, if there is one."""

    def swapped(self) -> RowPair:
        """Rows of Y and X."""

    def matrix(self, kernel: str) -> Any:
        """Distances of all rows of X to all rows of Y, (n, m).

        By "euclidean", "sqeuclidean" or "cosine"; float32 where all rows are.
        """

    def argkmin(self, k: int, kernel: str, *, root: bool) -> tuple[Any, Any]:
        """Distances and indices, (n, k), of the k rows of Y that are nearest to each row of X.

        By "sqeuclidean" or "cosine", or by the root of it.
        """


class Backend(Protocol):
    """A place to run.

    Attributes
    ----------
    name : str
    few_rows : callable or None
        ``few_rows(X, centers, wanted)`` answers for few rows of an ndarray without a plan, or
        returns None to leave them to `open_rows`; see `tilewise.engine.single`. None if no ndarray
        is ever this backend's.
    """

    name: str
    few_rows: Callable[[np.ndarray, np.ndarray, Wanted], Any] | None

    def open_rows(self, X, request: Request) -> RowSet | None:
        """The rows of `X`, or None to decline. Nobody has looked at `X` before."""

    def plan(self, rows, n_clusters: int, *, batch_size=None, **wishes):
        """The plan of passes over these rows, or over so many of them at a time."""

    def open_weights(self, rows, weights, check: Callable[[Any, int], Any]):
        """Weights as the passes over these rows want them; ``check(weights, n_rows)`` an array."""

    def plan_memory(self, rows, plan, memory_limit, **needs):
        """What a fit keeps in memory, if that has to be planned; see `plan_stream`."""

    def column_stats(self, rows, plan, *, origin=None) -> Stats:
        """Exact moments of the columns; raises for values that are not finite."""

    def largest_finite(self, rows, plan, *, origin=None) -> np.ndarray:
        """Magnitudes up to the largest of all; raises for values that are not finite."""

    def sample_size(self, rows, init_size, n_clusters: int, *, shown: bool) -> int | None:
        """Rows that a start is chosen from, `shown` to a function of the user; None for all."""

    def sample(self, rows, plan, size: int | None, weights, random_state):
        """The rows, and their weights, that a start is chosen from, and `Stats` of all rows."""

    def sample_twice(self, rows, size: int, weights, random_state, *, given: bool, judged: bool):
        """Rows to start mini-batches from and rows to judge starts by, each with weights."""

    def open_assignment(self, rows, n_clusters: int, plan, **how) -> AssignmentPass:
        """Rows against one set of centres after another."""

    def open_seeding(self, rows, n_seeds: int, weights, plan) -> SeedingPass:
        """Closest seed of every row while seeds are added."""

    def open_oversampling(self, rows, weights, plan) -> OversamplingPass:
        """Closest candidate of every row while candidates are drawn from the rows."""

    def open_batch(self, rows, n_clusters: int, plan, weights=None) -> BatchPass:
        """All rows as one batch."""

    def open_batches(
        self, rows, n_clusters: int, plan, weights, batch_size: int, random_state, *, ahead=0
    ) -> Batches:
        """Batches of the rows of a fit; `ahead` rows that come once can be looked at before."""

    def check_batch_memory(self, rows, n_clusters: int, batch_size: int, ahead: int, memory_limit):
        """Raise `LimitTooSmall` where batches of rows that come once do not fit."""

    def same_partition(self, labels, others, n_clusters: int) -> bool:
        """Whether labels of two passes differ by the names of the clusters at most."""

    def count_clusters(self, labels, n_clusters: int) -> int:
        """How many clusters have rows."""

    def kept_labels(self, rows, labels):
        """The labels of a pass over the rows as users get them."""

    def kept(self, rows, values: np.ndarray):
        """An array that was found from the rows as users get it: where the rows came from."""

    def centred(self, rows, mean: np.ndarray, scale):
        """The rows, which have no scale, less their mean, which has; (n, d) in `result_dtype`."""

    def distances(self, rows, centers: np.ndarray, plan):
        """Euclidean distances to all centres, (n, k), in `result_dtype`, as users get them."""

    def mapped(self, rows, function, **needs) -> Iterable[np.ndarray]:
        """``function(part)`` of the rows, a part at a time, in order; each part is a `RowSet`."""

    def open_pair(self, X, Y, device: str = "auto") -> RowPair | None:
        """Two arrays that a user passed in, `Y` None for `X`; or None to decline both."""

    def computing(self, X, device: str) -> AbstractContextManager | None:
        """What is in force while data of a user are computed with, or None for others' data."""

    def on_host(self, X) -> np.ndarray | None:
        """An array of this backend's in memory that NumPy can read, or None for anything else."""


#: Places to run. The first that does not decline has the data; the last takes all in memory.
BACKENDS: list[Backend] = [CpuStreams(), Cpu()]


def register(backend: Backend, *, before: str | None = None) -> None:
    """Add a place to run to the table.

    Parameters
    ----------
    backend : Backend
    before : str, optional
        Name of the backend that is to be asked after this one; by default this one is asked first.

    Raises
    ------
    ValueError
        If there is a backend of that name already, or none named `before`.
    """
    names = [known.name for known in BACKENDS]
    if backend.name in names:
        raise ValueError(f"there is a backend named {backend.name!r} already")
    BACKENDS.insert(names.index(before) if before else 0, backend)


def open_rows(X, request: Request) -> RowSet:
    """The rows of whatever a user passed in, from the first backend that takes them.

    Raises
    ------
    ValueError
        If nobody does, or if the data are not what the request asks for.
    """
    for backend in BACKENDS:
        rows = backend.open_rows(X, request)
        if rows is not None:
            return rows
    raise ValueError(f"no backend takes data of type {type(X).__name__}")


def few_rows(X: np.ndarray, centers: np.ndarray, wanted: Wanted) -> Any:
    """Answers for few rows of an array from the backend that has arrays, or None: see `Backend`."""
    for backend in BACKENDS:
        answer = backend.few_rows
        if answer is not None:
            return answer(X, centers, wanted)
    return None


def open_pair(X, Y, device: str = "auto") -> RowPair | None:
    """Two sets of rows from the backend that computes their distances; None for the CPU.

    Of those that are to be moved to a device, neighbours can be had.

    Raises
    ------
    ValueError
        If they lie in different places.
    """
    for backend in BACKENDS:
        pair = backend.open_pair(X, Y, device)
        if pair is not None:
            return pair
    return None


def computing(X, device: str = "auto") -> AbstractContextManager:
    """What is in force while the data that a user passed in are computed with.

    Parameters
    ----------
    X : object
        Anything.
    device : {"auto", "cpu", "cuda"}, default="auto"
        As estimators take it.

    Returns
    -------
    context manager
    """
    for backend in BACKENDS:
        found = backend.computing(X, device)
        if found is not None:
            return found
    return nullcontext()


def on_host(X) -> Any:
    """`X` itself, or a copy that NumPy can read of an array that it cannot."""
    for backend in BACKENDS:
        found = backend.on_host(X)
        if found is not None:
            return found
    return X


def backend_of(rows: RowSet) -> Backend:
    """The backend that rows belong to."""
    return next(backend for backend in BACKENDS if backend.name == rows.backend)


def as_rows(X) -> RowSet:
    """`X`, or the rows of an ndarray or CSR matrix in memory."""
    return X if hasattr(X, "backend") else Cpu.rows_of(X)
