"""Groups of centres that rows skip: the same labels, sums and bounds that hold."""

import dataclasses

import exact_sums
import hostile
import numpy as np
import pytest
import reference
from stream_data import streamed

from tilewise import KMeans, plan
from tilewise.engine import Pass, Rows, passes
from tilewise.engine.groups import Groups, order_by_place
from tilewise.plan.groups import GROUP_CENTRES, GROUPS_AFTER


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Groups from the first pass on."""
    monkeypatch.setattr(passes, "GROUPS_AFTER", 0.0)


def grouped_plan(rows, k, isa=None, **changes):
    """A plan with groups, whether they pay or not."""
    made = hostile.plan_for(rows, k, isa, groups=True, **changes)
    assert made.groups == -(-k // GROUP_CENTRES)
    return made


def clusters(rng, n, d, size, spread=0.3):
    """Rows in loose heaps, so that groups can be skipped."""
    middles = rng.standard_normal((12, d))
    return (middles[rng.randint(12, size=n)] + spread * rng.standard_normal((n, d))) * size


SIZES = {np.float32: (1.0, 1e-30, 1e15, 1e-37), np.float64: (1.0, 1e-150, 1e150, 1e-300, 1e35)}
CASES = [(dtype, size) for dtype, sizes in SIZES.items() for size in sizes]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("dtype", "size"), CASES)
def test_rows_that_skip_groups_keep_the_right_label(dtype, size, weighted):
    met = possible = 0
    ways = [(isa, score) for isa in hostile.ISAS for score in hostile.SCORES]
    for seed, (isa, score) in enumerate(ways):
        rng = np.random.RandomState(seed)
        n, d = int(rng.randint(1, 3000)), int(rng.choice([25, 40, 64, 97, 130]))
        k = int(rng.choice([64, 65, 95, 100, 150, 300]))
        X = clusters(rng, n, d, 1.0)
        X[: n // 2] += 4 * rng.standard_normal(d)
        X = (X * size).astype(dtype)
        rows = Rows(X)
        weights = rng.uniform(0, 3, n) * (rng.uniform(size=n) < 0.9) if weighted else None
        chosen = grouped_plan(rows, k, isa, score_dtype=score, n_threads=1 + seed % 3)
        skipping = Pass(rows, k, chosen, bounds=True, sums=True, weights=weights)
        start = X[rng.randint(n, size=k)].astype(np.float64)
        for i, centers in enumerate(hostile.moving(rng, X, start, 9, mover=5)):
            if i in (3, 8):
                # Groups hold whole copies of centres: the lowest index wins.
                centers[rng.randint(k, size=k // 3)] = centers[rng.randint(k)]
            fresh = Pass(rows, k, hostile.plan_for(rows, k, isa), sums=True, weights=weights)
            before = skipping.labels.copy()
            fresh.assign_and_sum(centers)
            assert skipping.assign_and_sum(centers) == np.count_nonzero(before != fresh.labels)
            assert np.array_equal(skipping.labels, fresh.labels)
            if i in (0, 8) and n * d * k < 3e6:
                with np.errstate(all="ignore"):
                    expected = reference.assign(reference.Rows(X), centers)
                assert np.array_equal(skipping.labels, expected)
            met, possible = met + skipping._met, possible + n * chosen.groups
            exact_sums.assert_same(skipping.sums, fresh.sums)
    if 1e-30 <= size <= 1e15:
        assert met < 0.8 * possible


@pytest.mark.parametrize("case", hostile.CASES, ids=hostile.CASE_NAMES)
def test_hostile_rows(case):
    name, dtype = case
    rng = np.random.RandomState(5)
    for n, d, k in ((1, 30, 64), (700, 33, 100), (400, 130, 65), (90, 97, 90)):
        X, centers = hostile.make(name, rng, n, d, k, dtype)
        rows = Rows(X)
        for isa in hostile.ISAS:
            run = Pass(rows, k, grouped_plan(rows, k, isa, n_threads=2), bounds=True)
            at = np.array(centers, dtype=np.float64)
            for _ in range(3):
                expected = outcome(Pass(rows, k, hostile.plan_for(rows, k, isa)), at)
                assert outcome(run, at) == expected
                if expected[0] is not None:
                    break
                with np.errstate(all="ignore"):
                    assert expected[1] == reference.assign(reference.Rows(X), at).tobytes()
                    at = at * (1 + 1e-6 * rng.standard_normal(at.shape))


def outcome(run, centers):
    """The error of a pass, or None, and its labels."""
    try:
        run.assign(centers)
    except ValueError as problem:
        return str(problem), None
    return None, run.labels.tobytes()


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("score", hostile.SCORES)
def test_bounds_of_groups_hold(dtype, offset, score):
    """On the right side of distances in more digits, and near them, after far moves too."""
    for seed, isa in enumerate(hostile.ISAS):
        rng = np.random.RandomState(seed)
        n, d, k = 300, int(rng.choice([25, 40, 97])), int(rng.choice([64, 75, 100]))
        X = (clusters(rng, n, d, 1.0) + offset).astype(dtype)
        rows = Rows(X)
        run = Pass(rows, k, grouped_plan(rows, k, isa, score_dtype=score), bounds=True)
        centers = X[rng.randint(n, size=k)].astype(np.float64)
        near = 0
        for i in range(8):
            run.assign(centers.copy())
            groups = run._groups
            count = len(groups._starts)
            kept = groups.bounds[: n * count].reshape(n, count) - groups.drift[1, :count]
            gaps = X[:, None, :].astype(np.longdouble) - centers[None]
            true = np.sqrt((gaps * gaps).sum(axis=2))
            own = true[np.arange(n), run.labels].copy()
            true[np.arange(n), run.labels] = np.inf
            of_groups = np.minimum.reduceat(true[:, groups.order], groups._starts, axis=1)
            assert (kept <= of_groups * (1 - 5e-7)).all()
            upper, lower = run._bounds
            assert (upper >= own * (1 + 5e-7)).all()
            assert (lower <= true.min(axis=1) * (1 - 5e-7)).all()
            near += np.count_nonzero(kept > of_groups * (1 - 1e-2))
            centers = centers + rng.standard_normal((k, d)) * (30.0 if i == 3 else 1e-3)
        assert near > 0.2 * n


def test_drift_is_never_too_small_nor_too_large():
    rng = np.random.RandomState(0)
    groups = Groups(5, 4, rng.standard_normal((100, 7)))
    total = np.zeros(4, np.longdouble)
    for _ in range(200):
        moves = (rng.uniform(size=100) * 10.0 ** rng.uniform(-6, 3)).astype(np.float32)
        groups.move(moves)
        for g in range(4):
            members = groups.order[g * GROUP_CENTRES : (g + 1) * GROUP_CENTRES]
            total[g] += moves[members].max()
        below, above = groups.drift[:, :4].astype(np.longdouble)
        assert (below <= total).all()
        assert (total <= above).all()
        assert (above - below <= total * 1e-6).all()
    assert np.isneginf(groups.drift[:, 4:]).all()
    groups.move(None)
    assert not groups.drift[:, :4].any()


@pytest.mark.parametrize("k", [64, 65, 100, 257])
def test_groups_hold_every_centre_once_and_are_compact(k):
    rng = np.random.RandomState(0)
    centers = np.repeat(rng.standard_normal((-(-k // 8), 5)) * 9, 8, axis=0)[:k]
    centers += 1e-3 * rng.standard_normal(centers.shape)
    order = order_by_place(rng.permutation(centers))
    assert np.array_equal(np.sort(order), np.arange(k))
    order = order_by_place(centers)
    spread = [
        np.square(centers[part] - centers[part].mean(axis=0)).sum()
        for part in np.split(order, range(GROUP_CENTRES, k, GROUP_CENTRES))
    ]
    assert sum(spread) < 0.8 * np.square(centers - centers.mean(axis=0)).sum()


@pytest.mark.parametrize("value", [0.0, 7.0, 1e300, -1e-310, np.inf, np.nan])
def test_centres_that_cannot_be_sorted(value):
    assert np.array_equal(np.sort(order_by_place(np.full((70, 3), value))), np.arange(70))


FITS = {
    "plain": {}, "threads": {"n_threads": 3}, "double": {"dtype": np.float64},
    "weights": {"weighted": True}, "relocated": {"empty": True}, "fortran": {"order": "F"},
    "offset": {"offset": 1e4}, "far": {"offset": 1e6}, "few": {"k": 78},
}  # fmt: skip


@pytest.mark.parametrize("way", FITS)
@pytest.mark.parametrize("isa", hostile.ISAS)
def test_fits_have_the_same_bits(way, isa, monkeypatch):
    """With the groups that the plan chooses, and without."""
    how = {"n_threads": 1, "dtype": np.float32, "weighted": False, "empty": False, "order": "C"}
    how |= {"offset": 0.0, "k": 200} | FITS[way]
    monkeypatch.setenv("TILEWISE_ISA", isa)
    rng = np.random.RandomState(1)
    n, d, k = 10_000, 520, how["k"]
    X = np.asarray(clusters(rng, n, d, 1.0) + how["offset"], dtype=how["dtype"], order=how["order"])
    start = X[rng.randint(n, size=k)].copy()
    if how["empty"]:
        start[[3, 50]] = 1e5
    weights = rng.uniform(0.1, 2, n) if how["weighted"] else None
    found, used = set(), []
    for allowed in (True, False):
        if not allowed:
            monkeypatch.setattr("tilewise.engine.passes.Groups", None)
            monkeypatch.setattr(Pass, "_may_group", lambda *_: False)
        model = KMeans(k, init=start, n_init=1, max_iter=5, tol=0, n_threads=how["n_threads"])
        model.fit(X, sample_weight=weights)
        used.append(model.chunk_plan_.groups)
        found.add((
            model.labels_.tobytes(), model.cluster_centers_.tobytes(), model.inertia_,
            model.n_iter_,
        ))  # fmt: skip
    assert len(found) == 1
    # On AMX scores are so cheap that groups pay later.
    pays = isa != "amx" or k * d >= 100_000
    assert used[0] == (-(-k // GROUP_CENTRES) if pays else 0)


def test_groups_that_skip_nothing_are_given_up():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((3000, 40)).astype(np.float32)
    rows = Rows(X)
    chosen = grouped_plan(rows, 100)
    run = Pass(rows, 100, chosen, bounds=True, sums=True)
    centers = X[:100].astype(np.float64)
    for i in range(6):
        run.assign_and_sum(centers)
        fresh = Pass(rows, 100, hostile.plan_for(rows, 100), sums=True)
        fresh.assign_and_sum(centers)
        assert np.array_equal(run.labels, fresh.labels)
        exact_sums.assert_same(run.sums, fresh.sums)
        assert run._grouped == (i < 3)
        centers = centers + 10.0 * rng.standard_normal(centers.shape)
    assert run._groups is None


def test_who_keeps_groups():
    X = np.random.RandomState(0).standard_normal((300, 40)).astype(np.float32)
    rows, parts = Rows(X), streamed(X)
    chosen = grouped_plan(rows, 70)

    def keeps(rows, plan, **how):
        run = Pass(rows, 70, plan, **how)
        run.assign(X[:70].astype(np.float64))
        return run._grouped

    assert keeps(rows, chosen, bounds=True)
    assert not keeps(rows, chosen)
    assert not keeps(parts, chosen, bounds=True)
    assert not keeps(rows, dataclasses.replace(chosen, groups=0), bounds=True)


def test_groups_start_after_some_passes(monkeypatch):
    monkeypatch.setattr(passes, "GROUPS_AFTER", GROUPS_AFTER)
    rng = np.random.RandomState(0)
    X = clusters(rng, 2000, 40, 1.0).astype(np.float32)
    rows = Rows(X)
    run, spent = Pass(rows, 100, grouped_plan(rows, 100), bounds=True, sums=True), 0
    centers, started = X[:100].astype(np.float64), []
    for i in range(12):
        started.append(spent >= GROUPS_AFTER * 2000)
        before = run.labels.copy()
        fresh = Pass(rows, 100, hostile.plan_for(rows, 100), sums=True)
        fresh.assign_and_sum(centers)
        assert run.assign_and_sum(centers) == np.count_nonzero(before != fresh.labels)
        assert run._grouped == started[-1]
        assert np.array_equal(run.labels, fresh.labels)
        exact_sums.assert_same(run.sums, fresh.sums)
        spent += run.scored if i else 0
        centers = centers + 0.02 * rng.standard_normal(centers.shape)
    assert not started[1]
    assert started[-1]


def test_groups_that_would_skip_little_do_not_start(monkeypatch):
    monkeypatch.setattr(passes, "GROUPS_AFTER", GROUPS_AFTER)
    rng = np.random.RandomState(0)
    X = rng.standard_normal((2000, 40)).astype(np.float32)
    rows = Rows(X)
    run = Pass(rows, 100, grouped_plan(rows, 100), bounds=True, sums=True)
    centers = X[:100].astype(np.float64)
    for _ in range(10):
        run.assign_and_sum(centers)
        assert run._groups is None
        centers = centers + rng.standard_normal(centers.shape)


def test_what_a_sample_would_meet():
    rng = np.random.RandomState(0)
    X = clusters(rng, 500, 30, 1.0)
    centers = X[:96].copy()
    groups = Groups(500, 3, centers)
    moves = rng.uniform(0, 0.4, 96).astype(np.float32)
    gaps = np.sqrt(np.square(X[:, None] - centers).sum(axis=2))
    own = gaps.argmin(axis=1)
    met = 0
    for i, row in enumerate(gaps):
        for members in np.split(groups.order, 3):
            others = [row[j] for j in members if j != own[i]]
            met += min(others) - moves[members].max() <= row[own[i]] + moves[own[i]]
    assert abs(groups.expected(gaps.copy(), moves) - met / 1500) < 0.01
    assert 0.1 < met / 1500 < 0.95


def test_plans_say_why():
    how = {"n_threads": 1, "machine": hostile.machine_with("avx512")}
    large, small = plan(60_000, 768, 1024, **how), plan(60_000, 64, 256, **how)
    assert (large.groups, large.row_bytes) == (32, 12 + 128)
    assert "128 bytes per row" in large.reasons["groups"]
    assert f"{large.group_rows} rows are collected" in large.reasons["groups"]
    assert "140 bytes per row" in large.reasons["memory"]
    assert (small.groups, small.group_rows, small.row_bytes) == (0, 0, 12)
    assert "none" in small.reasons["groups"]
    assert plan(60_000, 768, 1024, groups=False, **how).groups == 0
    assert plan(60_000, 64, 256, groups=True, **how).groups == 8
    assert plan(60_000, 768, 1024, chunk_size=120, **how).group_rows == 120
    assert plan(60_000, 10, 9000, **how).groups == 0


def test_a_bad_row_is_named():
    X = np.random.RandomState(0).standard_normal((1000, 40))
    rows = Rows(X)
    for bad in (np.nan, np.inf):
        X[900, 2] = 0.5
        run = Pass(rows, 70, grouped_plan(rows, 70), bounds=True, sums=True)
        X[900, 2] = bad
        with pytest.raises(ValueError, match="row 900, column 2"):
            run.assign_and_sum(X[:70].copy())
