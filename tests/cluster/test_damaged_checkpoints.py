"""State files from failing disks and strangers: refused by name, and the fit is as it was."""

import damage
import numpy as np
import pytest
from stream_data import clouds

from tilewise import KMeans, MiniBatchKMeans
from tilewise.cluster import _checkpoint

X = clouds(400, 3)
MODELS = {
    "KMeans": KMeans(4, random_state=0, n_init=2, init="random", max_iter=5, tol=0),
    "MiniBatchKMeans": MiniBatchKMeans(4, random_state=0, batch_size=100, max_iter=5),
}


class Stopped(Exception):
    """Raised in place of an interrupt."""


def state_of(kind, path, monkeypatch, writes=6):
    """A model, and a file of its state after so many writes."""
    write, written = _checkpoint.Checkpoint.write, []

    def watched(self, **arrays):
        write(self, **arrays)
        written.append(1)
        if len(written) == writes:
            raise Stopped

    model = MODELS[kind].set_params(checkpoint=path)
    with monkeypatch.context() as patch:
        patch.setattr(_checkpoint.Checkpoint, "write", watched)
        with pytest.raises(Stopped):
            model.fit(X)
    return model


@pytest.fixture(params=[("KMeans", 2), ("KMeans", 7), ("MiniBatchKMeans", 2)])
def interrupted(request, tmp_path, monkeypatch):
    kind, writes = request.param
    return state_of(kind, tmp_path / "state.npz", monkeypatch, writes), tmp_path / "state.npz"


def test_a_good_state_is_taken_up(interrupted):
    model, path = interrupted
    whole = MODELS[type(model).__name__].set_params(checkpoint=None).fit(X).cluster_centers_.copy()
    model.set_params(checkpoint=path)
    np.testing.assert_array_equal(model.fit(X).cluster_centers_, whole)
    assert not path.exists()


def test_damage_anywhere(interrupted):
    model, path = interrupted
    good, refused = path.read_bytes(), 0
    for seed in range(40):
        path.write_bytes(damage.damaged(good, seed))
        error = None
        try:
            model.fit(X)
        except ValueError as raised:
            error = str(raised)
        if error is not None:
            refused += 1
            assert str(path) in error
            assert "is no checkpoint of tilewise" in error
            assert path.exists()
    assert refused > 15


def spoilt(name, array):
    """Other arrays that stand in the place of one, none of which can be right."""
    yield None
    yield np.array("x")
    yield np.ones((2, 2, 2))
    if array.dtype.kind == "f":
        yield array.astype("f2")
        yield array.astype(array.dtype.newbyteorder())
        if name not in ("smoothed", "least"):
            yield np.full_like(array, np.nan)
            yield np.full_like(array, np.inf)
    if array.dtype.kind == "i":
        yield np.full_like(array, -1)
        yield array.astype("f8")
    if array.ndim:
        yield array[..., :-1]
    if name in ("run", "n_iter"):
        yield np.full_like(array, 2**40)
    if name.endswith("_rest"):
        yield np.array([700.0, 0, 0])
        yield np.array([1.5, 0, 0])
        yield np.array([1.0, 2, 0])


def test_every_array_is_checked(interrupted):
    model, path = interrupted
    with np.load(path) as archive:
        good = dict(archive)
    assert len(good) > 8
    for name, array in good.items():
        for other in spoilt(name, array):
            if name == "identity" and other is not None and other.dtype.kind == "U":
                continue  # tried below
            members = {**good, name: other}
            if other is None:
                del members[name]
            np.savez(path, **members)
            with pytest.raises(ValueError, match="is no checkpoint of tilewise"):
                model.fit(X)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "NaN", "[" * 50_000, '{"a": 1e999}'])
def test_identities_that_are_none(interrupted, text):
    model, path = interrupted
    with np.load(path) as archive:
        members = dict(archive) | {"identity": np.array(text)}
    np.savez(path, **members)
    with pytest.raises(ValueError, match="is no checkpoint of tilewise"):
        model.fit(X)


def test_what_another_fit_is_called_is_printable(interrupted):
    model, path = interrupted
    with np.load(path) as archive:
        members = dict(archive) | {"identity": np.array('{"\\u001b[2J\\n": 1, "\\u202e": {}}')}
    np.savez(path, **members)
    with pytest.raises(ValueError, match="was written by another fit") as caught:
        model.fit(X)
    assert str(caught.value).isprintable()


def test_objects_are_not_unpickled(interrupted, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path / "exploded").mkdir, ()

    model, path = interrupted
    with np.load(path) as archive:
        good = dict(archive)
    for name in good:
        np.savez(path, **good | {name: np.array(Bomb(), object)})
        with pytest.raises(ValueError, match="is no checkpoint of tilewise"):
            model.fit(X)
    assert not (tmp_path / "exploded").exists()


def test_numbers_of_numpy_are_parameters_like_others(tmp_path, monkeypatch):
    odd = KMeans(np.int64(4), random_state=0, n_init=np.int64(2), init="random",
                 max_iter=np.int64(5))  # fmt: skip
    monkeypatch.setitem(MODELS, "odd", odd)
    state_of("odd", tmp_path / "s.npz", monkeypatch, 1)
    assert odd.fit(X).n_iter_ <= 5
    assert not (tmp_path / "s.npz").exists()
