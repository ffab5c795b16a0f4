"""Names of columns that lie beside an array: in HDF5, in Zarr and in xarray.

None of the three formats has names of columns. What is read here are the habits of those who
write them: HDF5's dimension scales, which netCDF uses too, the blocks of pandas, and xarray's
coordinates. Where nothing of that kind is found, or it cannot be read, there are no names.
"""

import numpy as np

# Labels that are longer in all are no names of columns.
_MOST_BYTES = 1 << 24


def hdf5_names(dataset):
    """Return the names of the columns of an ``h5py.Dataset``, or None."""
    try:
        found = [scale for scale in dataset.dims[1].values() if scale.shape == dataset.shape[1:]]
        stem, kind, rest = dataset.name.rpartition("_values")
        if kind and not rest and f"{stem}_items" in dataset.file:
            found.append(dataset.file[f"{stem}_items"])
        return _first_texts(found, dataset.shape[1])
    except Exception:  # whatever else stands there is not for us
        return None


def zarr_names(array):
    """Return the names of the columns of a ``zarr.Array``, or None."""
    try:
        import zarr

        axes = getattr(array.metadata, "dimension_names", None)
        axes = axes or array.attrs.get("_ARRAY_DIMENSIONS")
        if not axes or not isinstance(axes[1], str) or "/" in axes[1]:
            return None
        folder = array.path.rpartition("/")[0]
        path = f"{folder}/{axes[1]}" if folder else axes[1]
        labels = zarr.open_array(store=array.store, path=path, mode="r")
        return _first_texts([labels], array.shape[1])
    except Exception:
        return None


def xarray_names(array):
    """Return the names of the columns of an ``xarray.DataArray``, or None."""
    axis = array.dims[1] if array.ndim == 2 else None
    if axis not in array.coords:
        return None
    return _first_texts([array.coords[axis].values], array.shape[1])


def _first_texts(arrays, count):
    """Return the first array of so many texts as a tuple, or None."""
    for array in arrays:
        if array.shape != (count,) or count * max(1, array.dtype.itemsize) > _MOST_BYTES:
            continue
        names = [_text(label) for label in np.asarray(array[...]).tolist()]
        if None not in names:
            return tuple(names)
    return None


def _text(label):
    if isinstance(label, bytes):
        label = label.decode()
    return label if isinstance(label, str) else None
