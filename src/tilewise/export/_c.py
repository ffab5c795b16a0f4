"""A fitted model as a C header, for devices and programs without Python."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from string import Template
from typing import Any, Literal

import numpy as np

from tilewise._files import replacing
from tilewise._typing import PathLike
from tilewise.engine import on_host
from tilewise.engine.ranges import Scale
from tilewise.export import _c_template as parts
from tilewise.export._fitted import fitted

__all__ = ["to_c"]

# C11 6.4.1 and C23, C++11 to C++23 [lex.key], and the alternative tokens of C++.
_KEYWORDS = frozenset(
    """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t
    char32_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
    constinit continue decltype default delete do double dynamic_cast else enum explicit export
    extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq
    nullptr operator or or_eq private protected public register reinterpret_cast requires restrict
    return short signed sizeof static static_assert static_cast struct switch template this
    thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned using
    virtual void volatile wchar_t while xor xor_eq
    """.split()
)
# Two names that share 63 characters may be one to a C compiler (C99 5.2.4.1); ours are longer by
# up to ten.
_LONGEST = 48
# The proof of the bounds stops here.
_MOST_FEATURES = 2**20
# Binary digits of a byte's centre after the point; fewer where the sum has no room in 64 bits.
_FRACTION_BITS = 16


def to_c(
    model: Any,
    name: str = "kmeans",
    *,
    rows: Literal["uint8"] | None = None,
    path: PathLike | None = None,
) -> str:
    """Write a fitted model as one header of C99 and C++11.

    The header needs no library, allocates nothing and keeps its centres in flash. Its labels are
    those of `predict`: the lowest index among the centres at the least distance. `float` decides
    most rows of a float32 model; `double` is used only where two centres are almost equally close.

    Parameters
    ----------
    model : estimator
        A fitted `KMeans` or `MiniBatchKMeans` of tilewise or scikit-learn, with k centres of d
        features. Fit it on float32 rows for processors that have no `double`.
    name : str, default="kmeans"
        Of the header: all its names start with it.
    rows : {"uint8"}, optional
        Type of the numbers of a row, for pixels and sensors that give whole numbers from 0 to 255;
        the model was fitted on such rows, of any type. By default `float` if the model was fitted
        on float32 rows, else `double`.
    path : str or path-like, optional
        Where to write the text as well. An older file stays until the new one is complete.

    Returns
    -------
    str
        The header. For a float32 model with the name ``kmeans`` it has

        ``int kmeans_predict(const float *row)``
            The label of a row of d numbers; -1 if one is NaN or infinite.
        ``int kmeans_nearest(const float *row, float *distance)``
            The same, and the Euclidean distance to the centre.
        ``int kmeans_transform(const float *row, float *distances)``
            0, and the Euclidean distances to the k centres; -1 as above.
        ``int kmeans_update(const float *rows, int n, int *labels)``
            Only if ``KMEANS_UPDATE`` is defined before the header is included: one step of
            mini-batch K-Means. The n labels are made first. Then each centre becomes the mean of
            the rows that it stands for so far, the new ones included. Returns 0; or -1, and no
            centre moves, if a number is NaN or infinite. The centres lie in memory then.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the model has not been fitted.
    TypeError
        If the model is no K-Means, or the name is no str.
    ValueError
        If `name` is no identifier of C and C++, `rows` is unknown, the centres are not between 0
        and 255 for rows of bytes, or a row has more than 2**20 numbers.
    OSError
        If the file cannot be written.

    Notes
    -----
    Compile the header with the usual rules of arithmetic. It stops with ``#error`` where
    ``-ffast-math``, a `double` of 32 bits or an x87 processor would change labels, and switches
    contraction to fused multiply-adds off for its own functions. Nothing shows the options
    ``-fno-honor-nans`` and ``-funsafe-math-optimizations`` of clang to a header: leave them out.

    Distances of `float` have a relative error below 1e-6; those of `double` are roots of canonical
    distances. A processor that is set to flush subnormal numbers to zero reads values of rows below
    1.2e-38 (`float`) or 2.3e-308 (`double`) as zero.

    Examples
    --------
    >>> import numpy as np
    >>> from tilewise import KMeans
    >>> from tilewise.export import to_c
    >>> rows = np.array([[0, 0], [0, 1], [8, 8], [8, 9]], dtype=np.float32)
    >>> header = to_c(KMeans(2, random_state=0).fit(rows), "corner")
    >>> print(header[header.index("corner_centers") :].partition(";")[0])
    corner_centers[2][2] = {
        {8.0f, 8.5f},
        {0.0f, 0.5f}
    }
    """
    prefix = _checked_name(name)
    found = fitted(model)
    if rows not in (None, "uint8"):
        raise ValueError(f"rows must be None or 'uint8', got {rows!r}")
    if found.n_features > _MOST_FEATURES:
        raise ValueError(f"a row may have up to {_MOST_FEATURES} numbers, got {found.n_features}")
    if rows == "uint8":
        _check_bytes(found.centers)
    counts = _counts(model, found.n_clusters, found.centers.dtype)
    text = _written(found, prefix, rows == "uint8", counts)
    if path is not None:
        with replacing(Path(path), "the header") as file:
            file.write(text.encode("ascii"))
    return text


def _checked_name(name):
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, got {type(name).__name__}")
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) or "__" in name or name.endswith("_"):
        raise ValueError(
            f"name must be an identifier of C and C++: letters, digits and single underscores "
            f"between them, a letter first; got {name!r}"
        )
    if name in _KEYWORDS:
        raise ValueError(f"name must not be a keyword of C or C++, got {name!r}")
    if len(name) > _LONGEST:
        raise ValueError(f"name may have up to {_LONGEST} characters, got {len(name)}")
    return name


def _check_bytes(centers):
    outside = (centers < 0.0) | (centers > 255.0)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise ValueError(
            "rows='uint8' needs centres between 0 and 255, of a fit on such rows; centre "
            f"{row} has {centers[row, column]:.6g} in column {column}"
        )


def _counts(model, k, dtype):
    """Rows that each centre stands for, (k,), as far as the model knows; else zeros.

    At most what a number of the header can be: a centre of so many rows does not move anyway.
    """
    counts = getattr(model, "_counts", None)
    if counts is None:
        labels = on_host(getattr(model, "labels_", None))
        if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu" and labels.size:
            counts = np.bincount(labels, minlength=k)  # longer if of other centres
    usable = isinstance(counts, np.ndarray) and counts.shape == (k,) and np.isfinite(counts).all()
    if not usable:
        return np.zeros(k)
    return np.minimum(counts, np.finfo(dtype).max)


def _written(found, name, of_bytes, counts):
    centers, k, d = found.centers, found.n_clusters, found.n_features
    single = centers.dtype == np.float32
    real = "float" if single else "double"
    value = "uint8_t" if of_bytes else real
    fields = {
        "name": name, "k": k, "d": d, "value": value, "real": real,
        "includes": "#include <stdint.h>\n" if of_bytes else "",
        "centers": _matrix(centers, _number),
        "counts": _row(counts.astype(centers.dtype), _number, "    "),
        "check": "" if of_bytes else parts.CHECK_ROW, "refresh": parts.REFRESH if of_bytes else "",
    }  # fmt: skip
    if of_bytes:
        body = _of_bytes(fields, centers)
    else:
        body = _of_floats(fields) if single else _of_doubles(fields, centers)
    text = "".join([parts.GUARDS, parts.CENTERS, *body, parts.NEAREST, parts.UPDATE])
    text = Template(text).substitute(fields)
    text = f"{_comment(found, name, value, real)}{text}\n#endif\n"
    return text.replace("@@", f"{name.upper()}_").replace("@", f"{name}_")


def _of_floats(fields):
    fields |= {
        "score": "float", "looked": "centers", "most": "FLT_MAX",
        "grow": _number(np.float32(1 + 28 * 2.0**-24)),
        "squared": "@score(x, c, FLT_MAX)", **_powers(200, 100),
    }  # fmt: skip
    predict = Template(parts.PREDICT_SCORED).safe_substitute(check=parts.CHECK_FLOAT)
    return parts.CANONICAL, parts.SCORE_FLOAT, predict, parts.ROOT, parts.DISTANCE_FLOAT


def _of_bytes(fields, centers):
    # Squares of up to 2**8 times one, d of them, stay below 2**62.
    bits = min(_FRACTION_BITS, (62 - (centers.shape[1] - 1).bit_length()) // 2 - 8)
    fixed = np.rint(np.ldexp(centers.astype(np.float64), bits)).astype(np.int64)
    fields |= {
        "score": "uint64_t", "looked": "fixed", "most": "UINT64_MAX", "one": 2**bits,
        "fixed": _matrix(fixed, str), "squared": "(float)@squared(x, c)", **_powers(200, 100),
    }  # fmt: skip
    predict = Template(parts.PREDICT_SCORED).safe_substitute(check="")
    single = centers.dtype == np.float32
    distance = parts.DISTANCE_FLOAT if single else parts.DISTANCE_BYTES
    return parts.CANONICAL, parts.SCORE_BYTES, predict, parts.ROOT, distance


def _of_doubles(fields, centers):
    # Which rows `predict` scales depends on the row and on the centres.
    own = np.abs(centers).max(axis=1)
    low, high = Scale.range
    tiny = ""
    if 0.0 < own.max() < low:
        exponent = min(Scale.of(own.max()).exponent, 1023)
        tiny = Template(parts.TINY).substitute(low=_double(low), up=_double(2.0**exponent))
    always = own.min() > high
    fields |= {
        "large": "1" if always else f"most > {_double(high)}", "tiny": tiny,
        "up": _double(2.0**560), "down": _double(2.0**-560), "vanishing": _double(2.0**-960),
    }  # fmt: skip
    return parts.CANONICAL_SCALED, parts.PREDICT_DOUBLE, parts.ROOT, parts.DISTANCE_DOUBLE


def _powers(*exponents):
    return {
        f"{way}{e}": _double(2.0 ** (sign * e))
        for e in exponents
        for way, sign in (("up", 1), ("down", -1))
    }


def _number(value):
    """A number of C that is read back as the same bits."""
    single = isinstance(value, np.float32)
    text = f"{value:.9g}" if single else f"{value:.17g}"
    if not re.search("[.e]", text):
        text += ".0"
    return text + ("f" if single else "")


def _double(value):
    return _number(float(value))


def _row(values, written, indent):
    text = ", ".join(written(value) for value in values)
    return textwrap.fill(
        text, 98, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _matrix(values, written):
    return ",\n".join(f"    {{{_row(row, written, '     ').strip()}}}" for row in values)


def _plain(text):
    """A text that neither ends a comment nor joins its lines."""
    return re.sub(r"[^A-Za-z0-9_.,:;()\[\] -]", "_", text)


def _comment(found, name, value, real):
    k, d = found.n_clusters, found.n_features
    lines = [
        f"{name}.h: K-Means with {k} clusters of {d} features.",
        f"Written by tilewise {found.version} of a fitted {_plain(found.name)}.",
        "",
        f"int @predict(const {value} *row)",
        f"    The label of a row of {d} numbers, 0 to {k - 1}; -1 if one is NaN or infinite.",
        f"int @nearest(const {value} *row, {real} *distance)",
        "    The same, and the Euclidean distance to the centre.",
        f"int @transform(const {value} *row, {real} *distances)",
        f"    0, and the distances to the {k} centres; -1 if a number is NaN or infinite.",
        f"int @update(const {value} *rows, int n, int *labels)",
        "    If @@UPDATE is defined before this file is included. Labels of n rows; then each",
        "    centre becomes the mean of its rows so far. 0; -1 if a number is NaN or infinite, and",
        "    no centre moves. Each file that includes this one then has centres of its own.",
        "",
        "C99 or C++11. Calls no library, allocates nothing. Labels are those of predict in Python:",
        "the lowest index at the least distance, whatever the compiler and the processor.",
    ]
    if found.feature_names:
        names = map(_plain, found.feature_names)
        lines += ["", "Columns of a row:", *(f"    {i} {text}" for i, text in enumerate(names))]
    text = "\n".join(f" * {line}".rstrip() for line in lines)
    guard = f"TILEWISE_{name.upper()}_H"
    return f"/*{text[2:]}\n */\n#ifndef {guard}\n#define {guard}\n\n"
