"""What goes wrong with arrays on a device: one sentence each, and nothing half done."""

import builtins
import gc
import re
import subprocess
import sys
import weakref

import numpy as np
import pytest
import scipy.sparse as sp
from device_cases import KINDS, ON_GPU, bits, in_memory, on_device, torch
from sklearn.base import clone

from tilewise import KMeans, MiniBatchKMeans, cuda, kmeans_plusplus
from tilewise.cuda import _arrays, _device, _entry, _passes

X = np.random.RandomState(0).standard_normal((30, 3))
HOW = {"init": X[:2], "n_init": 1, "max_iter": 2}
MODELS = [KMeans(2, **HOW), MiniBatchKMeans(2, **HOW, batch_size=20)]


def said(work, error):
    """The first line of an error."""
    with pytest.raises(error) as caught:
        work()
    return str(caught.value).partition("\n")[0]


# ---------------------------------------------------------------- shapes and values


def odd_shapes():
    yield "no rows", X[:0]
    yield "no columns", X[:, :0]
    yield "too few rows", X[:1]
    yield "one dimension", X[:, 0]
    yield "three dimensions", X[:, :, None]
    yield "a number", X[0, 0:1].reshape(())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "rows"), list(odd_shapes()), ids=lambda v: v if type(v) is str else ""
)
def test_shapes(name, rows, kind):
    given = on_device(np.asarray(rows), kind)
    for model in MODELS:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared with the CPU's
            clone(model).fit(given)
        with pytest.raises(ValueError) as wanted:  # noqa: PT011
            clone(model).fit(np.asarray(rows))
        found, wanted = str(caught.value), str(wanted.value)
        if rows.ndim == 2:
            assert found == wanted
        elif rows.ndim < 2:
            assert found.startswith("Expected 2D array, got ")
            assert "Reshape your data" in found
            assert "Reshape your data" in wanted
        else:
            assert found.startswith("Expected 2D array, got 3D array of shape (30, 3, 1)")


def test_columns_of_another_number():
    model = clone(MODELS[0]).fit(on_device(X))
    wanted = "X has 2 features, but KMeans is expecting 3 features as input"
    for rows in (X[:, :2], on_device(X[:, :2].copy())):
        for call in (model.predict, model.transform, model.score):
            with pytest.raises(ValueError, match=wanted):
                call(rows)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_that_are_not_finite_are_named(value, dtype):
    rows = X.astype(dtype)
    rows[17, 2] = rows[20, 1] = value
    trained = clone(MODELS[0]).fit(X)
    works = [
        lambda rows: clone(MODELS[0]).fit(rows),
        lambda rows: clone(MODELS[1]).set_params(tol=0.1).fit(rows),
        lambda rows: clone(MODELS[1]).partial_fit(rows),
        lambda rows: kmeans_plusplus(rows, 2),
        trained.predict,
        trained.transform,
        trained.score,
    ]
    for work in works:
        found = said(lambda work=work: work(on_device(rows)), ValueError)
        assert found == said(lambda work=work: work(rows), ValueError)
        assert "row 17, column 2" in found


def test_a_bad_value_that_is_drawn_is_named_by_its_own_row():
    rows = X.copy()
    rows[17, 2] = np.nan
    model = MiniBatchKMeans(2, init=X[:2], n_init=1, batch_size=30, random_state=0)
    found = said(lambda: clone(model).fit(on_device(rows)), ValueError)
    assert found == said(lambda: clone(model).fit(rows), ValueError)
    assert "row 17, column 2" in found


def bad_weights():
    ones = np.ones(len(X))
    yield "too many", np.ones(len(X) + 1)
    yield "zeros", ones * 0.0
    yield "nan", np.where(np.arange(len(X)) == 5, np.nan, ones)
    yield "inf", np.where(np.arange(len(X)) == 6, np.inf, ones)
    yield "two columns", np.ones((len(X), 2))
    yield "complex", ones + 1j


@pytest.mark.parametrize(
    ("name", "weights"), list(bad_weights()), ids=lambda v: v if type(v) is str else ""
)
def test_bad_weights(name, weights):
    for model in MODELS:
        wanted = said(lambda model=model: clone(model).fit(X, sample_weight=weights), ValueError)
        for own in (weights, on_device(weights)):
            found = said(
                lambda model=model, own=own: clone(model).fit(on_device(X), sample_weight=own),
                ValueError,
            )
            assert found == wanted


def test_negative_weights_are_refused_alike():
    weights = np.where(np.arange(len(X)) % 2, -1.0, 1.0)
    for model in (KMeans(2, random_state=0), MiniBatchKMeans(2, random_state=0)):
        found = said(
            lambda model=model: model.fit(on_device(X), sample_weight=on_device(weights)),
            ValueError,
        )
        assert found == said(lambda model=model: model.fit(X, sample_weight=weights), ValueError)


@pytest.mark.parametrize("start", [X[:3], X[:2, :2], np.full((2, 3), np.nan), X[0]])
def test_bad_starts(start):
    for rows in (X, on_device(X)):
        with pytest.raises(ValueError, match=r"initial centers|init|Expected 2D array"):
            KMeans(2, init=on_device(start), n_init=1).fit(rows)


# ---------------------------------------------------------------- kinds of arrays


@pytest.mark.parametrize("kind", KINDS)
def test_complex_numbers(kind):
    for model in MODELS:
        with pytest.raises(ValueError, match="Complex data not supported"):
            clone(model).fit(on_device(X + 1j, kind))


def test_sparse_tensors():
    for layout in (torch.Tensor.to_sparse, torch.Tensor.to_sparse_csr):
        with pytest.raises(TypeError, match=r"X, a torch.Tensor, is sparse: pass X.to_dense\(\)"):
            KMeans(2).fit(layout(on_device(X)))


def test_sparse_arrays_of_cupy():
    kind = type("csr_matrix", (), {"__module__": "cupyx.scipy.sparse._csr", "shape": (3, 2)})
    with pytest.raises(TypeError, match=r"is sparse: pass X.toarray\(\)"):
        KMeans(2).fit(kind())


def test_quantized_tensors():
    tensor = torch.quantize_per_tensor(torch.from_numpy(X.astype(np.float32)), 0.1, 0, torch.qint8)
    if ON_GPU:
        tensor = tensor.cuda()
    with pytest.raises(TypeError, match=r"is quantized: pass X.dequantize\(\)"):
        KMeans(2).fit(tensor)


def test_sparse_rows_in_memory_are_not_moved():
    for rows in (sp.csr_array(X), sp.coo_matrix(X)):
        with pytest.raises(ValueError, match=r"sparse rows have no place on a device"):
            KMeans(2, device="cuda").fit(rows)


def test_gradients_are_left_out():
    """As those of tensors in memory are."""
    tensor = on_device(X).requires_grad_()
    model = clone(MODELS[0]).fit(tensor)
    assert bits(model) == bits(clone(MODELS[0]).fit(X))
    assert not model.cluster_centers_.requires_grad
    assert not model.transform(tensor).requires_grad


def test_more_rows_than_32_bits_count():
    rows = on_device(X[:1, :1]).expand(2**31, 1)
    for work in (KMeans(2).fit, lambda X: kmeans_plusplus(X, 2)):
        assert "X has 2,147,483,648 rows, and a device takes up to 2,147,483,647" in said(
            lambda work=work: work(rows), ValueError
        )


def test_weights_on_another_device():
    """Tensors without memory stand for those of a device that is not there."""
    _arrays.DEVICE_TYPES.add("meta")
    try:
        weights = torch.ones(len(X), device="meta")
        for model in MODELS:
            found = said(
                lambda model=model: clone(model).fit(on_device(X), sample_weight=weights),
                ValueError,
            )
            assert re.match(r"sample_weight lies on meta and X on (cpu|cuda:0): move one", found)
    finally:
        _arrays.DEVICE_TYPES.discard("meta")


# ---------------------------------------------------------------- devices


@pytest.fixture
def no_device(monkeypatch):
    monkeypatch.setattr(_arrays, "DEVICE_TYPES", {"cuda"})
    monkeypatch.setattr(_device, "DEVICE_TYPES", {"cuda"})


def test_torch_without_cuda(no_device, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    for work in (KMeans(2, device="cuda").fit, lambda X: kmeans_plusplus(X, 2, device="cuda")):
        found = said(lambda work=work: work(X), RuntimeError)
        assert found.startswith("device='cuda' needs torch with CUDA, and torch 2.")


def test_no_driver(no_device, monkeypatch):
    def missing():
        raise RuntimeError("Found no NVIDIA driver on your system.\nPlease check.")

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", missing)
    found = said(lambda: KMeans(2, device="cuda").fit(X), RuntimeError)
    assert found == (
        "device='cuda' needs a GPU and its driver: Found no NVIDIA driver on your system."
    )


def test_a_device_that_is_too_old(monkeypatch):
    monkeypatch.setattr(_device, "_checked", set())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr(torch.version, "hip", None)
    device = torch.device("cuda", 0)
    found = said(lambda: _device.check_device(device), RuntimeError)
    assert found == (
        "cuda:0, Tesla T4, has compute capability 7.5; 8.0 or more is needed: pass device='cpu'"
    )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    _device.check_device(device)


@pytest.mark.parametrize("missing", ["torch", "triton"])
def test_the_extra_is_not_installed(missing, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    entry = _entry.Entry()
    for name in [name for name in sys.modules if name.startswith("tilewise.cuda._")]:
        if name not in ("tilewise.cuda._entry", "tilewise.cuda._arrays"):
            # The package gets its modules back as well, after others were imported in between.
            monkeypatch.setattr(cuda, name.rpartition(".")[2], sys.modules[name])
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    found = said(entry._loaded, ImportError)
    assert found == (
        f"arrays on a device need torch and triton, and {missing} is not installed; run: "
        'pip install "tilewise[cuda]"'
    )


def test_nothing_is_imported_before_it_is_needed():
    code = (
        "import sys, numpy, tilewise; X = numpy.eye(4); "
        "tilewise.KMeans(2, n_init=1).fit(X).predict(X); "
        "assert not {'torch', 'triton', 'cupy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_tensors_in_memory_are_arrays_in_memory(no_device):
    """What people without a device have always had."""
    model = clone(MODELS[0]).fit(torch.from_numpy(X))
    assert type(model.labels_) is type(model.cluster_centers_) is np.ndarray
    assert type(model.predict(torch.from_numpy(X))) is np.ndarray


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_out_of_memory(model, monkeypatch):
    trained = clone(model).fit(on_device(X))
    before = dict(vars(trained))
    kept = []

    def full(self, *args, **how):
        taken = torch.zeros(1000)
        kept.append(weakref.ref(taken))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    monkeypatch.setattr(_device, "memory_of", lambda device: (1234, 5678))
    for name in ("assign", "assign_and_sum", "assign_and_measure"):
        monkeypatch.setattr(_passes.DevicePass, name, full)
    calls = [
        lambda: trained.fit(on_device(X[::-1].copy())),
        lambda: trained.predict(on_device(X)),
        lambda: trained.score(on_device(X)),
    ]
    for call in calls:
        with pytest.raises(MemoryError) as caught:
            call()
        assert re.fullmatch(
            r"out of memory on (cpu|cuda:0): 2.00 GiB more were needed, and 1,234 of 5,678 bytes "
            r"are free; pass fewer rows, or device='cpu'", str(caught.value),
        )  # fmt: skip
        gc.collect()
        # The error is still there, and holds on to nothing.
        assert kept.pop()() is None
        assert caught.value.__traceback__ is not None
    assert all(vars(trained)[name] is value for name, value in before.items())


def test_other_errors_pass(monkeypatch):
    def broken(self, *args, **how):
        raise RuntimeError("something else")

    monkeypatch.setattr(_passes.DevicePass, "assign_and_sum", broken)
    with pytest.raises(RuntimeError, match="something else"):
        clone(MODELS[0]).fit(on_device(X))


@pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
def test_memory_is_given_back():
    rows = torch.rand((4_000_000, 4), device="cuda")
    clone(MODELS[0]).set_params(init=np.eye(2, 4)).fit(rows[:1000])
    torch.cuda.empty_cache()
    before, total = torch.cuda.memory_allocated(), torch.cuda.mem_get_info()[1]
    # Room for a part of what a fit needs.
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 32 * 2**20) / total)
    try:
        with pytest.raises(MemoryError, match="more were needed"):
            KMeans(2, init=np.eye(2, 4), n_init=1).fit(rows)
        assert torch.cuda.memory_allocated() == before
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert len(KMeans(2, init=np.eye(2, 4), n_init=1, max_iter=2).fit(rows).labels_) == len(rows)


def test_a_fit_after_errors():
    assert in_memory(clone(MODELS[0]).fit(on_device(X)).labels_).tolist() == (
        clone(MODELS[0]).fit(X).labels_.tolist()
    )
