"""tilewise's estimators for who passes arrays in memory: dense rows are moved to a device.

Results come back, so that scikit-learn's cases can read them. Sparse rows stay in memory.
"""

import scipy.sparse as sp
from device_cases import ON_GPU

from tilewise import cluster
from tilewise.cuda import _arrays

if not ON_GPU:
    _arrays.DEVICE_TYPES.add("cpu")


class _Moved:
    """Rows are opened as with ``device="cuda"``, whatever the parameter says."""

    def _open(self, X, **how):
        if sp.issparse(X):
            return super()._open(X, **how)
        kept, self.device = self.device, "cuda"
        try:
            return super()._open(X, **how)
        finally:
            self.device = kept

    def _few_rows(self, X, wanted):
        return None


class KMeans(_Moved, cluster.KMeans):
    pass


class MiniBatchKMeans(_Moved, cluster.MiniBatchKMeans):
    pass


def k_means(X, *args, **how):
    return cluster.k_means(X, *args, **how | ({} if sp.issparse(X) else {"device": "cuda"}))


def kmeans_plusplus(X, *args, **how):
    return cluster.kmeans_plusplus(X, *args, **how | ({} if sp.issparse(X) else {"device": "cuda"}))
