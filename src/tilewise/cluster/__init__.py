"""Clustering with scikit-learn's contract.

Enters: whatever scikit-learn's estimators take - arrays of any real dtype, order and byte order,
read-only and memory-mapped ones, lists, data frames, sparse matrices - and their parameters.
Leaves: fitted attributes, labels and distances as NumPy arrays, or, for rows on a device, as the
same kind of array there (CuPy arrays, torch's CUDA tensors), and scikit-learn's own warnings and
types of error.

A fit works on a draft of the estimator (``_draft``), which takes over the result at once: a fit
that fails changes nothing. Values whose squares float64 has no room for are scaled by a power of
two (``_scaled``). Missing values of every kind become NaN before anything is checked
(``tilewise._numbers``).

This room checks parameters, shapes, names of columns, weights and initial centres, and turns
``X`` into ``engine.Rows`` without copying it. It leaves one check to the engine, which reads every
value anyway: a value of ``X`` that is not finite raises a ``ValueError`` naming its row and column.
Nothing is computed here: the loops are in ``algorithms``, the passes in ``engine``, the sizes in
``plan``.

``KMeans``           the estimator (``_kmeans``; what the estimators share is in ``_base``)
``MiniBatchKMeans``  the same on random batches of rows (``_minibatch``)
``Predictor``        a fitted model prepared for single rows (``_predictor``)
``k_means``          the same as a function (``_functions``)
``kmeans_plusplus``  the seeding alone (``_functions``)

The estimators tell skl2onnx how they are converted (``_onnx``).
"""

from tilewise.cluster._functions import k_means, kmeans_plusplus
from tilewise.cluster._kmeans import KMeans
from tilewise.cluster._minibatch import MiniBatchKMeans
from tilewise.cluster._predictor import Predictor

__all__ = ["KMeans", "MiniBatchKMeans", "Predictor", "k_means", "kmeans_plusplus"]
