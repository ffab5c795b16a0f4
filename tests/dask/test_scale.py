"""A thousand workers, simulated: what a pass asks of the client, the scheduler and each worker.

No cluster and no rows: a client that runs every task at once and writes down where it would run,
what it would fetch from whom, and what a scheduler would still know of it. Steps over parts have
a known answer; handing on, merging and placing are those of real fits.
"""

import collections
import math
import pickle
import weakref

import numpy as np
import pytest

from tilewise import engine
from tilewise import plan as plan_of
from tilewise.dask import _part, _passes, _pieces, _rows, _wire

K, D = 80, 40
BLOCK = K * D * 8
PIECES = 2  # of each worker, with a row each
SIZES = [1, 2, 4, 5, 8, 9, 64, 65, 100, 1000]


class Task:
    """What a scheduler knows of a task, as long as anybody needs it or what follows from it."""

    def __init__(self, key, dependencies, value, worker, spec_bytes):
        self.key, self.dependencies, self.value = key, dependencies, value
        self.name = key.split("-")[1]
        self.holders = [worker]
        self.spec_bytes = spec_bytes


class Future:
    """What a client holds of a task."""

    status = "finished"

    def __init__(self, task):
        self.task, self.key = task, task.key


class Client:
    """Runs tasks when they are submitted; `take` tells what was done since it was last asked."""

    def __init__(self, n_workers):
        self.workers = {f"w{i:04}": 1 for i in range(n_workers)}
        self.futures, self.known = weakref.WeakSet(), weakref.WeakSet()
        self._clear()

    def _clear(self):
        self.tasks, self.moves, self.calls = [], [], collections.Counter()

    def take(self):
        found = self.tasks, self.moves, self.calls
        self._clear()
        return found

    def nthreads(self):
        self.calls["nthreads"] += 1
        return dict(self.workers)

    def who_has(self, futures):
        self.calls["who_has"] += 1
        return {f.key: [w for w in f.task.holders if w in self.workers] for f in futures}

    def submit(self, function, *args, pure, key, workers=None, allow_other_workers=True):
        assert not pure
        assert allow_other_workers  # strict places hang when a worker is lost
        tasks = [arg.task for arg in args if isinstance(arg, Future)]
        worker = workers[0] if workers else self._where(tasks)
        for task in tasks:
            if worker not in task.holders:
                self.moves.append((task.name, task.holders[0], worker, size_of(task.value)))
                task.holders.append(worker)
        spec = [arg.key if isinstance(arg, Future) else arg for arg in args]
        value = function(*(arg.task.value if isinstance(arg, Future) else arg for arg in args))
        task = Task(key, tasks, value, worker, len(pickle.dumps((function.__name__, spec))))
        future = Future(task)
        self.known.add(task)
        self.futures.add(future)
        self.tasks.append(task)
        return future

    def gather(self, futures):
        self.calls["gather"] += 1
        for future in futures:
            task = future.task
            self.moves.append((task.name, task.holders[0], "client", size_of(task.value)))
        return [future.task.value for future in futures]

    def _where(self, tasks):
        """Where most of what is needed lies, as a scheduler has it."""
        held = collections.Counter()
        for task in tasks:
            for worker in task.holders:
                if worker in self.workers:
                    held[worker] += size_of(task.value)
        return max(held, key=held.get) if held else next(iter(self.workers))

    def leave(self, worker):
        """Lose a worker and what it holds."""
        del self.workers[worker]


def size_of(value):
    """Bytes of a value on its way."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, _part.Answer):
        return sum(array.nbytes for array in value.sums.values())
    return len(pickle.dumps(value))


class Simulated:
    """Passes over fake parts; `answer` is what each of them says."""

    def __init__(self, n_workers, monkeypatch):
        self.n, self.client = n_workers, Client(n_workers)
        X = np.random.default_rng(0).normal(size=(n_workers * PIECES, D)).astype(np.float32)
        self.plan = plan_of(len(X), D, K, "float32", n_threads=1)
        stats = engine.column_stats(engine.Rows(X), self.plan)
        futures = []
        for i, own in enumerate(X):
            worker = f"w{i // PIECES:04}"
            task = Task(f"x-piece-{i}", [], _pieces.Piece(own[None], True), worker, 200)
            futures.append(Future(task))
        self.rows = _rows.ClusterRows(self.client, futures, [1] * len(X), D, np.float32)
        self.run = _passes.ClusterPass(self.rows, K, self.plan, sums=True, stats=stats)
        self.start = self.client.take()
        # Two rows in different clusters.
        sums = _wire.open_sums(self.run._job, self.plan)
        one = engine.Pass(engine.Rows(X[:2]), K, self.plan, sums=sums)
        one.assign_and_sum(np.concatenate([X[:2].astype(np.float64), np.full((K - 2, D), 1e3)]))
        packed = _wire.pack(sums, D)
        sent = sum(array.nbytes for array in packed.values())
        self.answer = _part.Answer(3, packed, 0.5, 1, sent)
        self.members = sums.members.copy()
        self.values = sums.values.copy()
        answer, k, isa = self.answer, K, self.plan.isa

        def step(part, job, previous, centers, number):
            assert len(part.pieces) >= 1
            assert job["n_clusters"] == k
            assert number == 0 or previous[0, 0] == number - 1
            assert centers[0, 0] == number
            return answer

        def conclude(part, job, centers):
            labels = [np.zeros(len(piece), dtype=np.int32) for piece in part.pieces]
            return _part.Concluded(labels, engine.Bins(isa).state, np.ones(k, dtype=bool))

        monkeypatch.setattr(_part, "step", step)
        monkeypatch.setattr(_part, "conclude", conclude)
        monkeypatch.setattr(_rows, "_LOOK_SECONDS", -1.0)  # workers are counted in every pass
        self.number = 0

    def one_pass(self):
        """Another pass; its tasks, moves and calls."""
        centers = np.zeros((K, D))
        centers[0, 0] = self.number
        self.number += 1
        self.run.assign_and_sum(centers)
        return self.client.take()


@pytest.fixture
def simulated(monkeypatch):
    return lambda n_workers: Simulated(n_workers, monkeypatch)


def count(tasks, name):
    return sum(task.name == name for task in tasks)


def levels(n):
    """Levels of a tree of so many leaves."""
    return max(1, math.ceil(math.log(n, _rows.FAN)))


def longest(tasks, name):
    """Tasks of this name on the longest way to any."""
    depth = {}
    for task in tasks:  # in the order in which they were submitted
        behind = max((depth.get(own, 0) for own in task.dependencies), default=0)
        depth[task] = behind + (task.name == name)
    return max(depth.values())


@pytest.mark.parametrize("n", SIZES)
def test_sums_of_all_parts(simulated, n):
    """Merging in trees leaves nothing out and takes nothing twice."""
    fit = simulated(n)
    for _ in range(2):
        fit.one_pass()
        sums = fit.run._sums
        assert np.array_equal(sums.members, n * fit.members)
        assert np.allclose(sums.values, n * fit.values, rtol=1e-14)
        assert fit.run.changed == 3 * n
    report = fit.rows.report
    assert report.restored == 2 * n
    assert report.seconds_computing == [0.5, 0.5]
    assert (report.parts, report.workers) == (n, n)
    assert report.bytes_up == 2 * n * fit.answer.sent
    assert report.bytes_down == 2 * n * BLOCK


@pytest.mark.parametrize("n", SIZES)
def test_tasks_and_depth(simulated, n):
    fit = simulated(n)
    for _ in range(3):
        tasks, _, calls = fit.one_pass()
        inner = n / (_rows.FAN - 1) + levels(n)
        assert count(tasks, "step") == n
        assert count(tasks, "centres") <= 1 + inner
        assert count(tasks, "merge_steps") <= inner
        assert len(tasks) == sum(count(tasks, own) for own in ("step", "centres", "merge_steps"))
        assert longest(tasks, "centres") <= levels(n)
        assert longest(tasks, "merge_steps") <= levels(n)
        # Round trips do not grow with the workers.
        assert calls == {"nthreads": 1, "gather": 1}
    if n <= _rows.FAN // 2:
        assert len(tasks) == n + 1


@pytest.mark.parametrize("n", SIZES)
def test_nobody_serves_many(simulated, n):
    """Of each result there are few readers, and the client has few to read."""
    fit = simulated(n)
    for number in range(3):
        tasks, moves, _ = fit.one_pass()
        readers = collections.Counter(own for task in tasks for own in task.dependencies)
        for task, found in readers.items():
            if task.name == "job":  # the merging of its group reads it too
                assert found <= _rows.FAN + levels(n)
            elif task.name != "part":
                # Steps read the centres of their pass and of the pass before.
                assert found <= _rows.FAN
        to_client = [move for move in moves if move[2] == "client"]
        assert len(to_client) <= max(1, _rows.FAN // 2)
        sent = collections.Counter()
        for name, source, _, size in moves:
            if name != "job":
                sent[source] += size
        # A worker may stand on every level of the tree, and the root's worker hands it on too.
        assert max(sent.values()) <= (levels(n) * _rows.FAN + 2) * max(BLOCK, fit.answer.sent)
        if number:
            assert not [move for move in moves if move[0] == "part"]


@pytest.mark.parametrize("n", SIZES)
def test_bytes_of_a_worker(simulated, n):
    """Centres come once to every worker, and one block of sums leaves it."""
    fit = simulated(n)
    fit.one_pass()
    _, moves, _ = fit.one_pass()
    down = collections.Counter(to for name, _, to, _ in moves if name == "centres")
    inner = n / (_rows.FAN - 1) + levels(n)
    # Who hands centres on holds them once more, under the name that it hands on.
    assert sum(down.values()) <= n + inner
    up = [size for name, *_, size in moves if name in ("step", "merge_steps")]
    assert sum(up) <= (n + inner) * fit.answer.sent
    assert (sum(down.values()) * BLOCK + sum(up)) / n <= 3 * BLOCK * (1 + 2 / (_rows.FAN - 1))
    assert fit.answer.sent <= 2 * BLOCK + 32 * K


@pytest.mark.parametrize("n", SIZES)
def test_nothing_accumulates(simulated, n):
    fit = simulated(n)
    held = []
    for _ in range(6):
        fit.one_pass()
        held.append((len(fit.client.futures), len(fit.client.known)))
    assert len(set(held[1:])) == 1
    # Parts, the job, the centres and the centres before.
    tree = 1 + n / (_rows.FAN - 1) + levels(n)
    assert held[-1][0] <= n + 3 * tree
    assert held[-1][1] <= n + 3 * tree


@pytest.mark.parametrize("n", SIZES)
def test_what_the_scheduler_holds(simulated, n):
    """No array is in a task but in that of the centres, once; the rest is a few bytes a task."""
    fit = simulated(n)
    for _ in range(3):
        tasks, _, _ = fit.one_pass()
        large = [task for task in tasks if task.spec_bytes >= BLOCK]
        assert [task.name for task in large] == ["centres"]
        assert large[0].spec_bytes <= BLOCK + 500
        assert all(task.spec_bytes <= 800 for task in tasks if task is not large[0])
    total = sum(task.spec_bytes for task in fit.client.known)
    job = len(pickle.dumps(fit.run._job))
    assert total <= 2 * BLOCK + job + 400 * (2 * n + 10)


def test_start_and_end(simulated):
    """Once a fit each: parts are placed where they lie, the job is handed on as centres are."""
    fit = simulated(1000)
    tasks, moves, calls = fit.start
    assert count(tasks, "part") == 1000
    assert count(tasks, "job") <= 1 + 1000 / 7 + levels(1000)
    assert not [move for move in moves if move[0] == "piece"]
    assert calls == {"nthreads": 1, "who_has": 1}
    fit.one_pass()
    fit.run.assign_and_measure(np.zeros((K, D)))
    tasks, moves, _ = fit.client.take()
    assert count(tasks, "conclude") == 1000
    to_client = [size for *_, to, size in moves if to == "client"]
    assert max(to_client) <= 1000 + K


@pytest.mark.parametrize("n", SIZES)
def test_rows_for_empty_clusters(simulated, n, monkeypatch):
    """Each part offers as many as are wanted; that many come to the client, from few tasks."""
    gaps = np.random.default_rng(1).permutation(3 * n).reshape(n, 3) // 2  # some are equal
    firsts = iter(range(n))

    def farthest(part, job, previous, centers, number, count):
        i = next(firsts)
        order = np.argsort(-gaps[i], kind="stable")
        ids = 3 * i + order
        rows = np.repeat(ids[:, None], D, axis=1).astype(np.float64)
        return gaps[i][order].astype(float), ids, ids % K, ids + 0.5, rows

    monkeypatch.setattr(_part, "farthest", farthest)
    fit = simulated(n)
    fit.one_pass()
    found = fit.run.farthest(np.zeros((K, D)), 3)
    flat = gaps.ravel()
    assert found.tolist() == np.lexsort((np.arange(3 * n), -flat))[:3].tolist()
    for row in found:
        label, weight, values = fit.run._far[row]
        assert (label, weight) == (row % K, row + 0.5)
        assert (values == row).all()
    tasks, moves, _ = fit.client.take()
    assert count(tasks, "merge_farthest") <= n / (_rows.FAN - 1) + levels(n)
    assert sum(move[2] == "client" for move in moves) <= max(1, _rows.FAN // 2)


@pytest.mark.parametrize("n", [2, 9, 1000])
def test_workers_that_leave_and_join_move_little(simulated, n):
    fit = simulated(n)
    fit.one_pass()
    fit.client.leave("w0000")
    tasks, _, calls = fit.one_pass()
    assert calls == {"nthreads": 1, "who_has": 1, "gather": 1}
    assert 1 <= count(tasks, "part") <= PIECES
    assert fit.rows.report.workers == n - 1
    tasks, _, calls = fit.one_pass()
    assert count(tasks, "part") == 0
    assert calls == {"nthreads": 1, "gather": 1}
    fit.client.workers["z"] = 1
    tasks, _, _ = fit.one_pass()
    assert count(tasks, "part") <= 1 + PIECES


def test_pieces_that_lie_nowhere_are_spread_evenly(simulated):
    """Ten thousand of them over a thousand workers."""
    fit = simulated(1000)
    sizes = np.random.default_rng(0).integers(50, 150, 10_000)
    futures = [Future(Task(f"x-piece-{i}", [], None, "gone", 200)) for i in range(len(sizes))]
    rows = _rows.ClusterRows(fit.client, futures, [int(size) for size in sizes], D, np.float32)
    shares = rows._shares(sorted(fit.client.workers), [])
    assert sorted(i for own in shares.values() for i in own) == list(range(len(sizes)))
    loads = [sizes[list(own)].sum() for own in shares.values()]
    assert max(loads) <= 1.1 * sizes.sum() / 1000


@pytest.mark.parametrize(
    ("n", "k", "d", "inside"), [(2, 5, 2, True), (1000, 5, 2, True), (2, 80, 20, True),
                                (1000, 80, 20, False)],
)  # fmt: skip
def test_small_centres_are_in_the_tasks(simulated, monkeypatch, n, k, d, inside):
    """As long as all of them together are small."""
    monkeypatch.setitem(globals(), "K", k)
    monkeypatch.setitem(globals(), "D", d)
    fit = simulated(n)
    fit.one_pass()
    tasks, _, _ = fit.one_pass()
    assert (count(tasks, "centres") == 0) == inside
    # Each step has its centres and those before.
    most = 2 * _passes._INLINE_IN_ALL if inside else k * d * 8
    assert sum(task.spec_bytes for task in tasks) <= most + 800 * len(tasks)
    assert np.array_equal(fit.run._sums.members, n * fit.members)
