"""Exported C on a Cortex-M4F and a Cortex-M3 without libraries, under qemu."""

import functools
import pathlib
import re

import numpy as np
import pytest
from c_models import Case, cases_of, need, run, with_centers

from tilewise.export import to_c
from tilewise.export._c import _number

CORTEX = pathlib.Path(__file__).parent / "cortex"
#: qemu's machine, and flags of the compiler.
BOARDS = {
    "M4F": ("mps2-an386", "-mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16"),
    "M3": ("mps2-an385", "-mcpu=cortex-m3 -mfloat-abi=soft"),
}
FLAGS = ("-mthumb", "-std=c99", "-ffreestanding", "-Wall", "-Wextra", "-Werror")
# What GCC's own support library has for arithmetic that the processor lacks.
ARITHMETIC = re.compile("__aeabi_(d|f|l|ul|i|ui)[a-z0-9]+")
MOST_CODE = 1.2 * 1024


@pytest.fixture(autouse=True)
def tools():
    need("arm-none-eabi-gcc", "qemu-system-arm")


def random_case(dtype, rows=None, d=16, k=16):
    """Rows of clusters, and rows midway between two centres."""
    rng = np.random.default_rng(0)
    scale = 1.0 if rows is None else 30.0
    centers = scale * rng.standard_normal((k, d)) + (0 if rows is None else 128)
    centers = centers.clip(0, 255) if rows else centers
    a, b = rng.integers(k, size=(2, 40))
    X = np.vstack(
        [
            centers[rng.integers(k, size=160)] + 0.5 * scale * rng.standard_normal((160, d)),
            (centers[a] + centers[b]) / 2,
        ]
    )
    X = X.clip(0, 255).astype(np.uint8) if rows else X.astype(dtype)
    return Case(with_centers(centers.astype(dtype)), X, rows)


def rows_h(case):
    """The rows and their labels as C."""
    write = str if case.rows else _number
    body = ",\n".join(f"{{{', '.join(map(write, row))}}}" for row in case.X)
    labels = ", ".join(map(str, case.model.predict(case.X)))
    n, d = case.X.shape
    return (
        f"#define ROWS {n}\nstatic const model_value rows[{n}][{d}] = {{{body}}};\n"
        f"static const int labels[{n}] = {{{labels}}};\n"
    )


def compiled(folder, case, board, *flags):
    """The program that checks a case, as an executable for the board."""
    folder.mkdir(exist_ok=True)
    (folder / "model.h").write_text(to_c(case.model, "model", rows=case.rows))
    (folder / "rows.h").write_text(rows_h(case))
    own = [*BOARDS[board][1].split(), *FLAGS, *flags, f"-I{folder}"]
    program = folder / "check.elf"
    sources = [CORTEX / "start.c", CORTEX / "check.c"]
    link = ["-nostdlib", f"-T{CORTEX / 'memory.ld'}", "-Wl,--no-warn-rwx-segments"]
    run(["arm-none-eabi-gcc", *own, *sources, *link, "-lgcc", "-o", program])
    return program


def ran(folder, case, board, *flags):
    """Wrong labels, instructions a row, and words of the centres after an update, if any."""
    program = compiled(folder, case, board, *flags)
    machine = BOARDS[board][0]
    said = run(
        ["qemu-system-arm", "-M", machine, "-display", "none", "-monitor", "none",
         "-serial", "none", "-chardev", "stdio,id=said",
         "-semihosting-config", "enable=on,target=native,chardev=said",
         "-icount", "shift=0", "-kernel", program], timeout=200,
    )  # fmt: skip
    found = re.fullmatch(r"wrong (\d+) of (\d+) instructions (\d+)( centres( \d+)+)?\n", said)
    assert found, said
    assert int(found[2]) == len(case.X)
    return int(found[1]), int(found[3]), [int(word) for word in (found[4] or "").split()[1:]]


def code_bytes(folder, case, board, level):
    """Bytes of code of `predict` beside the centres, and the functions that it calls."""
    folder.mkdir(exist_ok=True)
    (folder / "model.h").write_text(to_c(case.model, "model", rows=case.rows))
    source = folder / "only.c"
    source.write_text(
        '#include "model.h"\nint label(const model_value *row) { return model_predict(row); }\n'
    )
    compile_ = ["arm-none-eabi-gcc", *BOARDS[board][1].split(), *FLAGS, level, "-c", source]
    run([*compile_, "-o", folder / "only.o"])
    sections = run(["arm-none-eabi-size", "-A", folder / "only.o"])
    text = sum(map(int, re.findall(r"^\.text\S*\s+(\d+)", sections, re.MULTILINE)))
    data = sum(map(int, re.findall(r"^\.(?:data|bss)\S*\s+(\d+)", sections, re.MULTILINE)))
    called = run(["arm-none-eabi-nm", "-u", folder / "only.o"]).split()[1::2]
    return text, data, called


KINDS = {
    "float32": functools.partial(random_case, np.float32),
    "float64": functools.partial(random_case, np.float64),
    "bytes32": functools.partial(random_case, np.float32, "uint8"),
    "bytes64": functools.partial(random_case, np.float64, "uint8"),
}


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", ["-Os", "-O2"])
def test_code_is_small_and_calls_no_library(board, kind, level, tmp_path):
    text, data, called = code_bytes(tmp_path, KINDS[kind](), board, level)
    assert 0 < text <= MOST_CODE
    assert data == 0  # all constants in flash
    assert [name for name in called if not ARITHMETIC.fullmatch(name)] == []


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_random_rows(board, kind, tmp_path):
    assert ran(tmp_path, KINDS[kind](), board, "-O2")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize(
    ("group", "name"),
    [
        *(("float32", f"edge_{i}_{d}") for i in range(5) for d in (1, 13, 16)),
        *(("float32", name) for name in ("offset_4", "offset_6", "small", "digits")),
        *(("float64", name) for name in ("edge_0_13", "edge_2_16", "edge_4_1", "offset_6")),
        *(("bytes32", name) for name in ("ties_3", "midpoints_16")),
        *(("bytes64", name) for name in ("ties_3", "midpoints_16", "fit_1_9")),
    ],
)
def test_labels_of_hard_rows(board, group, name, tmp_path):
    case = cases_of(group)[name]
    assert ran(tmp_path, Case(case.model, case.X[:150], case.rows), board, "-Os")[0] == 0


def test_float_saves_nine_instructions_in_ten(tmp_path):
    taken = {
        kind: ran(tmp_path / kind, KINDS[kind](), "M4F", "-O2")[1]
        for kind in ("float32", "float64")
    }
    assert taken["float64"] >= 10 * taken["float32"] > 0


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("kind", KINDS)
def test_labels_after_an_update(board, kind, tmp_path):
    wrong, _, words = ran(tmp_path, KINDS[kind](), board, "-Os", "-DMODEL_UPDATE")
    case = KINDS[kind]()
    assert wrong == 0
    real = case.centers.dtype
    found = np.array(words, dtype=np.uint32).view(real).reshape(case.centers.shape)
    labels = case.model.predict(case.X)
    # Nothing is known of earlier rows: centres become the means of these.
    for j in np.unique(labels):
        mean = case.X[labels == j].mean(axis=0, dtype=np.float64)
        np.testing.assert_allclose(found[j], mean, rtol=1e-5, atol=1e-5)
