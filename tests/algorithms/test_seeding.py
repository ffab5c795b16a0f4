"""Seeds are scikit-learn's; where they differ, its rounding decided, and that is shown."""

import dataclasses

import exact_sums
import hostile
import numpy as np
import pytest
import reference
import scipy.sparse as sp
from sklearn.cluster import kmeans_plusplus as peer
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
    make_blobs,
)

from tilewise import KMeans, algorithms, kmeans_plusplus
from tilewise.engine import Rows
from tilewise.kernels import _exact
from tilewise.kernels._seeding import Seeding, nearest_to_seeds

BUNDLED = {
    "iris": load_iris,
    "digits": load_digits,
    "wine": load_wine,
    "breast_cancer": load_breast_cancer,
    "diabetes": load_diabetes,
}


def rounding(X, weights, closest):
    """Bound of the rounding in scikit-learn's potential and in its running sums of it.

    Its squared distances are |x|^2 - 2 x.c + |c|^2: each term rounds in proportion to the
    norms, not to the distance. In float32 they are rounded to it, and so are the n sums.
    """
    n, d = X.shape
    norms = np.square(X.astype(np.float64)).sum(axis=1)
    error = 2**-52 * (d + 8) * (norms + norms.max())
    if X.dtype == np.float32:
        error += 2**-23 * (n + 8) * closest
    return 2 * float(weights @ error + 2**-52 * n * (weights @ closest))


def unexplained(X, weights, seed, n_trials, ours, theirs):
    """Say why the first different pick is not a matter of rounding; None if it is."""
    differing = np.flatnonzero(ours != theirs)
    if not len(differing):
        return None
    c = int(differing[0])
    w = np.ones(len(X)) if weights is None else weights
    state = np.random.RandomState(seed)
    draw = state.random_sample()
    if c == 0:
        running = np.cumsum(w / w.sum())
        low, high = sorted((ours[0], theirs[0]))
        gap = np.abs(running[low:high] - draw).max()
        return None if gap < 1e-6 else f"first pick: draw {gap} from the running sum"
    trials = 2 + int(np.log(len(ours))) if n_trials is None else n_trials
    for _ in range(c):
        draws = state.uniform(size=trials)
    rows = X.astype(np.float64)
    closest = np.min(
        [reference.folded(rows - rows[seed_row]) for seed_row in ours[:c]], axis=0, initial=np.inf
    )
    room = rounding(X, w, closest)
    running = np.cumsum(w * closest)
    targets = draws * running[-1]
    found = np.minimum(np.searchsorted(running, targets), len(X) - 1)
    potentials = {
        row: float(w @ np.minimum(closest, reference.folded(rows - rows[row])))
        for row in {*found.tolist(), int(ours[c]), int(theirs[c])}
    }
    # A row that is not among the candidates was reached because of rounding: the draw lies
    # within `room` of the running sum between the two.
    reached = {}
    for target, row in zip(targets, found, strict=True):
        for picked in (int(ours[c]), int(theirs[c])):
            low, high = sorted((picked, int(row)))
            gap = np.abs(running[low:high] - target).max(initial=0.0)
            reached[picked] = min(reached.get(picked, np.inf), gap)
    for picked, gap in reached.items():
        if gap > room:
            return f"pick {c}: {picked} is {gap} from every draw, rounding is {room}"
    if not any(0 < gap for gap in reached.values()):
        gap = abs(potentials[int(ours[c])] - potentials[int(theirs[c])])
        others = [g for t in targets if (g := np.abs(running - t).min()) <= room]
        if gap > room and not others:
            return f"pick {c}: potentials differ by {gap}, rounding is {room}"
    return None


def random_case(seed):
    """Rows, number of seeds, weights and trials, of many kinds."""
    rng = np.random.RandomState(seed)
    n, d = int(rng.randint(5, 400)), int(rng.randint(1, 40))
    k = int(rng.randint(1, min(n, 50) + 1))
    kind = seed % 5
    if kind == 0:
        X = rng.standard_normal((n, d))
    elif kind == 1:
        X = make_blobs(n, d, centers=max(1, k // 2), random_state=seed)[0]
    elif kind == 2:
        X = rng.randint(0, 3, (n, d)).astype(np.float64)
    elif kind == 3:
        X = rng.standard_normal((n, d))[rng.randint(max(1, n // 3), size=n)]
    else:
        X = rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-3, 3, d)
    weights = None
    if seed % 3 == 0:
        weights = rng.randint(0, 4, n) * rng.uniform(size=n)
        weights[0] += 1e-3
    return X, k, weights, (None, 1, 20)[seed // 3 % 3]


def compare(X, k, weights, seed, n_trials):
    arguments = {"sample_weight": weights, "random_state": seed, "n_local_trials": n_trials}
    ours = kmeans_plusplus(X, k, **arguments)[1]
    theirs = peer(X, k, **arguments)[1]
    assert unexplained(X, weights, seed, n_trials, ours, theirs) is None
    return np.array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_random_cases(dtype):
    same = {False: [], True: []}
    for seed in range(240):
        X, k, weights, n_trials = random_case(seed)
        X = X.astype(dtype)
        # Once every distinct row is a seed, rounding is all that is left to draw from.
        exhausted = len(np.unique(X, axis=0)) <= k
        same[exhausted].append(compare(X, k, weights, seed, n_trials))
    assert sum(map(len, same.values())) == 240
    assert np.mean(same[False]) > 0.95


@pytest.mark.parametrize("name", BUNDLED)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_bundled_data(name, dtype):
    X = BUNDLED[name]().data.astype(dtype)
    same = [compare(X, k, None, seed, None) for k in (2, 8, 40) for seed in range(6)]
    assert np.mean(same) > 0.75


def test_an_unrelated_pick_is_not_explained():
    """The explanation itself can fail."""
    X = np.random.RandomState(0).standard_normal((200, 5))
    ours = kmeans_plusplus(X, 8, random_state=3)[1]
    for c in range(8):
        other = ours.copy()
        other[c] = next(row for row in range(200) if row not in ours)
        assert unexplained(X, None, 3, None, ours, other) is not None


@pytest.mark.parametrize("n_trials", [None, 1, 15, 16, 17, 33])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_plain_twin_picks_the_same(n_trials, dtype):
    """Skipping rows by the triangle inequality, and candidates by a screen, changes nothing."""
    for seed in range(12):
        rng = np.random.RandomState(seed)
        n, d, k = int(rng.randint(300, 1500)), int(rng.choice([1, 2, 8, 17, 40])), 30
        X = make_blobs(n, d, centers=10, cluster_std=rng.uniform(0.01, 3), random_state=seed)[0]
        X = (X * 10.0 ** rng.choice([0, 0, 12, -12])).astype(dtype)
        weights = rng.uniform(size=n) if seed % 2 else None
        rows = Rows(X)
        plan = hostile.plan_for(rows, k, n_threads=2)
        if seed % 3:
            plan = dataclasses.replace(plan, seeding="copy", seeding_kept_bytes=12 * (seed % 3 - 1))
        found, expected = (
            seeding(
                rows_of,
                k,
                weights=weights,
                random_state=np.random.RandomState(seed),
                n_local_trials=n_trials,
                plan=plan,
            )
            for seeding, rows_of in (
                (algorithms.kmeans_plusplus, rows),
                (reference.kmeans_plusplus, reference.Rows(X)),
            )
        )
        assert np.array_equal(found, expected)


#: Threads, and ways to screen rows: none of them changes a number. Gaps are kept of all rows, of
#: some and of none; 8-bit products are used or not.
SCREENS = [
    (1, {}), (2, {"kept": 3}), (3, {"copy": True}), (1, {"copy": True, "kept": 200}),
    (2, {"copy": True, "kept": 3, "vnni": False}), (3, {"kept": 200}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "dtype"), hostile.CASES, ids=hostile.CASE_NAMES)
@pytest.mark.parametrize("isa", hostile.ISAS)
def test_gains_are_those_of_every_distance(name, dtype, isa):
    """No filter hides a candidate that is closer; gains and potentials are exact sums."""
    for seed, (n_threads, how) in enumerate(SCREENS):
        rng = np.random.RandomState(seed)
        X, _ = hostile.make(name, rng, 200, int(rng.choice([1, 3, 16, 40])), 12, dtype)
        points = _exact.padded(X.astype(np.float64))
        rows = Rows(X if seed % 2 else np.asfortranarray(X))
        state = Seeding(rows, None, isa=isa, shard_rows=64, n_threads=n_threads, **how)
        d = X.shape[1]
        seeds = points[rng.randint(200, size=8)]
        state.take(seeds[:1], 0, 0)
        assert_exact(state.potential(), state.closest)
        for c in range(1, len(seeds)):
            closest = state.closest.copy()
            trials = points[rng.randint(200, size=4)]
            nearest = nearest_to_seeds(seeds, c, trials, d, isa=isa, n_threads=1)
            found = state.worth(state.gains(trials, nearest))
            with np.errstate(all="ignore"):
                distances = reference.canonical(X, trials[:, :d])
                gained = np.where(distances < closest[:, None], closest[:, None] - distances, 0.0)
            # Larger distances are for `Scale`, and those that overflow are refused.
            for t in range(4) if closest.max() < 2.0**975 else ():
                assert_exact(found[t], gained[:, t], unit=gain_unit(closest))
            new = seeds[c : c + 1]
            state.gains(new, nearest_to_seeds(seeds, c, new, d, isa=isa, n_threads=1))
            state.take(new, 0, c)
            with np.errstate(all="ignore"):
                own = reference.canonical(X, new[:, :d])[:, 0]
            np.testing.assert_array_equal(state.closest, np.minimum(closest, own))
            assert_exact(state.potential(), state.closest)


def gain_unit(closest):
    """Exponent of what gains are rounded to: the second unit below the largest distance."""
    most = closest.max()
    if most == 0.0:
        return -1074
    bin_of_first = max(3, (int(np.frexp(most)[1]) + 1 + 1124 + 49) // 50 - 1)
    return 50 * (bin_of_first - 1) - 1124


def assert_exact(found, numbers, weights=None, unit=None):
    """The sum of numbers, each of which is first rounded to a multiple of 2**unit."""
    if not np.isfinite(numbers).all():
        assert not np.isfinite(found)
        return
    whole = exact_sums.products(numbers, weights)
    if unit is not None:
        whole = [exact_sums.cut(number, unit) for number in whole]
    assert found == pytest.approx(exact_sums.rounded(sum(whole)), rel=2.0**-100, abs=0.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [2, 19])
def test_gains_and_potentials_have_no_order(d, dtype):
    rng = np.random.RandomState(6)
    n = 9000
    X = (rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-4, 4, (n, 1))).astype(dtype)
    X *= rng.uniform(size=(n, d)) < 0.8
    weights = rng.uniform(0, 2, n) * (rng.uniform(size=n) < 0.9)
    points = _exact.padded(X.astype(np.float64))
    ids = [[5], [17, 900, 3], [4, 8000, 77], [2, 1, 0]]
    found = set()
    for isa in hostile.ISAS:
        for n_threads in (1, 2, 3, 8):
            order = rng.permutation(n)
            some, shard = X[order], int(rng.choice([64, 448, 8192, 2**20]))
            for rows in (Rows(some), Rows(np.asfortranarray(some)), Rows(sp.csr_array(some))):
                how = SCREENS[rng.randint(len(SCREENS))][1]
                state = Seeding(
                    rows, weights[order], isa=isa, shard_rows=shard, n_threads=n_threads, **how
                )
                assert state.copied == how.get("copy", False)
                state.take(points[ids[0]], 0, 0)
                told = [state.potential()]
                for c in range(1, 4):
                    trials = points[ids[c]]
                    near = nearest_to_seeds(
                        points[[group[0] for group in ids[:c]]], c, trials, d, isa=isa, n_threads=1
                    )
                    told += state.worth(state.gains(trials, near)).tolist()
                    state.take(trials, 0, c)
                    told.append(state.potential())
                found.add(tuple(told))
    assert len(found) == 1
    closest = np.empty(n)
    closest[order] = state.closest
    assert told[-1] == exact_sums.total(closest, weights)


@pytest.mark.parametrize("weighted", [False, True])
def test_draws_find_the_row_that_the_exact_running_sum_reaches(weighted):
    rng = np.random.RandomState(7)
    X = rng.standard_normal((700, 3)) * 10.0 ** rng.uniform(-5, 5, (700, 1))
    weights = rng.uniform(0, 2, 700) * (rng.uniform(size=700) < 0.8) if weighted else None
    state = Seeding(Rows(X), weights, isa=hostile.ISAS[-1], shard_rows=128, n_threads=2)
    state.take(_exact.padded(X)[:1], 0, 0)
    potential = state.potential()
    running = np.cumsum(np.array(exact_sums.products(state.closest, weights), dtype=object))
    targets = np.r_[rng.uniform(0, potential, 300), 0.0, potential, potential * 2]
    targets = np.r_[targets, [exact_sums.rounded(total) for total in running[::20]]]
    for target in targets:
        reached = [total >= exact_sums.whole(target) for total in running]
        assert state.locate(target) == (reached.index(True) if True in reached else 699)


@pytest.mark.parametrize("kept", [0, 3, 200])
@pytest.mark.parametrize("way", ["dense", "short", "csr", "dense csr", "copy"])
def test_runs_of_rows_leave_what_all_rows_would(way, kept):
    """Calls for one run of rows after another; rows of no run stay as they are."""
    rng = np.random.RandomState(4)
    n, d = 1000, 9 if way == "short" else 60
    X = rng.standard_normal((n, d)) * (rng.uniform(size=(n, d)) < (0.02 if way == "csr" else 0.5))
    rows = Rows(sp.csr_array(X) if "csr" in way else X)
    weights = rng.uniform(0, 2, n)
    whole, parts = (
        Seeding(
            rows, weights, isa=hostile.ISAS[-1], shard_rows=384, n_threads=t,
            by_entries=way == "csr", copy=way == "copy", kept=kept,
        )
        for t in (1, 2)
    )  # fmt: skip
    points = _exact.padded(X)
    runs = [(0, 64), (64, 320), (320, 448), (448, 960), (960, n)]

    def given(ids):
        return np.array(ids) if whole.by_entries else points[ids]

    first = given([7])
    whole.take(first, 0, 0)
    for begin, end in runs:
        parts.take(first, 0, 0, begin, end)
        assert np.isinf(parts.closest[end:]).all()
    assert parts.potential() == whole.potential()
    chosen = [7]
    for c in range(1, 6):
        ids = rng.randint(n, size=5)
        nearest = nearest_to_seeds(
            points[chosen], c, points[ids], d, isa=hostile.ISAS[-1], n_threads=1
        )
        gains = whole.gains(given(ids), nearest)
        found = sum(parts.gains(given(ids), nearest, begin, end) for begin, end in runs)
        assert np.array_equal(parts.worth(found), whole.worth(gains))
        best = int(np.argmax(whole.worth(gains)))
        whole.take(given(ids), best, c)
        for begin, end in runs:
            behind = parts.closest[end:].copy()
            parts.take(given(ids), best, c, begin, end)
            assert np.array_equal(parts.closest[end:], behind)
        assert parts.potential() == whole.potential()
        assert np.array_equal(parts.closest, whole.closest)
        chosen.append(ids[best])


def test_same_on_every_machine():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((12_000, 9)).astype(np.float32)
    weights = rng.uniform(size=len(X))
    variants = [X, np.asfortranarray(X), X.astype(">f4"), sp.csr_array(X)]
    results = set()
    for isa in hostile.ISAS:
        for n_threads in (1, 2, 3, 8):
            for at, variant in enumerate(variants):
                rows = Rows(variant)
                plan = hostile.plan_for(rows, 20, isa, n_threads=n_threads)
                if (at + n_threads) % 2:
                    plan = dataclasses.replace(plan, seeding="copy")
                found = algorithms.kmeans_plusplus(
                    rows,
                    20,
                    weights=weights,
                    random_state=np.random.RandomState(1),
                    plan=plan,
                )
                results.add(found.tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e30, 1e18])
def test_float32_filter_keeps_magnitudes(size):
    """Distances that float32 cannot hold must not hide a candidate."""
    rng = np.random.RandomState(5)
    X = (rng.standard_normal((500, 6)) * size).astype(np.float32)
    single, double = (
        kmeans_plusplus(X.astype(dtype), 25, random_state=2)[1]
        for dtype in (np.float32, np.float64)
    )
    assert np.array_equal(single[0], double[0])
    expected = reference.kmeans_plusplus(
        reference.Rows(X), 25, random_state=np.random.RandomState(2)
    )
    assert np.array_equal(single, expected)


@pytest.mark.parametrize("size", [1.0, 1e144, 1e-100])
def test_the_unit_of_weights_does_not_count(size):
    """Neither where weights times squared distances leave the range of float64."""
    X = np.random.RandomState(0).standard_normal((500, 3)) * size
    weights = np.random.RandomState(1).uniform(0.1, 1, 500)
    found = {
        kmeans_plusplus(X, 60, sample_weight=weights * 2.0**exponent, random_state=2)[1].tobytes()
        for exponent in (0, 5, 33, 200, 900, -30, -1000)
    }
    assert len(found) == 1


def test_every_row_is_a_seed():
    X = np.random.RandomState(0).standard_normal((60, 3))
    assert sorted(kmeans_plusplus(X, 60, random_state=0)[1]) == list(range(60))


def test_duplicates_are_seeds_only_when_nothing_else_is_left():
    X = np.repeat(np.arange(12.0), 20)[:, None] @ np.ones((1, 3))
    X = X[np.random.RandomState(0).permutation(len(X))]
    for seed in range(20):
        centers, _ = kmeans_plusplus(X, 12, random_state=seed)
        assert len(np.unique(centers, axis=0)) == 12
        centers, indices = kmeans_plusplus(X, 20, random_state=seed)
        assert len(np.unique(centers, axis=0)) == 12
        assert np.array_equal(centers, X[indices])


def test_rows_without_weight_are_never_seeds():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((300, 4))
    weights = np.where(rng.uniform(size=300) < 0.5, 0.0, rng.uniform(0.1, 1, 300))
    for seed in range(30):
        _, indices = kmeans_plusplus(X, 20, sample_weight=weights, random_state=seed)
        assert (weights[indices] > 0).all()


@pytest.mark.parametrize("init", ["k-means++", "k-means||"])
@pytest.mark.parametrize("exponent", [-600, -140, 120, 600])
def test_weights_that_float32_has_no_room_for(init, exponent):
    """A power of two more in all weights changes no draw."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)).astype(np.float32)
    weights = rng.uniform(0.5, 1, 300)
    found = [
        KMeans(5, init=init, n_init=1, random_state=0).fit(X, sample_weight=own)
        for own in (weights, np.ldexp(weights, exponent))
    ]
    assert np.array_equal(found[0].labels_, found[1].labels_)
    assert np.array_equal(found[0].cluster_centers_, found[1].cluster_centers_)
