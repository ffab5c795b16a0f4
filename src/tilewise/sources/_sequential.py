"""Sources whose rows come in blocks, one after the other."""

from __future__ import annotations

from array import array
from bisect import bisect_right

from tilewise._text import first_line
from tilewise._typing import FloatMatrix
from tilewise.sources._errors import SourceError
from tilewise.sources._protocol import Source


class SequentialSource(Source):
    """Rows that come in blocks.

    A subclass offers ``_blocks(start)``, an iterator of what it has checked, from row `start` on,
    ``_rows_of(block)`` and ``_copy(block, start, out, first)``. Reading further on passes over
    the rows between; reading further back begins again, at the row that ``_seek(first)`` names.
    """

    random_access: bool = False
    n_rows: int | None = None

    # What errors call a block: "batch", "record batch".
    block: str = "batch"

    def __init__(self) -> None:
        self._iterator = None
        self._open = None  # the block that is being used up
        self._used = 0
        self._next = 0
        self._started = False
        self._starts = array("q")  # first rows of the blocks seen in the current pass

    def read(self, first: int, out: FloatMatrix) -> int:
        """Fill `out` with rows; see `Source.read`."""
        first = self._checked(first, out)
        if self._iterator is None or first < self._next or self._seek(first) > self._next:
            self._restart(first)
        if first > self._next and not self._pass_over(first):
            return 0
        done = 0
        while done < out.shape[0]:
            if self._left() == 0 and not self._advance():
                break
            take = min(self._left(), out.shape[0] - done)
            self._copy(self._open, self._used, out[done : done + take], self._next)
            self._used += take
            self._next += take
            done += take
        if done and self._next == self.n_rows and self._left() == 0:
            self._advance()  # a pass that brings more rows than the one before is found out here
        return done

    def locate(self, row: int) -> str:
        """Return what people call this row: its block, and where in it, if that was read."""
        if self._starts and row < self._next + self._left():
            index = bisect_right(self._starts, row) - 1
            return f"{self.name}, {self.block} {index}, row {row - self._starts[index]}"
        return f"{self.name}, row {row}"

    def close(self) -> None:
        """Drop the iterator; the next read begins again."""
        iterator, self._iterator, self._open = self._iterator, None, None
        if iterator is not None and hasattr(iterator, "close"):
            iterator.close()

    def _seek(self, first):
        """Return the row at which to begin so as to read `first` soon: at most `first`."""
        return 0

    def _left(self):
        return 0 if self._open is None else self._rows_of(self._open) - self._used

    def _pass_over(self, first):
        while self._next < first:
            if self._left() == 0 and not self._advance():
                return False
            skip = min(self._left(), first - self._next)
            self._used += skip
            self._next += skip
        return True

    def _restart(self, first):
        if self.one_shot and self._started:
            raise self._error(
                f"can be read once only, and row {first} was asked for after row "
                f"{self._next}; pass a callable that returns a new iterator each time, such as "
                "lambda: batches()",
                row=first,
            )
        self._drop()
        if first == 0:
            self._begin()
        self._started = True
        self._next = self._seek(first)
        self._iterator = self._blocks(self._next)

    def _drop(self):
        self.close()
        self._open, self._used, self._next = None, 0, 0
        del self._starts[:]

    def _advance(self):
        """Open the next block that has rows; return whether there was one."""
        end = self._next
        while True:
            try:
                block = next(self._iterator, None)
            except BaseException as error:
                # An iterator that raised says it has ended when it is asked again.
                self._iterator = self._open = None
                if isinstance(error, SourceError) or not isinstance(error, Exception):
                    raise
                raise self._failed(error) from error
            if block is None:
                self._finish(end)
                return False
            self._starts.append(end)
            if self._rows_of(block):
                break
        if self.n_rows is not None and end + self._rows_of(block) > self.n_rows:
            raise self._other_length(f"more than the {self.n_rows} rows that it had at first")
        self._open, self._used = block, 0
        return True

    def _finish(self, end):
        self._open = None
        if self.n_rows is None:
            self.n_rows = end
        elif end < self.n_rows:
            raise self._other_length(f"{end} rows where it had {self.n_rows} at first")

    def _other_length(self, what):
        self._iterator = self._open = None
        return self._error(
            f"came with {what}; every pass must bring the same rows",
            row=min(self._next, self.n_rows),
        )

    def _failed(self, error):
        count = len(self._starts)
        return self._error(
            f"{self.block} {count} (from row {self._next} on) could not be read: "
            f"{type(error).__name__}: {first_line(error)}",
            row=self._next,
        )
