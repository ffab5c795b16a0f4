"""Fits that can be taken up again where they were interrupted."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from tilewise import algorithms, engine
from tilewise._files import replacing
from tilewise._json import loads
from tilewise._text import printable
from tilewise._version import __version__
from tilewise.sources import Archive, SourceError

#: Parameters that change how a fit runs and never what it finds.
WITHOUT_EFFECT = frozenset(
    ("chunk_size", "n_threads", "engine", "verbose", "copy_x", "algorithm", "memory_limit",
     "checkpoint", "compute_labels", "client", "device")
)  # fmt: skip


# Room for the parameters and the fingerprints of a hundred thousand files.
_MOST_IDENTITY_BYTES = 1 << 28

# What a saved state must hold, as type and shape: "i" is any whole number, "rows" the type of the
# rows, k and d are clusters and columns. The file may come from a stranger, or from a failing disk.
_RANDOM = {"{}_keys": ("u4", (624,)), "{}_rest": ("f8", (3,))}
_LLOYD = {
    "run": ("i", ()), "n_iter": ("i", ()), "centers": ("f8", ("k", "d")),
    "assigned": ("f8", ("k", "d")), "ended": ("U", ()),
    "best_centers": ("rows", ("k", "d")), "best_found": ("f8", (2,)),
    **{name.format(which): form for which in ("start", "random") for name, form in _RANDOM.items()},
}  # fmt: skip
# Of the runs before; the first one has none.
_BEST = {"best_centers", "best_found"}
_MINIBATCH = {
    "steps": ("i", ()), "centers": ("f8", ("k", "d")), "counts": ("f8", ("k",)),
    "since_reassigned": ("i", ()), "smoothed": ("f8", ()), "least": ("f8", ()),
    "worse": ("i", ()), "inertia": ("f8", ()), "ended": ("b", ()),
    **{name.format("random"): form for name, form in _RANDOM.items()},
}  # fmt: skip
# Arrays of centres, which a file holds with all columns.
_CENTERS = {"centers", "assigned", "best_centers"}
# There is none yet, and NaN says so.
_MAY_BE_NAN = {"smoothed", "least"}
_ENDINGS = ("", "strict", "tol", "stopped")
_MOST = 1 << 62


class Checkpoint:
    """State of a fit in a file; it is there as long as the fit is not finished.

    Parameters
    ----------
    path : str or path-like
    identity : dict
        What a state must have been saved for: estimator, parameters, data, weights.
    forms : dict of str to tuple
        Arrays that a state must hold, each with type and shape; see `forms_of`.
    limits : dict of str to int
        What whole numbers of a state are at most.
    columns : Columns
        Those that the fit computes with; a file has all.
    """

    def __init__(self, path, identity, forms, limits, columns):
        self.path = Path(path)
        self._forms, self._limits = forms, limits
        self._identity = json.loads(json.dumps(identity, default=str))
        self._columns = columns
        self.saved = self._load()
        if self.saved is not None:
            self.saved |= {n: columns.values(self.saved[n]) for n in _CENTERS & self.saved.keys()}

    def _load(self):
        """The arrays of the saved state by name, or None where none was saved.

        Raises ValueError if the file holds something else, and says what differs.
        """
        try:
            with Archive(self.path) as archive:
                self._check_identity(archive)
                without_best = _BEST.isdisjoint(archive.names)
                wanted = [n for n in self._forms if not (without_best and n in _BEST)]
                for name in wanted:
                    _check_form(name, archive.header(name), *self._forms[name])
                found = {name: archive.read(name) for name in wanted}
            _check_values(found, self._limits)
        except FileNotFoundError:
            return None
        except AnotherFit as error:
            raise ValueError(printable(error)) from None
        except (SourceError, ValueError, IsADirectoryError) as error:
            raise ValueError(
                printable(
                    f"checkpoint {self.path} is no checkpoint of tilewise: remove it or name "
                    f"another file ({error})"
                )
            ) from error
        return found

    def _check_identity(self, archive):
        header = archive.header("identity")
        if header.dtype.kind != "U" or header.shape or header.dtype.itemsize > _MOST_IDENTITY_BYTES:
            raise ValueError("what it was saved for is not a text")
        identity = loads(str(archive.read("identity")))
        if not isinstance(identity, dict):
            raise ValueError("what it was saved for is no object of JSON")
        differing = sorted(_differences(identity, self._identity))
        if differing:
            raise AnotherFit(
                f"checkpoint {self.path} was written by another fit: {'; '.join(differing)}. Fit "
                "with the same parameters and data, remove the file, or name another one."
            )

    def write(self, **arrays):
        """Replace the saved state."""
        arrays |= {name: self._columns.undone(arrays[name]) for name in _CENTERS & arrays.keys()}
        with replacing(self.path, "the checkpoint") as file:
            np.savez(file, identity=np.array(json.dumps(self._identity)), **arrays)

    def remove(self):
        """Forget the state: the fit is finished."""
        self.path.unlink(missing_ok=True)


class AnotherFit(Exception):
    """A state is in order, and of other data or parameters."""


def forms_of(estimator, rows):
    """Return the arrays that a state of an estimator holds, each with type and shape."""
    sizes = {"k": estimator.n_clusters, "d": rows.n_features}
    forms = _MINIBATCH if hasattr(estimator, "batch_size") else _LLOYD
    return {
        name: (
            rows.result_dtype.str if kind == "rows" else kind,
            tuple(sizes.get(n, n) for n in shape),
        )
        for name, (kind, shape) in forms.items()
    }


def _check_form(name, header, kind, shape):
    fits = header.dtype.kind == kind if len(kind) == 1 else header.dtype == np.dtype(kind)
    if not fits or header.shape != shape:
        raise ValueError(
            f"{name} is of dtype {header.dtype} and shape {header.shape}, where {shape} is expected"
        )


def _check_values(state, limits):
    """Raise ValueError where a state cannot have been saved by a fit."""
    for name, values in state.items():
        if name not in _MAY_BE_NAN and values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"{name} is not finite")
        if values.dtype.kind == "i" and not 0 <= values.min() <= values.max() <= limits.get(
            name, _MOST
        ):
            raise ValueError(f"{name} is out of range")
        if name.endswith("_rest") and (values[0] not in range(625) or values[1] not in (0, 1)):
            raise ValueError(f"{name} is no state of a generator")
    if "run" in state and str(state["ended"]) not in _ENDINGS:
        raise ValueError("it says of no iteration how it ended")


def _differences(saved, now, where=""):
    for name in sorted({*saved, *now}):
        a, b = saved.get(name), now.get(name)
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{where}{name}.")
        else:
            yield f"{where}{name} was {_short(a)} and is {_short(b)}"


def _short(value):
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def identity_of(estimator, rows, weights):
    """What must be equal for one fit to go on where another stopped."""
    parameters = {}
    for name, value in estimator.get_params(deep=False).items():
        if name in WITHOUT_EFFECT:
            continue
        if isinstance(value, np.random.RandomState):
            value = digest_of(value.get_state(legacy=True)[1])
        elif callable(value):
            value = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)}"
        elif not isinstance(value, str | int | float | bool | type(None)):
            value = digest_of(np.asarray(engine.on_host(value)))
        parameters[name] = value
    data = {"shape": [rows.n_rows, rows.n_features], "dtype": rows.result_dtype.name}
    data |= rows.fingerprint()
    return {
        "estimator": type(estimator).__name__,
        "tilewise": __version__,
        "parameters": parameters,
        "data": data,
        "sample_weight": None if weights is None else digest_of(engine.on_host(weights)),
    }


def digest_of(array):
    """A short text that tells arrays apart."""
    array = np.ascontiguousarray(array)
    said = f"{array.dtype}{array.shape}".encode()
    return hashlib.blake2b(said + array.tobytes(), digest_size=16).hexdigest()


def open_checkpoint(path, estimator, rows, weights, columns):
    """The checkpoint of this fit, or None where the estimator keeps none.

    `columns` are those of the rows that the fit computes with.
    """
    if path is None:
        return None
    if not Path(os.path.abspath(path)).parent.is_dir():
        raise ValueError(f"checkpoint={str(path)!r}: there is no such folder")
    limits = {"run": getattr(estimator, "_n_init", 1) - 1, "n_iter": estimator.max_iter}
    forms = forms_of(estimator, rows)
    return Checkpoint(path, identity_of(estimator, rows, weights), forms, limits, columns)


def pack_random(random_state, prefix="random"):
    """The state of a generator, as arrays."""
    _, keys, position, has_gauss, gauss = random_state.get_state(legacy=True)
    return {
        f"{prefix}_keys": keys,
        f"{prefix}_rest": np.array([position, has_gauss, gauss], dtype=np.float64),
    }


def unpack_random(random_state, arrays, prefix="random"):
    """Set a generator to a state that `pack_random` took down."""
    position, has_gauss, gauss = arrays[f"{prefix}_rest"]
    random_state.set_state(
        ("MT19937", arrays[f"{prefix}_keys"], int(position), int(has_gauss), float(gauss))
    )


def begin(kept, random_state):
    """The generator of a fit, as it was when the fit that is taken up again began."""
    if kept is None:
        return random_state
    if kept.saved is None:
        kept.start = pack_random(random_state, "start")
        return random_state
    if random_state is np.random.mtrand._rand:
        random_state = np.random.RandomState()
    unpack_random(random_state, kept.saved, "start")
    kept.start = {name: kept.saved[name] for name in ("start_keys", "start_rest")}
    return random_state


def keeper(kept, number, best, random_state):
    """What `algorithms.lloyd` calls after every iteration of run `number`."""
    if kept is None:
        return None
    fixed = {"run": np.array(number), **kept.start, **pack_random(random_state)}
    if best is not None:
        fixed |= {
            "best_centers": best.centers,
            "best_found": np.array([best.inertia, best.n_iter]),
        }
    return lambda state: kept.write(**fixed, **state.arrays())


def restored(kept, random_state):
    """Number of the saved run; centres, and inertia and iterations, of the best one before.

    The generator is set to where it was after that run had started.
    """
    saved = kept.saved
    unpack_random(random_state, saved)
    if "best_centers" not in saved:
        return int(saved["run"]), None, ()
    inertia, n_iter = saved["best_found"]
    return int(saved["run"]), saved["best_centers"], (float(inertia), int(n_iter))


def taken_up(kept, random_state):
    """Centres, generator and progress of a mini-batch fit where it was saved."""
    progress = algorithms.MiniBatchProgress.of(kept.saved)
    if random_state is np.random.mtrand._rand:
        random_state = np.random.RandomState()
    unpack_random(random_state, kept.saved)
    return progress.centers, random_state, progress


def step_keeper(kept, random_state):
    """What `algorithms.minibatch` calls when nothing is half read."""
    if kept is None:
        return None
    return lambda progress: kept.write(**pack_random(random_state), **progress.arrays())
