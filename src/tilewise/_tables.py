"""Tables that are no arrays, read for functions that want all rows in memory."""

import numpy as np
import scipy.sparse as sp


def table_rows(X):
    """Rows and column names of an Arrow table or dask frame; anything else unchanged, and None."""
    if X is None or type(X) is np.ndarray or sp.issparse(X):  # these do not pay for the question
        return X, None
    from tilewise.sources import read_table

    rows, names = read_table(X)
    return (X, None) if rows is None else (rows, names)
