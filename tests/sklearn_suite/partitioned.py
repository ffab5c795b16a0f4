"""`tilewise.dask.KMeans` for who passes arrays: they are cut into partitions on the way.

Sparse rows have no place on a cluster; they are fitted in this process.
"""

import atexit

import dask.array as da
import numpy as np
import scipy.sparse as sp
from distributed import Client

import tilewise.dask
from tilewise import cluster
from tilewise.cluster import _validation

CLIENTS = []


def client():
    """One client for all cases: threads of this process."""
    if not CLIENTS:
        CLIENTS.append(
            Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None)
        )
        atexit.register(CLIENTS[0].close)
    return CLIENTS[0]


class KMeans(tilewise.dask.KMeans):
    def _open(self, X, *, reset=False, **how):
        X = _validation.check_data(X, self, reset=reset)
        names = getattr(self, "feature_names_in_", None)
        if sp.issparse(X):
            return cluster.KMeans._open(self, X, reset=reset, **how)
        cuts = (-(-len(X) // 3), len(X) // 3, len(X) - -(-len(X) // 3) - len(X) // 3)
        self.client = client()
        rows = super()._open(da.from_array(X, chunks=(cuts, X.shape[1])), reset=reset, **how)
        if names is not None:
            self.feature_names_in_ = names
        return rows

    def fit(self, X, y=None, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.labels_ = np.asarray(self.labels_)
        self.client = None
        return self
