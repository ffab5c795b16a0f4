"""Rows that lie somewhere else than in memory: read in parts, a part ahead of the kernels.

`StreamRows` stands where `Rows` stands for data in memory: passes take both, and give the same
bits for the same rows.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np

from tilewise._sizes import sized
from tilewise.kernels._rows import Rows

__all__ = ["StreamReport", "StreamRows", "count_rows"]

# Rows by index are read one by one where that is less than so many bytes for each of all.
_SEEK_BYTES = 2**16
# Bytes of the buffer with which rows are counted.
_COUNT_BYTES = 2**25
# Rows of a buffer that nobody has planned.
_ROWS = 384
# Stands for as many rows as may come.
_ENDLESS = 2**62


@dataclass(frozen=True)
class StreamReport:
    """What reading a source took.

    Attributes
    ----------
    passes : int
        Passes over the data, complete or with pieces left out.
    rows, bytes_read : int
        Rows and bytes that were read.
    rows_skipped, pieces_skipped : int
        Rows, and runs of rows, that distance bounds settled, so that they were not read.
    seconds_reading : float
        Seconds that the reader spent in the source.
    seconds_waiting : float
        Seconds that the kernels waited for it.
    seconds_computing : float
        Seconds that they worked.
    """

    passes: int = 0
    rows: int = 0
    bytes_read: int = 0
    rows_skipped: int = 0
    pieces_skipped: int = 0
    seconds_reading: float = 0.0
    seconds_waiting: float = 0.0
    seconds_computing: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of all passes."""
        return self.seconds_waiting + self.seconds_computing

    @property
    def rows_per_second(self) -> float:
        """Rows that went through per second, those included that needed no reading."""
        return (self.rows + self.rows_skipped) / self.seconds if self.seconds > 0.0 else 0.0

    @property
    def bound_by(self) -> str:
        """ "reading" or "computing": which of the two kept the other waiting."""
        return "reading" if self.seconds_reading > self.seconds_computing else "computing"

    def to_dict(self) -> dict[str, int | float | str]:
        """The report as JSON-safe values."""
        return asdict(self) | {
            "seconds": self.seconds,
            "rows_per_second": self.rows_per_second,
            "bound_by": self.bound_by,
        }

    def sentences(self) -> list[str]:
        """The report in words."""
        rate = self.bytes_read / self.seconds_reading if self.seconds_reading > 0.0 else 0.0
        passes = "1 pass" if self.passes == 1 else f"{self.passes} passes"
        lines = [
            f"{passes} read {self.rows:,} rows ({sized(self.bytes_read)}) at "
            f"{sized(rate)}/s. In all, {self.rows_per_second:,.0f} rows per second were handled.",
            f"The limit was {self.bound_by}: {self.seconds_reading:.2f} s reading, "
            f"{self.seconds_computing:.2f} s computing, {self.seconds_waiting:.2f} s waiting for "
            "rows.",
        ]
        if self.rows_skipped:
            lines.append(
                f"{self.rows_skipped:,} rows in {self.pieces_skipped:,} pieces were not read: "
                "distance bounds already decided their labels."
            )
        return lines

    def __str__(self) -> str:
        return "\n".join(self.sentences())


class _ScaledSource:
    """A source whose rows are multiplied by a power of two as they are read."""

    def __init__(self, source, exponent: int):
        self._source, self._exponent = source, exponent

    def __getattr__(self, name):
        return getattr(self._source, name)

    def read(self, first, out):
        """Fill `out` with rows; see `RowSource`."""
        got = self._source.read(first, out)
        np.ldexp(out[:got], self._exponent, out=out[:got])
        return got


class StreamRows:
    """The rows of a source, of which a window is in memory at a time.

    Parameters
    ----------
    source : RowSource
    n_rows : int or None
        How many there are; None if nobody knows, and they are read once, by `arrivals`.
    buffer_rows : int
        Rows of one buffer.
    piece_rows : int
        Rows that are read or skipped together.

    Attributes
    ----------
    window : Rows
        Shows the part that `parts` yielded last.
    report : StreamReport
        What all passes so far took.
    """

    backend = "cpu, streamed"
    is_sparse = False
    in_memory = False
    is_direct = True
    given_density = 1.0

    def __init__(
        self, source, n_rows: int | None, *, buffer_rows: int = _ROWS, piece_rows: int = _ROWS
    ):
        self.source = source
        self.n_rows, self.n_features = n_rows, int(source.n_features)
        self.compute_dtype = self.result_dtype = np.dtype(source.dtype)
        self.buffer_rows, self.piece_rows = buffer_rows, piece_rows
        self.window = Rows.open_window(n_rows or _ENDLESS, self.n_features, self.compute_dtype)
        self.report = StreamReport()

    @property
    def name(self) -> str:
        """What the source is called."""
        return self.source.name

    def scaled(self, exponent: int) -> "StreamRows":
        """These rows times a power of two; see `Rows.scaled`."""
        rows = StreamRows(
            _ScaledSource(self.source, exponent), self.n_rows,
            buffer_rows=self.buffer_rows, piece_rows=self.piece_rows,
        )  # fmt: skip
        rows.report = self.report
        return rows

    @property
    def visible(self) -> Rows:
        """Those of the rows that are in memory now."""
        return Rows(np.array(self.window.source))

    def values(self, size: int) -> Iterator[np.ndarray]:
        """Yield all values, a part at a time."""
        for _ in self.parts():
            yield self.window.source

    def arrivals(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield number of the first row and rows, so many at a time, in one reading."""
        from tilewise.sources import Prefetch

        with Prefetch(self.source, rows=size) as parts:
            yield from parts

    def fingerprint(self) -> dict:
        """What the source can tell of its data without reading them."""
        return {"source": self.source.fingerprint()}

    @property
    def can_skip(self) -> bool:
        """Whether a pass may leave rows out."""
        return bool(self.source.random_access)

    def pieces(self) -> Iterator[tuple[int, int]]:
        """First and last row of each piece."""
        for first in range(0, self.n_rows, self.piece_rows):
            yield first, min(self.n_rows, first + self.piece_rows)

    def parts(self, wanted: Iterable[tuple[int, int]] | None = None):
        """Yield (first, last) while the window shows these rows; rows rise.

        Parameters
        ----------
        wanted : iterable of (int, int), optional
            Pieces to read; all by default.

        Raises
        ------
        ValueError
            Whatever the source has to say; SourceError where it is known where.
        """
        from tilewise.sources import Prefetch

        ranges = self._ranges(wanted)
        if not ranges:
            return
        prefetch = Prefetch(
            self.source,
            [(first, last - first) for first, last in ranges],
            rows=max(last - first for first, last in ranges),
        )
        computing = 0.0
        try:
            with prefetch:
                arriving = iter(prefetch)
                for first, last in ranges:
                    at, values = next(arriving, (first, ()))
                    if at != first or len(values) != last - first:
                        raise short_source(self.source, at + len(values), self.n_rows)
                    begin = time.perf_counter()
                    self.window.show(first, values)
                    yield first, last
                    computing += time.perf_counter() - begin
        finally:
            # Nothing may look into a buffer that is gone.
            self.window.show(0, np.empty((0, self.n_features), self.compute_dtype))
            self._book(prefetch, ranges, computing)

    def _ranges(self, wanted):
        """Runs of wanted rows, none longer than a buffer."""
        if wanted is None:
            wanted = [(0, self.n_rows)]
        runs = []
        for first, last in wanted:
            if runs and runs[-1][1] == first:
                runs[-1][1] = last
            else:
                runs.append([first, last])
        if runs and not self.can_skip:
            runs = [[0, self.n_rows]]
        step = self.buffer_rows
        return [
            (at, min(last, at + step)) for first, last in runs for at in range(first, last, step)
        ]

    def _book(self, prefetch, ranges, computing):
        r = self.report
        rows = sum(last - first for first, last in ranges)
        self.report = replace(
            r,
            passes=r.passes + 1,
            rows=r.rows + rows,
            bytes_read=r.bytes_read + int(prefetch.bytes_read),
            seconds_reading=r.seconds_reading + prefetch.seconds_reading,
            seconds_waiting=r.seconds_waiting + prefetch.seconds_waiting,
            seconds_computing=r.seconds_computing + computing,
        )

    def skipped(self, pieces: int, rows: int):
        """Count pieces that did not have to be read."""
        r = self.report
        self.report = replace(
            r, pieces_skipped=r.pieces_skipped + pieces, rows_skipped=r.rows_skipped + rows
        )

    def take(self, indices) -> np.ndarray:
        """Rows by index, as a C-contiguous array of `compute_dtype`."""
        indices = np.asarray(indices, dtype=np.int64).reshape(-1)
        if indices.size and (indices.min() < 0 or indices.max() >= self.n_rows):
            raise IndexError(f"row indices must lie in [0, {self.n_rows})")
        out = np.empty((indices.size, self.n_features), dtype=self.compute_dtype)
        if not indices.size:
            return out
        order = np.argsort(indices, kind="stable")
        whole = self.n_rows * max(1, int(self.source.row_bytes))
        if self.can_skip and indices.size * _SEEK_BYTES < whole:
            one = np.empty((1, self.n_features), dtype=self.compute_dtype)
            for at in order:
                if self.source.read(int(indices[at]), one) != 1:
                    raise ValueError(f"{self.source.name}: row {indices[at]} is missing")
                out[at] = one[0]
            return out
        for first, last in self.parts():
            self.gather(indices, order, first, last, out)
        return out

    def gather(self, indices, order, first, last, out):
        """Copy those of the rows by index that the window shows."""
        low, high = np.searchsorted(indices[order], [first, last])
        picked = order[low:high]
        out[picked] = self.window.source[indices[picked] - first]

    def raise_nonfinite(self, first: int = 0):
        """Raise the ValueError that names the first value that is not finite, if it is shown.

        Rows before `first` are not looked at.
        """
        start = self.window.shown[0]
        shown = Rows(self.window.source)
        found = shown.locate_nonfinite(max(0, first - start))
        if found is None:
            return
        row, column, kind = found
        what = (
            "NaN" if kind == "NaN" else f"infinity or a value too large for {self.result_dtype!r}"
        )
        place = self.source.locate(start + row)
        raise _source_error(
            f"Input X contains {what}: {place}, column {column}.", self.source, start + row
        )

    def raise_located(self, first: int, values: np.ndarray):
        """The same for rows that were read otherwise: `first` and those behind it."""
        self.window.show(first, values)
        self.raise_nonfinite()


def short_source(source, found, expected):
    """The error of rows that are fewer than they were."""
    return _source_error(
        f"{source.name}: the rows end after {found} where there were {expected} before; start "
        "again with data that stay",
        source,
        found,
    )


def _source_error(message, source, row):
    from tilewise.sources import SourceError

    return SourceError(message, source=source.name, row=row)


def count_rows(source) -> int:
    """How many rows a source has; reads it through where it does not know."""
    if source.n_rows is not None:
        return int(source.n_rows)
    if source.one_shot:
        raise ValueError(
            f"{source.name}: rows that can be read once only cannot be counted beforehand"
        )
    rows = max(1, _COUNT_BYTES // max(1, source.n_features * source.dtype.itemsize))
    buffer = np.empty((rows, source.n_features), dtype=source.dtype)
    n = 0
    while True:
        got = source.read(n, buffer)
        n += got
        if got < rows:
            return n
