"""Names of columns: which are an index, and how parts of one data set are joined by them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tilewise.sources._buffers import STAGE_BYTES, aligned_empty
from tilewise.sources._errors import SourceError, fault
from tilewise.sources._protocol import RowSource, Source

# What pandas and pyarrow call the levels of an index that have no name of their own.
_INDEX_LEVEL = re.compile(r"__index_level_\d+__")

# Names that a message lists.
_LISTED = 8


def names_of(source: RowSource) -> tuple[str, ...] | None:
    """Return the names of a source's columns.

    Parameters
    ----------
    source : RowSource
        One of somebody else's need not know of names.

    Returns
    -------
    tuple of str or None
        None where the rows have no names.

    Raises
    ------
    SourceError
        If there are more or fewer names than columns.

    Examples
    --------
    >>> import numpy as np
    >>> from tilewise.sources import as_source, names_of
    >>> names_of(as_source(lambda: [np.ones((2, 3))])) is None
    True
    """
    names = getattr(source, "feature_names", None)
    if names is None:
        return None
    names = tuple(map(str, names))
    if len(names) != source.n_features:
        raise fault(
            source.name,
            f"feature_names has {len(names)} names for {source.n_features} columns; name them all "
            "or none",
        )
    return names


def is_a(X, *names):
    """Whether a class of `X` has one of these names, "package.Name"; imports nothing."""
    classes = {
        f"{str(kind.__module__).partition('.')[0]}.{kind.__name__}" for kind in type(X).__mro__
    }
    return not classes.isdisjoint(names)


def frame_names(X, strict=True):
    """Return the column names of a data frame, None where `X` has none or they are no texts.

    Frames are known by their attributes `columns` and `dtypes`, whoever made them. Names of which
    some are texts and some are not are an error, as in scikit-learn, or none if not `strict`.
    """
    columns = getattr(X, "columns", None)
    if isinstance(X, np.ndarray) or columns is None or not hasattr(X, "dtypes"):
        return None
    names = list(columns)
    texts = sum(isinstance(name, str) for name in names)
    if 0 < texts < len(names):
        if not strict:
            return None
        raise SourceError(
            f"{type(X).__name__}: some column names are texts and some are not: {some(names)}; "
            "make all of them texts, X.columns = X.columns.astype(str)"
        )
    return tuple(map(str, names)) if texts else None


def column_names(X: object) -> tuple[str, ...] | None:
    """Return the names of the columns of a table in memory.

    Parameters
    ----------
    X : object
        Whatever a function was given.

    Returns
    -------
    tuple of str or None
        None unless `X` is a data frame whose names are all texts, or an Arrow table; of this
        without the columns of an index.
    """
    if not is_a(X, "pyarrow.Table", "pyarrow.RecordBatch"):
        return frame_names(X, strict=False)
    index = index_columns(X.schema)
    return tuple(name for name in X.schema.names if name not in index)


def index_columns(schema: Any) -> set[str]:
    """Return the columns of an Arrow schema that hold the index of a pandas data frame.

    pandas lists them in the metadata of the schema. Levels without a name have names that
    pandas keeps for itself, so they are found without metadata too.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of a table, a file or a data set.

    Returns
    -------
    set of str
        Names of columns.
    """
    found = {name for name in schema.names if _INDEX_LEVEL.fullmatch(name)}
    try:
        listed = json.loads((schema.metadata or {})[b"pandas"])["index_columns"]
        # A range, which takes no column, is described by a dictionary.
        found |= {name for name in listed if isinstance(name, str)}
    except (KeyError, TypeError, ValueError, RecursionError):
        pass
    return found.intersection(schema.names)


def order_of(expected, found, where, whose):
    """Return where each expected column stands among those found, None for the same order.

    Parameters
    ----------
    expected, found : tuple of str or None
        None where the rows have no names.
    where, whose : str
        What messages call the part, and the part that it must agree with.

    Returns
    -------
    list of int or None
        ``found[order[i]] == expected[i]``.

    Raises
    ------
    SourceError
        If the names are others, with both lists.
    """
    if expected == found:
        return None
    if expected is None or found is None:
        has, lacks = (where, whose) if expected is None else (whose, where)
        raise SourceError(
            f"{lacks}: its columns have no names, but those of {has} do: "
            f"{some(expected or found)}; give all parts names, or none"
        )
    if len(set(found)) == len(found) and set(expected) == set(found):
        return [found.index(name) for name in expected]
    raise SourceError(
        f"{where}: the columns are {some(found)}, but those of {whose} are {some(expected)}; "
        "all parts must have the same names, in any order"
    )


def some(names):
    """Return the first few names, for a message."""
    shown = ", ".join(map(repr, names[:_LISTED]))
    return shown + (f", ... ({len(names)} in all)" if len(names) > _LISTED else "")


class Chosen(Source):
    """Some columns of another source, in an order of their own.

    Parameters
    ----------
    source : RowSource
        Whose rows are read.
    order : list of int
        Which of its columns, by position.
    """

    def __init__(self, source, order):
        self.source = source
        self.name, self.dtype = source.name, source.dtype
        self.one_shot, self.random_access = source.one_shot, source.random_access
        self.row_bytes = source.row_bytes
        self.n_features = len(order)
        names = names_of(source)
        self.feature_names = None if names is None else tuple(names[index] for index in order)
        self._order = list(order)
        self._rows = max(1, STAGE_BYTES // (source.n_features * source.dtype.itemsize))
        self._stage = None

    @property
    def n_rows(self):
        """Rows of the source, which may learn their number by reading them."""
        return self.source.n_rows

    @property
    def held_bytes(self):
        """What the source holds, and the rows whose columns are being chosen."""
        stage = self._rows * self.source.n_features * self.dtype.itemsize
        return int(getattr(self.source, "held_bytes", 0)) + stage

    def read(self, first, out):
        """Fill `out` with rows; see `Source.read`."""
        first = self._checked(first, out)
        if self._stage is None:
            self._stage = aligned_empty((self._rows, self.source.n_features), self.dtype)
        done = 0
        while True:
            wanted = min(self._rows, out.shape[0] - done)
            got = self.source.read(first + done, self._stage[:wanted])
            out[done : done + got] = self._stage[:got, self._order]
            done += got
            if got < wanted or done == out.shape[0]:
                return done

    def locate(self, row):
        """Return what the source calls this row."""
        return self.source.locate(row)

    def fingerprint(self):
        """Return that of the source, and the columns."""
        return {"kind": "columns", "order": self._order, "source": self.source.fingerprint()}

    def close(self):
        """Let go of the rows at hand, and close the source."""
        self._stage = None
        self.source.close()


def with_columns(source: RowSource, names: Sequence[str]) -> RowSource:
    """Return a source with the columns of these names, in this order.

    Parameters
    ----------
    source : RowSource
        With names.
    names : sequence of str
        Distinct names.

    Returns
    -------
    RowSource
        `source` itself where it has just these columns.

    Raises
    ------
    SourceError
        If the source has no names, or not each of these once.
    """
    known = names_of(source)
    if known == tuple(names):
        return source
    if known is None:
        raise fault(source.name, "its columns have no names, so they cannot be chosen by name")
    for name in names:
        if known.count(name) != 1:
            what = "more than one column is" if name in known else "there is no column"
            raise fault(source.name, f"{what} named {name!r}; it has {some(known)}")
    return Chosen(source, [known.index(name) for name in names])
