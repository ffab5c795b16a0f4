"""Arrow data: record batches, tables, and readers of record batches.

The features are all columns but those of a pandas index, each numeric, or one column of lists of
equal length, whose numbers are used where Arrow has them.
"""

import numpy as np

from tilewise.sources._errors import SourceError, fault, need
from tilewise.sources._names import index_columns, is_a, some
from tilewise.sources._protocol import Options, convert, delivered
from tilewise.sources._sequential import SequentialSource
from tilewise.sources._shards import Shards

# What a record batch should take once it is delivered: large against the cost of a call for each
# column, small against the buffers that it is copied to.
_BATCH_BYTES = 1 << 22

# Columns are turned into rows in blocks that stay in a second-level cache.
_TURN_BYTES = 1 << 18


class Features:
    """Which columns of a schema are features, and how they become numbers."""

    def __init__(self, schema, name, columns=None, dtype=None):
        self.arrow = need("pyarrow", name)
        self.source = name
        index = index_columns(schema) if columns is None else ()
        wanted = schema.names if columns is None else columns
        names = [column for column in wanted if column not in index]
        for column in names:
            if schema.names.count(column) != 1:
                what = "there is no column" if column not in schema.names else "more than one is"
                raise fault(name, f"{what} named {column!r}; it has {some(schema.names)}")
        if not names:
            beside = f" beside the index {some(sorted(index))}" if index else ""
            raise fault(name, f"there are no columns{beside}; choose at least one, columns=[...]")
        self.columns = names
        types = [self._plain(schema.field(column).type) for column in names]
        self.listed = any(map(self._is_list, types))
        if self.listed:
            self._one_list(types)
            self.width = types[0].list_size if self._is_fixed(types[0]) else None
            types = [types[0].value_type]
        else:
            self.width = len(names)
        stored = [self._numeric(*pair) for pair in zip(names, types, strict=False)]
        narrow = all(kind == np.float32 for kind in stored)
        self.dtype = delivered(np.float32 if narrow else np.float64, dtype, name)
        common = np.result_type(*stored)
        small = common.itemsize < 4 and all(np.can_cast(kind, common) for kind in stored)
        self.narrowest = common if small and dtype is None else None
        self.value_bytes = sum(kind.itemsize for kind in stored)
        self.feature_names = None if self.listed else tuple(names)

    def _plain(self, kind):
        return kind.storage_type if isinstance(kind, self.arrow.BaseExtensionType) else kind

    def _is_fixed(self, kind):
        return self.arrow.types.is_fixed_size_list(kind)

    def _is_list(self, kind):
        types = self.arrow.types
        return self._is_fixed(kind) or types.is_list(kind) or types.is_large_list(kind)

    def _one_list(self, types):
        if len(types) > 1:
            listed = [name for name, kind in zip(self.columns, types, strict=True)
                      if self._is_list(kind)]  # fmt: skip
            raise fault(
                self.source,
                f"column {listed[0]!r} holds lists and there are {len(types) - 1} columns beside "
                "it; choose the column of lists or columns of numbers, columns=[...]",
            )

    def _numeric(self, name, kind):
        types = self.arrow.types
        if types.is_decimal(kind):
            return np.dtype(np.float64)
        if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
            return np.dtype(kind.to_pandas_dtype())
        what = "holds lists of" if self.listed else "is of type"
        raise fault(
            self.source,
            f"column {name!r} {what} {kind}, not numbers; choose columns of numbers, columns=[...]",
        )

    def block(self, batch, first):
        """Return what rows are made of: an array for each column, or one for the lists."""
        if self.listed:
            return [self._list_values(batch.column(self.columns[0]), first)]
        columns = [batch.column(name) for name in self.columns]
        holes = [(self._first_null(column), name)
                 for name, column in zip(self.columns, columns, strict=True)
                 if column.null_count]  # fmt: skip
        if holes:
            row, name = min(holes, key=lambda hole: hole[0])
            raise self._null(first + row, f"column {name!r}")
        return [self._values(column) for column in columns]

    def _values(self, column):
        if self.arrow.types.is_decimal(column.type):
            column = column.cast(self.arrow.float64())
        return column.to_numpy(zero_copy_only=False)

    def _list_values(self, column, first):
        name = self.columns[0]
        if isinstance(column.type, self.arrow.BaseExtensionType):
            column = column.storage
        if column.null_count:
            raise self._null(first + self._first_null(column), f"column {name!r}")
        if not self._is_fixed(column.type):
            lengths = np.diff(column.offsets.to_numpy())
            if self.width is None and len(lengths):
                self.width = int(lengths[0])
            wrong = np.flatnonzero(lengths != self.width)
            if wrong.size:
                row = first + int(wrong[0])
                raise SourceError(
                    f"{self.source}, row {row}: column {name!r} holds a list of "
                    f"length {lengths[wrong[0]]}, but {self.width} is expected; all lists must "
                    "have the same length",
                    source=self.source,
                    row=row,
                )
        values = column.flatten()
        if values.null_count:
            row, place = divmod(self._first_null(values), self.width)
            raise self._null(first + row, f"column {name!r}, place {place}")
        return self._values(values).reshape(len(column), self.width or 0)

    def _first_null(self, column):
        return int(column.is_null().to_numpy(zero_copy_only=False).argmax())

    def _null(self, row, what):
        return SourceError(
            f"{self.source}, row {row}, {what}: is null; fill it or drop the row",
            source=self.source,
            row=row,
        )

    def copy(self, block, start, out, source, first):
        """Turn columns into rows."""
        if self.listed:
            convert(out, block[0][start : start + out.shape[0]], source, first)
            return
        step = max(1, _TURN_BYTES // (out.shape[1] * out.itemsize))
        for row in range(0, out.shape[0], step):
            part = out[row : row + step]
            place = slice(start + row, start + row + part.shape[0])
            for column, values in enumerate(block):
                target = part[:, column : column + 1]
                convert(target, values[place, None], source, first + row)


class ArrowSource(SequentialSource):
    """Rows that come in record batches; subclasses have `_batches(start)`, which yields them."""

    block = "record batch"

    # The columns that were asked for are chosen here.
    selects = True

    def __init__(self, schema, name, options):
        super().__init__()
        self.name = name
        self._features = Features(schema, name, options.columns, options.dtype)
        self.dtype = self._features.dtype
        self.feature_names = self._features.feature_names
        self.n_features = self._features.width
        if self.n_features is None:
            self.n_features = options.n_features
            self._features.width = options.n_features
        if self.n_features == 0:
            raise fault(
                name,
                f"the lists of column {self._features.columns[0]!r} are empty; rows must have at "
                "least one number",
            )

    def _set_width(self):
        """Set what depends on the width; ask the first batch for it where the type does not."""
        if self.n_features is None:
            self._restart(0)
            if not self._advance() or not self._features.width:
                raise self._error(
                    f"how long the lists of column {self._features.columns[0]!r} "
                    "are is not known; pass n_features"
                )
            self.n_features = self._features.width
        width = self.n_features if self._features.listed else 1
        self.row_bytes = self._features.value_bytes * width
        self.held_bytes = max(self.held_bytes, self._batch_rows() * self.row_bytes)

    def _batch_rows(self):
        width = self.n_features or 1024
        return max(1, min(1 << 16, _BATCH_BYTES // (width * self.dtype.itemsize)))

    def _blocks(self, start):
        row = start
        for batch in self._batches(start):
            self.held_bytes = max(self.held_bytes, batch.nbytes)
            yield batch.num_rows, self._features.block(batch, row)
            row += batch.num_rows

    def _rows_of(self, block):
        return block[0]

    def _copy(self, block, start, out, first):
        self._features.copy(block[1], start, out, self, first)

    def all_rows(self):
        """Return all rows, which must be counted, as an array.

        Columns of narrow types become rows of the narrowest type that holds them all, unless a
        type was asked for.
        """
        kind = self._features.narrowest or self.dtype
        rows = np.empty((self.n_rows, self.n_features), kind)
        self.dtype, delivers = kind, self.dtype
        try:
            self.read(0, rows)
        finally:
            self.dtype = delivers
        return rows

    def locate(self, row):
        """Return the name and the row."""
        return f"{self.name}, row {row}"


class TableSource(ArrowSource):
    """Rows of a ``pyarrow.Table`` or ``pyarrow.RecordBatch``, where they are."""

    random_access = True

    def __init__(self, table, options, name=None):
        super().__init__(table.schema, name or f"pyarrow {type(table).__name__}", options)
        if not hasattr(table, "to_batches"):
            table = need("pyarrow", self.name).Table.from_batches([table])
        self._table = table
        self.n_rows = table.num_rows
        self._set_width()

    def _seek(self, first):
        return min(first, self.n_rows)

    def _batches(self, start):
        return iter(self._table.slice(start).to_batches(max_chunksize=self._batch_rows()))

    def all_rows(self):
        """Return all rows as an array; lists that lie together stay where they are."""
        if self._features.listed:
            batches = self._table.to_batches()
            if len(batches) == 1:
                return self._features.block(batches[0], 0)[0]
        return super().all_rows()

    def fingerprint(self):
        """Return shape and type, which is all that identifies a table in memory."""
        return self._identified("table", columns=self._features.columns)


class BatchReaderSource(ArrowSource):
    """Rows of a ``pyarrow.RecordBatchReader``, which can be read once."""

    one_shot = True

    def __init__(self, reader, options):
        super().__init__(reader.schema, "pyarrow RecordBatchReader", options)
        self._reader = reader
        self._set_width()

    def _batches(self, start):
        return iter(self._reader)

    def fingerprint(self):
        """Return what is known: nothing that would show other rows."""
        return self._uncounted("record batches", columns=self._features.columns)


def rows_of_table(table, name=None):
    """Return the rows of a ``pyarrow.Table`` or ``RecordBatch`` as an array, and their names."""
    source = TableSource(table, Options(), name)
    return source.all_rows(), source.feature_names


def open_tables(tables, options):
    """Open a list of tables and record batches as one source; columns are joined by name."""
    for index, table in enumerate(tables):
        if not is_a(table, "pyarrow.Table", "pyarrow.RecordBatch"):
            raise SourceError(
                f"a list that begins with pyarrow data must hold only such data, but item {index} "
                f"is {type(table).__name__}; convert it with pyarrow.table"
            )
    members = [
        TableSource(table, options, f"pyarrow {type(table).__name__} {index}")
        for index, table in enumerate(tables)
    ]
    return Shards(members, f"{len(members)} pyarrow tables")
