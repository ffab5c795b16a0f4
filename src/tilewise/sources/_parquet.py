"""Parquet files and pyarrow's data sets."""

import os
from bisect import bisect_right
from dataclasses import replace

import numpy as np

from tilewise._text import first_line
from tilewise.sources._arrow import ArrowSource, Features
from tilewise.sources._errors import SourceError, check_unchanged, fault, need, reason, stat_of
from tilewise.sources._names import some
from tilewise.sources._shards import Shards

# What is read of a column of a Parquet file at once.
_COLUMN_BUFFER_BYTES = 1 << 18

# What decoding holds of one column at most: a page, its dictionary, and what was read ahead.
# Measured with pages of 1 MiB, which is what most writers make: 2.5 MiB.
_COLUMN_DECODING_BYTES = 5 << 19

# Lists bring levels, and arrays that grow by doubling: 14 MiB were measured.
_LIST_DECODING_BYTES = 10 << 20


class ParquetSource(ArrowSource):
    """Rows of one Parquet file, decoded a record batch at a time.

    Reading out of order begins at the start of a row group.
    """

    def __init__(self, path, options):
        self._parquet = need("pyarrow.parquet", path)
        self._path = path
        self._identity = stat_of(path)
        with self._file() as file:
            super().__init__(file.schema_arrow, path, options)
            groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
            self.n_rows = file.metadata.num_rows
            decoding = len(self._features.columns) * _COLUMN_DECODING_BYTES
            decoding += _LIST_DECODING_BYTES if self._features.listed else 0
            largest = max((group.total_byte_size for group in groups), default=0)
        counts = [group.num_rows for group in groups]
        self._groups = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).tolist()
        self._set_width()
        self.held_bytes += min(decoding, 2 * largest)
        if self.n_rows:
            self.row_bytes = max(1, round(self._identity[0] / self.n_rows))

    def _file(self):
        arrow = need("pyarrow", self._path)
        try:
            return self._parquet.ParquetFile(
                self._path, pre_buffer=False, buffer_size=_COLUMN_BUFFER_BYTES
            )
        except (arrow.ArrowException, OSError) as error:
            what = reason(error) if isinstance(error, OSError) else first_line(error)
            raise fault(
                self._path, f"cannot be read as a Parquet file: {what}; write it again"
            ) from error

    def _seek(self, first):
        return self._groups[max(0, bisect_right(self._groups[:-1], first) - 1)]

    def _begin(self):
        check_unchanged(self._path, self._identity, 0)

    def _batches(self, start):
        group = self._groups.index(start)
        with self._file() as file:
            everything = self._features.columns == file.schema_arrow.names
            yield from file.iter_batches(
                self._batch_rows(),
                row_groups=range(group, file.num_row_groups),
                columns=None if everything else self._features.columns,
            )

    def _failed(self, error):
        check_unchanged(self._path, self._identity, self._next)
        return super()._failed(error)

    def fingerprint(self):
        """Return the file's name, size and time of change, and the columns."""
        return self._identified(
            "parquet", path=os.path.abspath(self._path), bytes=self._identity[0],
            mtime_ns=self._identity[1], columns=self._features.columns,
        )  # fmt: skip


class DatasetSource(ArrowSource):
    """Rows of any ``pyarrow.dataset.Dataset``, one fragment after the other.

    Arrow decodes Parquet by whole row groups here, about four of them ahead. Local files of the
    data set must not change.
    """

    def __init__(self, dataset, options):
        self._dataset = dataset
        self.files = list(getattr(dataset, "files", ()))
        count = f" of {len(self.files)} files" if self.files else ""
        super().__init__(dataset.schema, f"pyarrow dataset{count}", options)
        self._identities = {path: stat_of(path) for path in self.files if os.path.exists(path)}
        # Of Parquet and of tables the number of rows costs nothing. A filter must look at them.
        in_memory = type(dataset).__name__ == "InMemoryDataset"
        self._filter = (getattr(dataset, "_scan_options", None) or {}).get("filter")
        self._parquet = type(getattr(dataset, "format", None)).__name__ == "ParquetFileFormat"
        if self._filter is None and (self._parquet or in_memory):
            self.n_rows = dataset.count_rows()
        self.plain_parquet = self._parquet and self._filter is None and len(self.files) > 0
        self._set_width()
        if self._parquet:
            self.held_bytes += self._decoded_ahead()
        if self.n_rows and len(self._identities) == len(self.files) > 0:
            total = sum(size for size, _ in self._identities.values())
            self.row_bytes = max(1, round(total / self.n_rows))

    def _begin(self):
        for path, identity in self._identities.items():
            check_unchanged(path, identity, 0)

    def _decoded_ahead(self):
        """Return the bytes of the row groups that Arrow decodes at a time, of local files."""
        parquet = need("pyarrow.parquet", self.name)
        sizes = []
        for path in self._identities:
            metadata = parquet.read_metadata(path)
            groups = range(metadata.num_row_groups)
            sizes += [metadata.row_group(group).total_byte_size for group in groups]
        return min(4 * max(sizes, default=0), 2 * sum(sizes))

    def _failed(self, error):
        for path, identity in self._identities.items():
            check_unchanged(path, identity, self._next)
        return super()._failed(error)

    def _batches(self, start):
        options = {}
        if self._parquet:
            # Otherwise Arrow reads all of a file before it decodes any of it.
            options["fragment_scan_options"] = need(
                "pyarrow.dataset", self.name
            ).ParquetFragmentScanOptions(
                pre_buffer=False, use_buffered_stream=True, buffer_size=_COLUMN_BUFFER_BYTES
            )
        return self._dataset.to_batches(
            **options,
            columns=self._features.columns,
            batch_size=self._batch_rows(),
            batch_readahead=0,
            fragment_readahead=1,
        )

    def locate(self, row):
        """Return the fragment and the row within it, where that can be counted."""
        if self.n_rows is not None and self._filter is None and row < self.n_rows:
            start = 0
            for fragment in self._dataset.get_fragments():
                count = fragment.count_rows()
                if row < start + count:
                    return f"{getattr(fragment, 'path', self.name)}, row {row - start}"
                start += count
        return super().locate(row)

    def fingerprint(self):
        """Return the names, sizes and times of change of its files, and the columns."""
        return self._identified(
            "dataset", files=[[path, *self._identities.get(path, ())] for path in self.files],
            filter=None if self._filter is None else str(self._filter),
            columns=self._features.columns,
        )  # fmt: skip


def _check_parts(dataset, columns):
    """Refuse files that lack columns; Arrow would fill them with nulls."""
    folders = getattr(getattr(dataset, "partitioning", None), "schema", None)
    wanted = [name for name in columns if folders is None or name not in folders.names]
    for fragment in dataset.get_fragments():
        found = fragment.physical_schema.names
        if not set(wanted).issubset(found):
            raise SourceError(
                f"{fragment.path}: the columns are {some(found)}, but those of the data set are "
                f"{some(wanted)}; all parts must have the same names, in any order",
                source=fragment.path,
                shard=fragment.path,
            )


def open_dataset(dataset, options):
    """Open a data set: as Parquet files where it is no more than that, else through Arrow's scan.

    A scan decodes whole row groups; a file that is read alone is decoded page by page.
    """
    found = DatasetSource(dataset, options)
    local = type(getattr(dataset, "filesystem", None)).__name__ == "LocalFileSystem"
    if not local or not found.plain_parquet:
        return found
    features = Features(dataset.schema, found.name, options.columns, options.dtype)
    asked = replace(options, columns=tuple(features.columns), dtype=features.dtype)
    try:
        files = Shards([ParquetSource(path, asked) for path in found.files], found.name)
    except SourceError:
        _check_parts(dataset, features.columns)
        return found  # columns that stand in the names of folders, or types that differ
    if files.n_rows != found.n_rows:
        return found
    found.close()
    return files
