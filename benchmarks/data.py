"""The data that is measured on: made with fixed seeds, or cut from bundled photographs."""

import functools

import numpy as np

# Rows made at once, so that making float32 data needs no float64 copy of all of it.
BLOCK_ROWS = 65_536


def blobs(n_samples, n_features, n_clusters, *, apart, seed=0):
    """Return normal clusters of unit deviation in float32, rows in random order.

    Two centres are about `apart` deviations from each other: at 3, Lloyd's iterations keep
    moving rows for a long time; at 10, they are over after a few.
    """
    rng = np.random.default_rng(seed)
    # Two normal vectors of deviation s in d dimensions are s·sqrt(2d) apart, on average.
    deviation = apart / np.sqrt(2 * n_features)
    centers = (rng.standard_normal((n_clusters, n_features)) * deviation).astype(np.float32)
    X = np.empty((n_samples, n_features), dtype=np.float32)
    for start in range(0, n_samples, BLOCK_ROWS):
        block = X[start : start + BLOCK_ROWS]
        rng.standard_normal(out=block, dtype=np.float32)
        block += centers[rng.integers(n_clusters, size=len(block))]
    return X


def low_rank(n_samples, n_features, *, seed=0):
    """Return float32 rows near a subspace of an eighth of the dimensions: no clusters at all."""
    rng = np.random.default_rng(seed)
    rank = max(1, n_features // 8)
    basis = rng.standard_normal((rank, n_features), dtype=np.float32)
    X = np.empty((n_samples, n_features), dtype=np.float32)
    for start in range(0, n_samples, BLOCK_ROWS):
        block = X[start : start + BLOCK_ROWS]
        rng.standard_normal(out=block, dtype=np.float32)
        block *= np.float32(0.1)
        block += rng.standard_normal((len(block), rank), dtype=np.float32) @ basis
    return X


def photographs():
    """Return scikit-learn's two bundled photographs, values from 0 to 1 in float32."""
    from sklearn.datasets import load_sample_images

    return [image.astype(np.float32) / 255 for image in load_sample_images().images]


def pixels(n_samples=None, *, seed=0):
    """Return the pixels of the Summer Palace, all 273,280 or a sample of them."""
    X = photographs()[0].reshape(-1, 3)
    if n_samples is None or n_samples >= len(X):
        return np.ascontiguousarray(X)
    rows = np.random.default_rng(seed).choice(len(X), n_samples, replace=False)
    return X[np.sort(rows)]


def patches(n_samples, side, *, seed=0):
    """Return square patches cut from both photographs, one a row, all channels."""
    rng = np.random.default_rng(seed)
    images = photographs()
    share = np.array_split(np.arange(n_samples), len(images))
    parts = []
    for image, mine in zip(images, share, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(image, (side, side, 3))[:, :, 0]
        height, width = windows.shape[:2]
        where = rng.choice(height * width, size=len(mine), replace=len(mine) > height * width)
        parts.append(windows[where // width, where % width].reshape(len(mine), -1))
    return np.concatenate(parts)


def bundled(name):
    """Return one of scikit-learn's small tables, in float64 as it comes."""
    from sklearn import datasets

    return getattr(datasets, f"load_{name}")(return_X_y=True)[0]


def sparse(n_samples, n_features, density, dtype, *, seed=0):
    """Return a CSR matrix with values from 0 to 1 in random places, as word counts have them."""
    import scipy.sparse

    rng = np.random.default_rng(seed)
    shape = (n_samples, n_features)
    return scipy.sparse.random_array(shape, density=density, format="csr", dtype=dtype, rng=rng)


def hashed_text(n_samples, n_features, *, words=100, seed=0):
    """Return rows of unit length as a hashing vectorizer makes them, CSR in float32.

    Words have ranks whose logarithms are uniform, which is close to Zipf's law; each rank has a
    random column.
    """
    import scipy.sparse

    rng = np.random.default_rng(seed)
    columns = rng.permutation(n_features).astype(np.int32)
    ranks = (n_features ** rng.random((n_samples, words))).astype(np.int64) - 1
    starts = np.arange(0, n_samples * words + 1, words, dtype=np.int32)
    ones = np.ones(n_samples * words, dtype=np.float32)
    shape = (n_samples, n_features)
    X = scipy.sparse.csr_matrix((ones, columns[ranks.ravel()], starts), shape=shape)
    X.sum_duplicates()
    lengths = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
    X.data /= np.repeat(lengths, np.diff(X.indptr)).astype(np.float32)
    return X


# One row for each kind of data: how to make it from (n_samples, n_features, n_clusters).
DATA = {
    "overlapping blobs": lambda n, d, k: blobs(n, d, k, apart=3),
    "blobs": lambda n, d, k: blobs(n, d, k, apart=10),
    # Far from the origin, squares and products are large and distances are not.
    "blobs at 1000": lambda n, d, k: blobs(n, d, k, apart=3) + np.float32(1000),
    "low rank": lambda n, d, k: low_rank(n, d),
    "pixels": lambda n, d, k: pixels(n),
    "8x8x3 patches": lambda n, d, k: patches(n, 8),
    "16x16x3 patches": lambda n, d, k: patches(n, 16),
    "iris": lambda n, d, k: bundled("iris"),
    "digits": lambda n, d, k: bundled("digits"),
    "hashed text": lambda n, d, k: hashed_text(n, d),
}
# The kinds that are CSR.
SPARSE = ("hashed text",)


@functools.lru_cache(maxsize=1)
def _made(kind, n_samples, n_features, n_clusters):
    X = DATA[kind](n_samples, n_features, n_clusters)
    assert X.shape == (n_samples, n_features), (kind, X.shape)
    return X


def make(kind, n_samples, n_features, n_clusters, dtype):
    """Return C-contiguous or CSR rows of one kind in one dtype; the last one made is kept."""
    if kind in SPARSE:
        return _made(kind, n_samples, n_features, n_clusters).astype(dtype, copy=False)
    return np.ascontiguousarray(_made(kind, n_samples, n_features, n_clusters), dtype=dtype)


# Blobs that the two sides of a pair share.
PAIR_CLUSTERS = 64


def pairs(kind, n_x, n_y, n_features, dtype):
    """Return two sets of rows of one kind, X and Y."""
    rows = make(kind, n_x + n_y, n_features, PAIR_CLUSTERS, dtype)
    return rows[:n_x], rows[n_x:]


def forget():
    """Let go of what `make` keeps."""
    _made.cache_clear()


def initial_rows(X, n_clusters, *, seed=1):
    """Return the indices of rows, all different in value, to start from."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(X))
    for candidates in range(n_clusters, len(X) + n_clusters, n_clusters):
        chosen = order[:candidates]
        _, first = np.unique(X[chosen], axis=0, return_index=True)
        if len(first) >= n_clusters:
            return chosen[np.sort(first)[:n_clusters]]
    raise ValueError(f"the data has fewer than {n_clusters} different rows")
