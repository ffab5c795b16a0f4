"""Models for exported C, compilers that are there, and programs made of both."""

import ctypes
import functools
import shutil
import subprocess
from typing import NamedTuple

import hostile
import numpy as np
import pytest
import reference
from sklearn.datasets import load_digits, load_sample_image

from tilewise import KMeans
from tilewise.export import to_c

WARNINGS = ["-Wall", "-Wextra", "-pedantic", "-Werror"]
LEVELS = ("-O0", "-O2", "-O3 -march=native", "-Os")
#: Compiler and standard.
COMPILERS = {
    "gcc": "-std=c99",
    "g++": "-std=c++11",
    "clang": "-std=c99",
    "clang++": "-std=c++11",
    # Where contraction is allowed: not in strict C99.
    "gcc gnu": "-std=gnu17 -ffp-contract=fast",
    "clang fast": "-std=gnu17 -ffp-contract=fast",
}


class Case(NamedTuple):
    """A model and the rows that its header is asked about.

    ``X`` is (n, d) of the header's type.
    """

    model: KMeans
    X: np.ndarray
    rows: str | None = None

    @property
    def centers(self):
        """As they are fitted, (k, d)."""
        return self.model.cluster_centers_


def with_centers(centers):
    """A fitted model that has these centres, of float32 or float64."""
    centers = np.ascontiguousarray(centers)
    model = KMeans(1, n_init=1, max_iter=1, random_state=0).fit(np.eye(2, centers.shape[1]))
    model.cluster_centers_ = centers
    model.n_clusters = len(centers)
    del model.labels_  # of other centres
    return model


def _hostile(kind, dtype, d, k, n=160):
    X, centers = hostile.make(kind, np.random.RandomState(7), n, d, k, dtype)
    return Case(with_centers(centers.astype(dtype)), X)


def _digits(dtype):
    X = load_digits().data.astype(dtype)
    return Case(KMeans(10, n_init=1, random_state=0).fit(X), X[::3].copy())


@functools.cache
def _photograph():
    pytest.importorskip("PIL", reason="Pillow is missing: it reads scikit-learn's photograph")
    return load_sample_image("china.jpg")


def patches(size=8, step=23):
    """Square patches of the photograph, one a row, as bytes."""
    image = _photograph()
    height, width, _ = image.shape
    return np.array(
        [
            image[i : i + size, j : j + size].ravel()
            for i in range(0, height - size, step)
            for j in range(0, width - size, step)
        ]
    )


def _patches(dtype):
    X = patches().astype(dtype)
    return Case(KMeans(24, n_init=1, max_iter=5, random_state=0).fit(X), X)


def _offset(dtype, offset):
    """Rows midway between two centres far from the origin, and some units aside."""
    rng = np.random.RandomState(3)
    centers = (rng.standard_normal((16, 16)) + offset).astype(dtype)
    a, b = rng.randint(16, size=(2, 300))
    X = (centers[a].astype(np.float64) + centers[b]) / 2
    X[::3] += rng.standard_normal(X[::3].shape)
    return Case(with_centers(centers), X.astype(dtype))


def _almost_ties(dtype, d, k, scale=1.0, n=5000):
    """Rows midway between two centres, rounded: distances differ in the last digits alone."""
    rng = np.random.RandomState(d)
    centers = rng.standard_normal((k, d)).astype(dtype)
    a, b = rng.randint(k, size=(2, n))
    X = ((centers[a].astype(np.float64) + centers[b]) / 2).astype(dtype)
    # Some columns move by a unit in the last place.
    moved = np.nextafter(X, rng.choice([-9, 9], X.shape).astype(dtype))
    X = np.where(rng.uniform(size=X.shape) < 0.1, moved, X)
    return _times(Case(with_centers(centers), X), dtype(scale))


def _mixed_sizes(low, high):
    """Some rows and centres that are far larger than the others."""
    rng = np.random.RandomState(1)
    centers = rng.standard_normal((8, 5)) * low
    centers[3:6] *= high / low
    X = np.vstack([rng.standard_normal((150, 5)) * high, rng.standard_normal((50, 5)) * low])
    return Case(with_centers(centers), X)


def _scaled_rows(of_centers, of_rows):
    """Rows and centres of two magnitudes."""
    rng = np.random.RandomState(1)
    centers = rng.standard_normal((8, 5)) * of_centers
    return Case(with_centers(centers), rng.standard_normal((200, 5)) * of_rows)


def float_cases(dtype):
    """Cases by name, for float32 or float64."""
    kinds = [*hostile.ANY, *(hostile.DOUBLE if dtype == np.float64 else ())]
    depths = (16, 13, 1, 64, 8, 33, 2)
    cases = {
        f"hostile_{i}": functools.partial(_hostile, kind, dtype, depths[i % 7], (9, 1, 16)[i % 3])
        for i, kind in enumerate(kinds)
    }
    # Those of which an edge says most, at one column, an odd number, and blocks of eight.
    for i, kind in enumerate(("midpoints", "grid", "subnormal", "1e30", "limits")):
        for d in (1, 13, 16):
            cases[f"edge_{i}_{d}"] = functools.partial(_hostile, kind, dtype, d, 7)
    scale = dtype(1e-25)
    for name, offset in (("offset_4", 1e4), ("offset_6", 1e6), ("offset_0", 0.0)):
        cases[name] = functools.partial(_offset, dtype, offset)
    cases["small"] = lambda: _times(_offset(dtype, 0.0), scale)
    for i, (d, k) in enumerate(((1, 9), (3, 5), (7, 3), (24, 4), (200, 2))):
        cases[f"almost_{i}"] = functools.partial(_almost_ties, dtype, d, k)
    # Squares of float32 that are subnormal, in part.
    for i in range(7):
        cases[f"almost_small_{i}"] = functools.partial(
            _almost_ties, dtype, 7, 5, 10.0 ** (-18 - i), 1000
        )
    if dtype == np.float64:
        cases["huge_rows_0"] = functools.partial(_mixed_sizes, 1.0, 1e200)
        cases["huge_rows_1"] = functools.partial(_mixed_sizes, 1e140, 1e300)
        cases["huge_rows_2"] = functools.partial(_scaled_rows, 5e143, 1e155)
        cases["tiny_rows"] = functools.partial(_mixed_sizes, 1e-170, 1e-140)
    cases["digits"] = functools.partial(_digits, dtype)
    cases["patches"] = functools.partial(_patches, dtype)
    return cases


def _times(case, scale):
    return Case(with_centers(case.centers * scale), case.X * scale)


def _byte_rows(rng, d, n=300):
    return rng.integers(0, 256, (n, d), dtype=np.uint8)


def _fitted_bytes(dtype, d, k):
    rng = np.random.default_rng(d)
    X = np.vstack([_byte_rows(rng, d), np.zeros((1, d)), np.full((1, d), 255)]).astype(np.uint8)
    return Case(KMeans(k, n_init=1, random_state=0).fit(X.astype(dtype)), X, "uint8")


def _byte_ties(dtype, d):
    """Whole and half centres, some of them twice: distances tie."""
    rng = np.random.default_rng(1)
    X = rng.integers(100, 104, (300, d), dtype=np.uint8)
    centers = rng.integers(200, 208, (12, d)) / 2
    centers[7:] = centers[:5]
    return Case(with_centers(centers.astype(dtype)), X, "uint8")


def _byte_midpoints(dtype, d):
    """Rows from which two centres are equally far but for the last digits."""
    rng = np.random.default_rng(2)
    X = rng.integers(30, 220, (100, d), dtype=np.uint8)
    away = rng.uniform(-30, 30, (6, d))
    middle = X[rng.integers(0, 100, 6)].astype(float)
    centers = np.vstack([middle + away, middle - away + rng.choice([-1e-13, 0, 1e-13], (6, d))])
    return Case(
        with_centers(centers.astype(dtype)), np.vstack([X, middle.astype(np.uint8)]), "uint8"
    )


def _byte_neighbours(dtype, d, away):
    """All centres within a small distance of the rows."""
    rng = np.random.default_rng(3)
    X = np.repeat(rng.integers(1, 255, (1, d), dtype=np.uint8), 40, axis=0)
    X[1:] += rng.integers(0, 2, (39, d), dtype=np.uint8) * (rng.uniform(size=(39, d)) < 0.1)
    centers = X[rng.integers(40, size=30)] + away * rng.standard_normal((30, d))
    return Case(with_centers(centers.astype(dtype)), X, "uint8")


def _byte_patches(dtype):
    X = patches()
    return Case(KMeans(24, n_init=1, max_iter=5, random_state=0).fit(X.astype(dtype)), X, "uint8")


def byte_cases(dtype):
    """Cases of bytes; `dtype` is that of the centres."""
    cases = {
        f"fit_{d}_{k}": functools.partial(_fitted_bytes, dtype, d, k)
        for d, k in ((1, 1), (1, 9), (3, 16), (8, 4), (16, 16), (37, 5))
    }
    for d in (1, 3, 16):
        cases[f"ties_{d}"] = functools.partial(_byte_ties, dtype, d)
        cases[f"midpoints_{d}"] = functools.partial(_byte_midpoints, dtype, d)
        for i, away in enumerate((1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)):
            cases[f"near_{d}_{i}"] = functools.partial(_byte_neighbours, dtype, d, away)
    cases["patches"] = functools.partial(_byte_patches, dtype)
    return cases


GROUPS = {
    "float32": lambda: float_cases(np.float32),
    "float64": lambda: float_cases(np.float64),
    "bytes32": lambda: byte_cases(np.float32),
    "bytes64": lambda: byte_cases(np.float64),
}


@functools.cache
def cases_of(group):
    """All cases of a group by name, made."""
    return {name: make() for name, make in GROUPS[group]().items()}


@functools.cache
def labels_of(group, name):
    """What `predict` says of a case, and what the plain reference says where it can be asked."""
    case = cases_of(group)[name]
    labels = case.model.predict(case.X)
    with np.errstate(over="ignore", under="ignore"):
        D = reference.canonical(case.X.astype(np.float64), case.centers.astype(np.float64))
    # Elsewhere float64 has no room for the squares.
    plain = np.isfinite(D).all(axis=1) & ((D.min(axis=1) > 1e-280) | (D.max(axis=1) > 1e-100))
    return labels, D.argmin(axis=1), plain


def need(*programs):
    """Skip the test if one of these programs is missing."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing")


def run(command, **how):
    """Run a program, and show what it said if it fails."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **how
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# Functions over many rows, for ctypes.
LOOPS = """
#define LOOPS(name, d, k) \\
void name##_predict_all(const name##_value *x, int n, int *out) { \\
    for (; n > 0; n--, x += d) *out++ = name##_predict(x); } \\
void name##_nearest_all(const name##_value *x, int n, int *out, name##_real *far) { \\
    for (; n > 0; n--, x += d) *out++ = name##_nearest(x, far++); } \\
void name##_transform_all(const name##_value *x, int n, int *out, name##_real *far) { \\
    for (; n > 0; n--, x += d, far += k) *out++ = name##_transform(x, far); }
"""


def library(folder, compiler, level, headers, more=""):
    """Headers (name -> (text, d, k)) compiled into one shared library, loaded."""
    command = compiler.split()[0]
    need(command)
    cplusplus = command.endswith("++")
    folder.mkdir(parents=True, exist_ok=True)
    source = LOOPS + more
    for name, (text, d, k) in headers.items():
        (folder / f"{name}.h").write_text(text)
        source += f'#include "{name}.h"\n'
        loops = f"LOOPS({name}, {d}, {k})"
        source += f'extern "C" {{\n{loops}\n}}\n' if cplusplus else f"{loops}\n"
    path = folder / f"all.{'cpp' if cplusplus else 'c'}"
    path.write_text(source)
    flags = [*COMPILERS[compiler].split(), *level.split(), *WARNINGS]
    run([command, *flags, "-fPIC", "-shared", path, "-o", folder / "all.so"])
    return ctypes.CDLL(str(folder / "all.so"))


def header_of(case, name):
    """Text, d and k of a case."""
    k, d = case.centers.shape
    return to_c(case.model, name, rows=case.rows), d, k


def pointer(array):
    """An array as an argument of a C function."""
    return ctypes.c_void_p(array.ctypes.data)


def call(built, name, function, X, real=None, shape=()):
    """Labels (n,) of a function over rows, and distances if `real` is their type."""
    labels = np.full(len(X), -7, dtype=np.intc)
    arguments = [pointer(X), len(X), pointer(labels)]
    if real is None:
        getattr(built, f"{name}_{function}_all")(*arguments)
        return labels
    far = np.full((len(X), *shape), -7, dtype=real)
    getattr(built, f"{name}_{function}_all")(*arguments, pointer(far))
    return labels, far
