"""What is measured: one function for each suite, one row in SUITES.

A suite yields records, one for each case: what the case is, and for each peer either figures
or the error that kept it from having any. All times are in seconds.
"""

import dataclasses
import math
import statistics
import sys

import data
import memory
import numpy as np
import pair_suites
import peers
import scipy.sparse
import timing
from running import errors_into, new_record, prepared


@dataclasses.dataclass(frozen=True)
class Case:
    """One data set of one shape."""

    kind: str
    n_samples: int
    n_features: int
    n_clusters: int
    dtypes: tuple = ("float32", "float64")

    def shape(self):
        """Return the shape as it is asked for on the command line."""
        return f"{self.n_samples}x{self.n_features}x{self.n_clusters}"

    def resized(self, n_samples, n_features, n_clusters):
        """Return the case in other sizes."""
        sizes = {"n_samples": n_samples, "n_features": n_features, "n_clusters": n_clusters}
        return dataclasses.replace(self, **sizes)

    def smaller(self):
        """Return the case with a tenth of its rows, but enough for its clusters."""
        if self.n_samples <= 10_000:
            return self
        rows = min(self.n_samples, max(self.n_samples // 10, 2 * self.n_clusters))
        return dataclasses.replace(self, n_samples=rows)


F4 = ("float32",)
F8 = ("float64",)
PIXELS = Case("pixels", 273_280, 3, 64)

LLOYD = (
    Case("overlapping blobs", 1_000_000, 16, 16),
    Case("overlapping blobs", 200_000, 64, 256),
    Case("overlapping blobs", 100_000, 256, 1024),
    Case("overlapping blobs", 60_000, 784, 10),
    Case("overlapping blobs", 1_000_000, 2, 100),
    Case("overlapping blobs", 100_000, 128, 4096),
    Case("low rank", 200_000, 64, 256, F4),
    PIXELS,
    Case("8x8x3 patches", 100_000, 192, 256, F4),
    Case("16x16x3 patches", 60_000, 768, 4096, F4),
)
FIT = (
    Case("blobs", 1_000_000, 16, 16, F4),
    Case("blobs", 200_000, 64, 256, F4),
    Case("low rank", 200_000, 64, 256, F4),
    Case("blobs", 50_000, 256, 500, F4),
    Case("low rank", 50_000, 256, 500, F4),
    dataclasses.replace(PIXELS, dtypes=F4),
    Case("8x8x3 patches", 50_000, 192, 256, F4),
    Case("hashed text", 20_000, 2**20, 8, F4),
)
# With the batch, and whether the centres to start from are given.
MINIBATCH = (
    (Case("blobs", 1_000_000, 16, 16, F4), 1024, False),
    (Case("blobs", 500_000, 64, 256, F4), 4096, False),
    (Case("blobs", 200_000, 256, 1024, F4), 8192, False),
    (Case("blobs", 200_000, 256, 1024, F4), 8192, True),
    (Case("overlapping blobs", 500_000, 64, 256, F4), 4096, False),
    (Case("hashed text", 20_000, 2**20, 8, F4), 1024, False),
    (Case("hashed text", 20_000, 2**20, 32, F4), 1024, False),
)
SMALL = (Case("iris", 150, 4, 3, F8), Case("digits", 1797, 64, 10, F8))


# Iterations of the short and of the long run; the slope between the two is free of what a fit
# costs before, between and after. The long run takes so many that the difference lasts at
# least MEASURABLE seconds for the fastest, where the clock and the pauses no longer matter.
SHORT, LONG_AT_LEAST, LONG_AT_MOST, MEASURABLE = 2, 6, 22, 0.25


def lloyd(run):
    """Yield the time of one iteration of Lloyd's, everybody from the same centres."""
    for case, dtype in run.cases(LLOYD, LLOYD[:1]):
        X = data.make(case.kind, case.n_samples, case.n_features, case.n_clusters, dtype)
        rows = data.initial_rows(X, case.n_clusters)
        record = new_record("lloyd", case, dtype, per="iteration", n_iter_short=SHORT)
        yield _lloyd_case(run, record, X, rows)


def _lloyd_case(run, record, X, rows):
    taking_part = run.taking_part("lloyd", record["case"]["dtype"])
    calls, first = prepared(record, taking_part, lambda peer: peer.lloyd(X, rows, SHORT))
    if not calls:
        return record
    taking_part = [peer for peer in taking_part if peer.name in calls]
    fastest = min(seconds for seconds, _ in first.values()) / SHORT
    more = math.ceil(MEASURABLE / max(fastest, 1e-6))
    long = min(max(SHORT + more, LONG_AT_LEAST), LONG_AT_MOST)
    record["n_iter_long"] = long
    tasks = {}
    for peer in taking_part:
        tasks[peer.name, "short"] = calls[peer.name]
        tasks[peer.name, "long"] = peer.lloyd(X, rows, long)
    samples, done = timing.in_turn(tasks, run.times(5))
    for peer in taking_part:
        iterations = [int(done[peer.name, length]) for length in ("short", "long")]
        short, whole = samples[peer.name, "short"], samples[peer.name, "long"]
        if iterations[1] <= iterations[0]:
            record["peers"][peer.name] = {"error": f"stopped after {iterations[1]} iterations"}
            continue
        slopes = [
            (b - a) / (iterations[1] - iterations[0]) for a, b in zip(short, whole, strict=True)
        ]
        record["peers"][peer.name] = timing.summary(slopes) | {
            "n_iter": iterations,
            "all_iterations": iterations == [SHORT, long],
            "whole_per_iteration": statistics.median(whole) / iterations[1],
            "short_samples": short,
            "long_samples": whole,
        }
    return record


def _inertia(X, centers):
    """Return the sum of squared distances in float64, a block of rows at a time."""
    if scipy.sparse.issparse(X):
        X = X.astype(np.float64)
        own, others = X.multiply(X).sum(axis=1), np.square(centers).sum(axis=1)
        return float((np.asarray(own).reshape(-1, 1) + others - 2 * (X @ centers.T)).min(1).sum())
    from scipy.spatial.distance import cdist

    rows = max(1, 2**24 // len(centers))
    return sum(
        float(cdist(X[i : i + rows], centers, "sqeuclidean").min(axis=1).sum())
        for i in range(0, len(X), rows)
    )


def fit(run):
    """Yield the time of what a user gets by default, seeding included, and its inertia."""
    for case, dtype in run.cases(FIT, FIT[:1]):
        X = data.make(case.kind, case.n_samples, case.n_features, case.n_clusters, dtype)
        record = new_record("fit", case, dtype, per="default fit")
        taking_part = [
            peer
            for peer in run.taking_part("fit", dtype, sparse=case.kind in data.SPARSE)
            if not peer.takes_minutes(case.n_samples, case.n_features, case.n_clusters)
        ]
        yield _fit_case(run, record, X, case.n_clusters, taking_part, 3, 1)


def small(run):
    """Yield the time of default fits of tables that fit into a cache."""
    names = ("tilewise", "scikit-learn", "scikit-learn-intelex")
    for case, dtype in run.cases(SMALL):
        X = data.make(case.kind, case.n_samples, case.n_features, case.n_clusters, dtype)
        record = new_record("small", case, dtype, per="default fit")
        taking_part = run.taking_part("fit", dtype, names)
        yield _fit_case(run, record, X, case.n_clusters, taking_part, 15, 10)


def _fit_case(run, record, X, n_clusters, taking_part, rounds, repeats):
    calls, _ = prepared(record, taking_part, lambda peer: peer.fit(X, n_clusters))
    if not calls:
        return record
    samples, centers = timing.in_turn(calls, run.times(rounds), repeats=repeats)
    for name in calls:
        record["peers"][name] = timing.summary(samples[name]) | {
            "inertia": _inertia(X, np.asarray(centers[name], dtype=np.float64))
        }
    return record


def seeding(run):
    """Yield the time of greedy k-means++ alone, and whether the same rows were picked."""
    for case, dtype in run.cases(FIT, FIT[:1]):
        X = data.make(case.kind, case.n_samples, case.n_features, case.n_clusters, dtype)
        record = new_record("seeding", case, dtype, per="seeding")
        sparse = case.kind in data.SPARSE
        taking_part = run.taking_part("kmeans_plusplus", dtype, sparse=sparse)
        calls, _ = prepared(
            record, taking_part, lambda peer, X=X, k=case.n_clusters: peer.kmeans_plusplus(X, k)
        )
        if calls:
            samples, picked = timing.in_turn(calls, run.times(3))
            reference = next(iter(picked.values()))
            for name in calls:
                record["peers"][name] = timing.summary(samples[name]) | {
                    "same_rows": bool(np.array_equal(picked[name], reference))
                }
        yield record


# So many rows are labelled by direct differences in float64, to count wrong labels.
CHECKED_ROWS = 2048
# Two distances that differ by less are told apart by the order of additions alone.
TIE = 1e-12


def predict(run):
    """Yield the time of labelling all rows for given centres, and wrong labels in a sample."""
    from scipy.spatial.distance import cdist

    for case, dtype in run.cases(LLOYD, LLOYD[:1]):
        X = data.make(case.kind, case.n_samples, case.n_features, case.n_clusters, dtype)
        centers = X[data.initial_rows(X, case.n_clusters)]
        record = new_record("predict", case, dtype, per="prediction")
        sample = np.random.default_rng(2).choice(len(X), min(len(X), CHECKED_ROWS), replace=False)
        truth = cdist(X[sample], centers, "sqeuclidean")
        calls, _ = prepared(
            record,
            run.taking_part("predict", dtype),
            lambda peer, X=X, centers=centers: peer.predict(X, centers),
        )
        if calls:
            samples, labels = timing.in_turn(calls, run.times(5))
            for name in calls:
                chosen = truth[np.arange(len(sample)), labels[name][sample]]
                record["peers"][name] = timing.summary(samples[name]) | {
                    "checked": len(sample),
                    "wrong": int(np.sum(chosen > truth.min(axis=1) * (1 + TIE))),
                }
        yield record


def minibatch(run):
    """Yield the time of fits on random batches, equal draws for all, and what they found."""
    for wanted, batch_size, given in MINIBATCH:
        for case, dtype in run.cases([wanted]):
            X = data.make(case.kind, case.n_samples, case.n_features, case.n_clusters, dtype)
            rows = data.initial_rows(X, case.n_clusters) if given else None
            record = new_record(
                "minibatch", case, dtype, per="fit", batch_size=batch_size, given_centers=given
            )
            calls, _ = prepared(
                record,
                run.taking_part("minibatch", dtype, sparse=case.kind in data.SPARSE),
                lambda peer, X=X, k=case.n_clusters, b=batch_size, rows=rows: peer.minibatch(
                    X, k, b, rows
                ),
            )
            if calls:
                samples, models = timing.in_turn(calls, run.times(3))
                for name in calls:
                    record["peers"][name] = timing.summary(samples[name]) | {
                        "inertia": float(models[name].inertia_),
                        "n_steps": int(models[name].n_steps_),
                    }
            yield record


MEMORY = ((16, 16), (64, 256))
MEMORY_ROWS = (200_000, 600_000)


def peak_memory(run):
    """Yield the memory of a fit beyond its data: bytes a row, and MiB a thread besides."""
    if not memory.CLEAR_REFS.exists():
        print("  memory: left out, this system does not tell peaks", file=sys.stderr)
        return
    few, many = (rows // 10 if run.quick else rows for rows in MEMORY_ROWS)
    for n_features, n_clusters in MEMORY:
        wanted = Case("overlapping blobs", many, n_features, n_clusters, F4)
        for case, dtype in run.cases([wanted]):
            record = new_record("memory", case, dtype, per="fit", unit="bytes", n_samples_few=few)
            names = ("tilewise", "scikit-learn", "scikit-learn-intelex")
            for peer in run.taking_part("fit", dtype, names):
                with errors_into(record, peer.name):
                    extra = [
                        memory.extra_bytes(peer.name, "fit", (rows, n_features, n_clusters), dtype)
                        for rows in (few, many)
                    ]
                    row_bytes = max(0.0, (extra[1] - extra[0]) / (many - few))
                    besides = max(0.0, extra[1] - row_bytes * many)
                    record["peers"][peer.name] = {
                        "extra_bytes": extra,
                        "bytes_per_row": row_bytes,
                        "mib_per_thread": besides / peers.cpu_count() / 2**20,
                    }
            yield record


# In the order in which they are run.
SUITES = {
    "lloyd": lloyd,
    "fit": fit,
    "seeding": seeding,
    "predict": predict,
    "small": small,
    "minibatch": minibatch,
    "memory": peak_memory,
    **pair_suites.SUITES,
    "machine": lambda run: (),  # its figures head every result
}
