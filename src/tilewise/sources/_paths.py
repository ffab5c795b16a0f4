"""From paths to sources, by the ending of the name."""

import os

from tilewise._text import first_line
from tilewise.sources._chunks import Hdf5Source, ZarrSource
from tilewise.sources._errors import SourceError, fault, need, reason, stat_of
from tilewise.sources._npy import open_npy
from tilewise.sources._parquet import ParquetSource
from tilewise.sources._shards import Shards

# Between the path of a file that holds several arrays and the name of one of them.
_INSIDE = "::"


def _npy(path, inside, options):
    return open_npy(path, options.dtype)


def _parquet(path, inside, options):
    if os.path.isdir(path):
        return _directory(path, options)
    return ParquetSource(path, options)


def _hdf5(path, inside, options):
    h5py = need("h5py", path)
    stat_of(path)
    file = None
    try:
        file = h5py.File(path, "r")
        arrays = []
        file.visititems(lambda name, item: arrays.append(name) if hasattr(item, "shape") else None)
        found = file[_chosen(path, inside, arrays, file.get)]
        return Hdf5Source(found, options, file)
    except BaseException as error:
        if file is not None:
            file.close()
        if isinstance(error, SourceError) or not isinstance(error, Exception):
            raise
        # On a damaged file the library raises whatever its layers do.
        raise fault(
            path, f"cannot be read as an HDF5 file: {first_line(error)}; check the file"
        ) from error


def _zarr(path, inside, options):
    zarr = need("zarr", path)
    stat_of(path)
    try:
        found = zarr.open(path, mode="r")
        if hasattr(found, "shape") and inside:
            raise fault(path, f"is an array and holds none named {inside!r}")
        if not hasattr(found, "shape"):
            arrays = [name for name, _ in found.arrays()]
            found = found[_chosen(path, inside, arrays, found.get)]
        return ZarrSource(found, options, path + (_INSIDE + inside if inside else ""))
    except SourceError:
        raise
    except Exception as error:
        raise fault(
            path, f"cannot be read as Zarr: {first_line(error)}; check the directory"
        ) from error


def _chosen(path, inside, arrays, get):
    """Return the name of the array that is meant: the one asked for, or the only one."""
    some = ", ".join(arrays[:8]) + (", ..." if len(arrays) > 8 else "")
    if not inside:
        if len(arrays) == 1:
            return arrays[0]
        raise fault(
            path,
            f"holds {len(arrays)} arrays{': ' if arrays else ''}{some}; name one as "
            f"{path}{_INSIDE}NAME",
        )
    if not hasattr(get(inside), "shape"):
        raise fault(path, f"holds no array {inside!r}, only {some or 'none'}")
    return inside


# By the ending of the name. An opener gets the path, the name of an array inside, and options.
ENDINGS = {
    ".npy": _npy,
    ".parquet": _parquet,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".zarr": _zarr,
}

# Files of which a directory may consist.
_SHARD_ENDINGS = (".npy", ".parquet")


def ending_of(path):
    """Return the ending that says what a path holds, in small letters."""
    return os.path.splitext(path.rstrip("/\\"))[1].lower()


def open_path(path, options):
    """Open one path: a file, or a directory of them."""
    path = os.fsdecode(path)
    outer, _, inside = path.partition(_INSIDE)
    opener = ENDINGS.get(ending_of(outer))
    if opener in (_hdf5, _zarr):
        return opener(outer, inside, options)
    opener = ENDINGS.get(ending_of(path))
    if opener is not None:
        return opener(path, "", options)
    if os.path.isdir(path):
        if any(os.path.exists(os.path.join(path, name)) for name in ("zarr.json", ".zarray")):
            return _zarr(path, "", options)
        return _directory(path, options)
    raise fault(
        path,
        f"unknown format; the name must end in one of {', '.join(ENDINGS)}, or be a directory of "
        ".npy or .parquet files",
    )


def open_paths(paths, options):
    """Open several paths as shards of one source."""
    return Shards([open_path(path, options) for path in paths])


def _directory(path, options):
    try:
        names = sorted(name for name in os.listdir(path) if not name.startswith((".", "_")))
    except OSError as error:
        raise fault(path, f"cannot be listed: {reason(error)}; check its permissions") from error
    found = {}
    for name in names:
        if ending_of(name) in _SHARD_ENDINGS:
            found.setdefault(ending_of(name), []).append(os.path.join(path, name))
    if len(found) != 1:
        what = "both .npy and .parquet" if found else "neither .npy nor .parquet"
        raise fault(path, f"the directory holds {what} files; pass a list of the files to read")
    ((ending, files),) = found.items()
    shards = [ENDINGS[ending](file, "", options) for file in files]
    return Shards(shards, f"{len(files)} shards in {os.path.join(path, '')}")
