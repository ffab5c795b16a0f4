"""What `to_c` takes, refuses and writes; what compilers say of it."""

import os
import platform
import re
import subprocess

import numpy as np
import pytest
from c_models import COMPILERS, WARNINGS, cases_of, header_of, need, run, with_centers
from sklearn import cluster
from sklearn.exceptions import NotFittedError

from tilewise import KMeans, MiniBatchKMeans
from tilewise.export import to_c
from tilewise.export._c import _number

ROWS = np.random.default_rng(0).normal(size=(40, 5))
KINDS = {"float32": ("float32", None), "float64": ("float64", None), "bytes": ("float32", "uint8")}


def small(dtype="float32", rows=None):
    X = ROWS * 20 + 100 if rows else ROWS
    return KMeans(3, n_init=1, random_state=0).fit(X.astype(dtype))


def numbers(text, name):
    """The numbers of an array of the header, as they are written."""
    body = re.search(rf"\b{name}(?:\[\d+\])+ = \{{(.*?)\}};", text, re.DOTALL)[1]
    return re.findall(r"[^\s{},]+", body)


@pytest.mark.parametrize(
    "name",
    ["", "9a", "a-b", "a b", "a.h", "é", "_a", "a__b", "a_", "int", "class", "restrict", "and_eq",
     "co_await", "a" * 49, "a\n"],
)  # fmt: skip
def test_names_that_are_no_identifiers(name):
    with pytest.raises(ValueError, match="name m"):
        to_c(small(), name)


@pytest.mark.parametrize("name", [None, 3, b"kmeans"])
def test_names_that_are_no_text(name):
    with pytest.raises(TypeError, match="name must be a str"):
        to_c(small(), name)


def test_models_that_have_no_header():
    with pytest.raises(NotFittedError):
        to_c(KMeans(2))
    with pytest.raises(TypeError, match="BisectingKMeans"):
        to_c(cluster.BisectingKMeans(2).fit(ROWS))
    with pytest.raises(ValueError, match="rows must be None or 'uint8'"):
        to_c(small(), rows="int8")
    for value, said in ((-0.5, "-0.5"), (255.5, "255.5")):
        model = with_centers(np.array([[1.0, 2.0], [3.0, value]]))
        with pytest.raises(ValueError, match=f"centre 1 has {said} in column 1"):
            to_c(model, rows="uint8")


def test_longest_rows():
    model = with_centers(np.zeros((1, 2)))
    model.cluster_centers_ = np.broadcast_to(np.float32(0), (1, 2**20 + 1))
    with pytest.raises(ValueError, match="up to 1048576 numbers"):
        to_c(model)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_centres_are_read_back_as_the_same_bits(dtype):
    info = np.finfo(dtype)
    rng = np.random.default_rng(0)
    values = [0.0, -0.0, 1.0, -1.0, 1e15, 1e16, 1e22, info.max, -info.max, info.tiny, 0.1, 1 / 3]
    values += [info.smallest_subnormal, -info.smallest_subnormal, 123 * info.smallest_subnormal]
    bits = rng.integers(0, 2**31, (400, info.bits // 32), dtype=np.uint32).view(dtype).ravel()
    values = np.concatenate([np.array(values, dtype=dtype), bits[np.isfinite(bits)]])
    written = [_number(value) for value in values]
    assert all(re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?f?", text) for text in written)
    assert all(re.search("[.e]", text) for text in written)
    back = np.array([dtype(text.rstrip("f")) for text in written])
    assert back.tobytes() == values.tobytes()


@pytest.mark.parametrize("compiler", ["gcc", "g++", "clang", "clang++"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compilers_read_the_same_bits(compiler, dtype, tmp_path):
    need(compiler)
    info = np.finfo(dtype)
    special = [-0.0, info.smallest_subnormal, info.max, 1 / 3, info.tiny, 1e16, -1.0]
    drawn = np.random.default_rng(1).integers(0, 2**31, (200, info.bits // 32), dtype=np.uint32)
    values = np.r_[np.array(special, dtype=dtype), np.nan_to_num(drawn.view(dtype).ravel())]
    (tmp_path / "kmeans.h").write_text(to_c(with_centers(values.reshape(1, -1).astype(dtype))))
    source = tmp_path / ("main.cpp" if compiler.endswith("++") else "main.c")
    source.write_text(
        '#include "kmeans.h"\n#include <stdio.h>\nint main(void) { return fwrite(kmeans_centers, '
        "sizeof kmeans_centers, 1, stdout) != 1; }\n"
    )
    run([compiler, COMPILERS[compiler], *WARNINGS, source, "-o", tmp_path / "main"])
    run(["sh", "-c", f"{tmp_path}/main > {tmp_path}/bits"])
    assert (tmp_path / "bits").read_bytes() == values.astype(dtype).tobytes()


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "model.h"
    text = to_c(small(), path=path)
    assert path.read_text() == text
    assert to_c(small(), path=str(path)) == text
    assert [p.name for p in tmp_path.iterdir()] == ["model.h"]
    with pytest.raises(ValueError, match="keyword"):
        to_c(small(), "int", path=tmp_path / "other.h")
    with pytest.raises(OSError, match="the header could not be written"):
        to_c(small(), path=tmp_path / "none" / "model.h")
    assert [p.name for p in tmp_path.iterdir()] == ["model.h"]


def test_counts_are_those_of_the_fit():
    X = ROWS.astype(np.float32)
    for kind in (KMeans, cluster.KMeans):
        model = kind(3, n_init=1, random_state=0).fit(X)
        counts = [float(text.rstrip("f")) for text in numbers(to_c(model), "kmeans_counts")]
        assert counts == list(np.bincount(model.labels_))
    for kind in (MiniBatchKMeans, cluster.MiniBatchKMeans):
        model = kind(3, n_init=1, random_state=0).partial_fit(X).partial_fit(X)
        counts = [float(text.rstrip("f")) for text in numbers(to_c(model), "kmeans_counts")]
        assert counts == list(model._counts)
        assert sum(counts) == 2 * len(X)
    model.__dict__.pop("_counts"), model.__dict__.pop("labels_")
    assert numbers(to_c(model), "kmeans_counts") == ["0.0f"] * 3


def test_models_of_scikit_learn_have_the_same_header():
    theirs = cluster.KMeans(3, n_init=1, random_state=0).fit(ROWS)
    ours = small("float64")
    ours.cluster_centers_, ours.labels_ = theirs.cluster_centers_, theirs.labels_
    assert to_c(theirs) == to_c(ours)


def test_names_of_columns_cannot_leave_the_comment(tmp_path):
    pandas = pytest.importorskip("pandas")
    names = ["a */ #error out", "/* b", "c\\", "d??/", "é\n#error in"]
    model = KMeans(2, n_init=1, random_state=0).fit(pandas.DataFrame(ROWS, columns=names))
    text = to_c(model)
    assert text.isascii()
    comment = text[: text.index("*/")]
    assert "    0 a __ _error out\n" in comment
    assert "    4 ___error in" in comment
    need("gcc")
    (tmp_path / "kmeans.h").write_text(text)
    run(["gcc", "-std=c99", *WARNINGS, "-fsyntax-only", "-x", "c", tmp_path / "kmeans.h"])


@pytest.mark.parametrize("kind", KINDS)
def test_lines_are_short(kind):
    dtype, rows = KINDS[kind]
    text = to_c(small(dtype, rows), rows=rows)
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("macro", ["-DNOTHING", "-DKMEANS_UPDATE"])
def test_no_compiler_warns_where_nothing_is_used(compiler, kind, macro, tmp_path):
    command = compiler.split()[0]
    need(command)
    dtype, rows = KINDS[kind]
    (tmp_path / "kmeans.h").write_text(to_c(small(dtype, rows), rows=rows))
    source = tmp_path / ("main.cpp" if command.endswith("++") else "main.c")
    # Twice: once is enough.
    source.write_text('#include "kmeans.h"\n#include "kmeans.h"\nint main(void) { return 0; }\n')
    flags = [*COMPILERS[compiler].split(), *WARNINGS, macro]
    for level in ("-O0", "-O2"):
        run([command, *flags, level, "-c", source, "-o", tmp_path / "main.o"])


REFUSED = {
    "gcc -ffast-math": "fast mathematics",
    "gcc -Ofast": "fast mathematics",
    "gcc -funsafe-math-optimizations": "fast mathematics",
    "gcc -ffinite-math-only": "hides NaN",
    "gcc -m32 -mfpmath=387 -std=c99": "x87",
    "gcc -m32 -mfpmath=387": "x87",
    "gcc -U__DBL_MANT_DIG__ -D__DBL_MANT_DIG__=24": "64 bits",
    "clang -ffast-math": "fast mathematics",
    "clang -Ofast": "fast mathematics",
    "clang -ffinite-math-only": "hides NaN",
    "clang -m32 -mno-sse": "x87",
}


@pytest.mark.parametrize("command", REFUSED)
def test_arithmetic_that_would_change_labels_is_refused(command, tmp_path):

    need(command.split()[0])
    if "-m32" in command and platform.machine() != "x86_64":
        pytest.skip("x87 is only there on x86")
    (tmp_path / "kmeans.h").write_text(to_c(small()))
    compile_ = [*command.split(), "-fsyntax-only", "-ffreestanding", "-x", "c"]
    done = subprocess.run(
        [*compile_, tmp_path / "kmeans.h"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert re.search(rf"#?error:? .*kmeans\.h: .*{REFUSED[command]}", done.stderr), done.stderr


FUSED = re.compile(r"\bvfn?m(?:add|sub|a|s)\w*|\bf(?:n?m(?:add|sub)|ml[as])\b")
TARGETS = {
    "gcc haswell": ("gcc", "-O3 -march=haswell", "x86_64"),
    "g++ haswell": ("g++", "-O3 -march=haswell", "x86_64"),
    "clang haswell": ("clang", "-O3 -march=haswell -ffp-contract=fast", "x86_64"),
    "gcc native": ("gcc", "-O3 -march=native", ""),
    "Cortex-M7": ("arm-none-eabi-gcc", "-O3 -mcpu=cortex-m7 -mfloat-abi=hard -mfpu=fpv5-d16", ""),
    "Cortex-M4F": (
        "arm-none-eabi-gcc", "-O3 -mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_fused_in_canonical_distances(target, kind, tmp_path):

    command, flags, machine = TARGETS[target]
    need(command)
    if machine and platform.machine() != machine:
        pytest.skip(f"needs {machine}")
    dtype, rows = KINDS[kind]
    text = to_c(small(dtype, rows), rows=rows)
    # A caller that adds up products itself: its own are fused, and it may inline ours.
    caller = (
        '#include "kmeans.h"\nint label(const kmeans_value *row) { return kmeans_predict(row); }\n'
        "kmeans_real all(const kmeans_value *row, kmeans_real *out, kmeans_real a) {\n"
        "    return OWN kmeans_transform(row, out) + kmeans_nearest(row, out); }\n"
    )

    def assembly(text, own):
        (tmp_path / "kmeans.h").write_text(text)
        source = tmp_path / ("main.cpp" if command == "g++" else "main.c")
        source.write_text(caller.replace("OWN", own))
        out = tmp_path / "main.s"
        run([command, *flags.split(), "-ffreestanding", "-S", source, "-o", out])
        body = out.read_text()
        if command == "clang":
            # Only the scores may be, whose bound holds either way.
            body = re.search(r"^kmeans_squared:.*?^\.Lfunc_end", body, re.DOTALL | re.MULTILINE)[0]
        return body

    assert not FUSED.search(assembly(text, ""))
    if target == "gcc haswell" and kind != "bytes":
        # The search finds what it looks for: in the caller, and in the header without its guard.
        assert FUSED.search(assembly(text, "a * out[0] + out[1] +"))
        assert FUSED.search(assembly(text.replace("fp-contract=off", "fp-contract=fast"), ""))


def test_a_const_header_has_no_variables(tmp_path):
    need("gcc", "nm")
    for name, (text, _, _) in {
        kind: header_of(cases_of(kind)["edge_0_13"], "kmeans") for kind in ("float32", "float64")
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "kmeans.h").write_text(text)
        (folder / "main.c").write_text(
            '#include "kmeans.h"\nint label(const kmeans_value *row) { return kmeans_predict(row);'
            " }\n"
        )
        for macro, letters in (("-DNOTHING", set("tTrR")), ("-DKMEANS_UPDATE", set("tTdDrRbB"))):
            run(["gcc", "-O2", macro, "-c", folder / "main.c", "-o", folder / "main.o"])
            found = {line.split()[-2] for line in run(["nm", folder / "main.o"]).splitlines()}
            assert found <= letters
            assert "U" not in found  # nothing is called
            assert ("d" in found) == (macro == "-DKMEANS_UPDATE")


def test_the_template_is_whole():
    for kind in KINDS.values():
        text = to_c(small(*kind), rows=kind[1])
        assert not re.search(r"[@$]", text)


def test_what_is_no_file_stays(tmp_path):
    """Devices and folders are not replaced; of a link, the file that it leads to is."""
    model = KMeans(2, random_state=0).fit(ROWS)
    with pytest.raises(FileExistsError, match="cannot replace what is no file"):
        to_c(model, path=os.devnull)
    with pytest.raises(FileExistsError):
        to_c(model, path=tmp_path)
    target, link = tmp_path / "target.h", tmp_path / "link.h"
    target.write_text("old")
    link.symlink_to(target)
    assert to_c(model, path=link) == target.read_text()
    assert link.is_symlink()


def test_names_of_classes_are_plain():
    class Größe(KMeans):
        pass

    Größe.__name__ = "Größe */ int evil; /*"
    text = to_c(Größe(2, random_state=0).fit(ROWS))
    assert text.isascii()
    assert "evil; /*" not in text


def test_counts_that_are_no_number_of_the_header():
    rows = ROWS.astype(np.float32)
    model = MiniBatchKMeans(2, random_state=0)
    model.partial_fit(rows, sample_weight=np.full(len(rows), 1e37))
    assert "inf" not in to_c(model)[1000:]


def test_constants_of_single_precision_are_refused(tmp_path):
    need("gcc")
    (tmp_path / "kmeans.h").write_text(to_c(small("float64")))
    source = tmp_path / "user.c"
    source.write_text('#include "kmeans.h"\nint main(void) { return 0; }\n')
    for options, code in (([], 0), (["-fsingle-precision-constant"], 1)):
        done = subprocess.run(["gcc", "-c", *options, source, "-o", tmp_path / "user.o"])
        assert done.returncode == code
