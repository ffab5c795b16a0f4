"""Models of tilewise.dask and arrays on a device: what is computed in this process takes them."""

import numpy as np
import pytest
from device_cases import bits, in_memory, kind_of, on_device

import tilewise

pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")
KMeans, MiniBatchKMeans = (
    getattr(pytest.importorskip("tilewise.dask"), name) for name in ("KMeans", "MiniBatchKMeans")
)

X = np.random.RandomState(0).standard_normal((24, 3))


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
def test_the_workers_compute_on_their_processors(kind):
    model = kind(2)
    assert "device" not in model.get_params()
    assert model.device == "auto"
    with pytest.raises(TypeError, match="device"):
        kind(2, device="cuda")
    assert model.to_local().device == "auto"


def test_batches_on_a_device():
    model = MiniBatchKMeans(2, init=X[:2], n_init=1, random_state=0).partial_fit(on_device(X))
    wanted = tilewise.MiniBatchKMeans(2, init=X[:2], n_init=1, random_state=0).partial_fit(X)
    assert bits(model) == bits(wanted)
    assert kind_of(model.labels_) == kind_of(model.predict(on_device(X))) == "torch"
    assert in_memory(model.predict(on_device(X))).tolist() == wanted.labels_.tolist()
    assert model.score(on_device(X)) == wanted.score(X)


def test_a_fit_wants_a_collection():
    with distributed.Client(processes=False, n_workers=1, dashboard_address=None) as client:
        with pytest.raises((TypeError, ValueError), match="dask array"):
            KMeans(2, client=client).fit(on_device(X))
