"""Several sources, one after the other."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np

from tilewise._typing import FloatDtype
from tilewise.sources._errors import SourceError
from tilewise.sources._names import Chosen, names_of, order_of
from tilewise.sources._protocol import RowSource, Source


class Shards(Source):
    """The rows of several sources, in the order given.

    Columns that have names are joined by them: members whose columns stand in another order than
    those of the first are read in the order of the first.

    Parameters
    ----------
    members : list of RowSource
        With known numbers of rows, equal widths, equal types, and the same names of columns or
        none. Members without rows are allowed.
    name : str, optional
        What to call them together.

    Raises
    ------
    SourceError
        If a member has another width or type than the first, or other names, naming it.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from tilewise.sources import as_source
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for index in range(3):
    ...         np.save(os.path.join(folder, f"part-{index}.npy"), np.full((2, 2), float(index)))
    ...     source = as_source(folder)
    ...     out = np.empty((3, 2))
    ...     count = source.read(1, out)
    ...     print(source.n_rows, count, out[:, 0], os.path.basename(source.locate(5)))
    6 3 [0. 1. 1.] part-2.npy, row 1
    """

    name: str
    feature_names: tuple[str, ...] | None
    n_features: int
    dtype: FloatDtype
    row_bytes: int
    random_access: bool
    members: list[RowSource]
    n_rows: int

    def __init__(self, members: Sequence[RowSource], name: str | None = None) -> None:
        if not members:
            raise SourceError("there are no shards; name at least one file", source=name)
        self.members = list(members)
        self.name = name or _common_name([member.name for member in members])
        first = members[0]
        self.n_features, self.dtype = first.n_features, first.dtype
        self.feature_names = names_of(first)
        self._starts = [0]
        for index, member in enumerate(members):
            self._check(member, first)
            self.members[index] = self._joined(member, first)
            self._starts.append(self._starts[-1] + member.n_rows)
        self.n_rows = self._starts[-1]
        stored = sum(member.row_bytes * member.n_rows for member in members)
        self.row_bytes = round(stored / self.n_rows) if self.n_rows else first.row_bytes
        self.random_access = all(member.random_access for member in members)
        self._current = None

    @property
    def selects(self) -> bool:
        """Whether all members have chosen the columns that were asked for."""
        return all(getattr(member, "selects", False) for member in self.members)

    @property
    def held_bytes(self) -> int:
        """The most that one member holds: the others are closed."""
        return max(getattr(member, "held_bytes", 0) for member in self.members)

    def _joined(self, member, first):
        """Return a member with its columns in the order of the first one's."""
        try:
            order = order_of(self.feature_names, names_of(member), member.name, first.name)
        except SourceError as error:
            raise error.within(self.name, member.name, 0) from None
        return member if order is None else Chosen(member, order)

    def _check(self, member, first):
        for what, found, expected, advice in (
            ("columns", member.n_features, first.n_features, "all shards must have the same"),
            ("dtype", member.dtype, first.dtype, "save them with one dtype, or pass dtype"),
        ):
            if found != expected:
                raise SourceError(
                    f"{member.name}: {what} {found}, but {first.name} has {expected}; {advice}",
                    source=self.name,
                    shard=member.name,
                )
        if member.n_rows is None:
            raise SourceError(
                f"{member.name}: its number of rows is not known, so it cannot be a shard; "
                "pass a callable that returns the batches of all shards",
                source=self.name,
                shard=member.name,
            )

    def _fill(self, first, out):
        done = 0
        index = bisect_right(self._starts, first) - 1
        while done < out.shape[0]:
            start, stop = self._starts[index], self._starts[index + 1]
            count = min(stop - first - done, out.shape[0] - done)
            if count:
                member = self._enter(index)
                try:
                    got = member.read(first + done - start, out[done : done + count])
                except SourceError as error:
                    raise error.within(self.name, member.name, start) from error.__cause__
                if got != count:
                    raise SourceError(
                        f"{member.locate(first + done - start + got)}: the rows end here, but "
                        f"there were {member.n_rows} at first; open the shards again",
                        source=self.name,
                        shard=member.name,
                        row=first + done + got,
                    )
                done += count
            index += 1

    def _enter(self, index):
        """Keep one member open at a time: there may be more shards than files can be open."""
        if self._current not in (None, index):
            self.members[self._current].close()
        self._current = index
        return self.members[index]

    def locate(self, row: int) -> str:
        """Return the shard and the row within it."""
        index = min(bisect_right(self._starts, row) - 1, len(self.members) - 1)
        return self.members[index].locate(row - self._starts[index])

    def fingerprint(self) -> dict[str, Any]:
        """Return the fingerprints of all shards."""
        return {
            "kind": "shards",
            "dtype": np.dtype(self.dtype).str,
            "shards": [member.fingerprint() for member in self.members],
        }

    def close(self) -> None:
        """Close all shards."""
        self._current = None
        for member in self.members:
            member.close()


def _common_name(names):
    if len(names) == 1:
        return names[0]
    folders = {os.path.dirname(name) for name in names}
    where = f" in {folders.pop() or '.'}{os.sep}" if len(folders) == 1 else f" from {names[0]} on"
    return f"{len(names)} shards{where}"
