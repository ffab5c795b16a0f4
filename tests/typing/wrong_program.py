"""Mistakes that types must find. Each line that ends in ``# wrong`` has one, no other line has."""

# ruff: noqa: B018
import numpy as np

import tilewise
from tilewise import KMeans, MiniBatchKMeans

X = np.zeros((4, 2))
model = KMeans(2)

KMeans(n_cluster=2)  # wrong
KMeans("2")  # wrong
KMeans(2, init="kmeans++")  # wrong
KMeans(2, engine="fast")  # wrong
KMeans(2, device="gpu")  # wrong
MiniBatchKMeans(2, device=0)  # wrong
KMeans(2, algorithm="full")  # wrong
KMeans(2, n_init="all")  # wrong
KMeans(2, chunk_size="big")  # wrong
MiniBatchKMeans(2, batch_size="auto")  # wrong
model.fit(3)  # wrong
model.fit(None)  # wrong
model.fit(X).lables_  # wrong
model.transform(X).labels_  # wrong
model.predict(X, out=3)  # wrong
model.partial_fit(X)  # wrong
labels: np.ndarray[tuple[int], np.dtype[np.int32]] = model.fit(X)  # wrong
total: int = model.fit(X)  # wrong
name: str = model.score(X)  # wrong
tilewise.pairwise_distances(X, metric="euclidian")  # wrong
tilewise.pairwise_distances("rows.npy")  # wrong
tilewise.argkmin(X, X, "2")  # wrong
tilewise.argkmin(X, X, 2, return_distance=False).labels_  # wrong
tilewise.radius_neighbors(X, X, 1.0, return_as="coo")  # wrong
tilewise.pairwise_distances_argmin(X, X, axis=2)  # wrong
tilewise.k_means(X, 2)[3]  # wrong
tilewise.plan(10, 2)  # wrong
tilewise.plan(10, 2, 2, engine="gpu").chunk_rows  # wrong
tilewise.plan(10, 2, 2).chunks  # wrong
