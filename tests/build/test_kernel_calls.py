"""What `tools/kernel_calls.py` says of a build: which functions of a compiled module ran."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "kernel_calls.py"
PROGRAM = """
static int __pyx_f_8tilewise_7kernels_9_cachesim__ran(int a) { return a + 1; }
int __pyx_fuse_0_1__pyx_f_8tilewise_7kernels_9_cachesim_fused(int a) { return a + 2; }
int __pyx_pf_8tilewise_7kernels_9_cachesim_6Caches_2run(int a) { return a + 3; }
int __pyx_pf_8tilewise_7kernels_9_cachesim_6Caches_4__reduce_cython__(int a) { return a; }
int __pyx_pf_8tilewise_7kernels_9_mountain_other(int a) { return a; }
int main(void) {
    return __pyx_f_8tilewise_7kernels_9_cachesim__ran(-3)
         + __pyx_fuse_0_1__pyx_f_8tilewise_7kernels_9_cachesim_fused(0);
}
"""


def told(*arguments):
    return subprocess.run(
        [sys.executable, TOOL, *arguments], capture_output=True, text=True, timeout=60
    )


def test_a_build_in_which_nothing_ran(tmp_path):
    done = told(tmp_path)
    assert done.returncode == 1
    assert "no function ran of _assign, _brute_force, _cachesim, " in done.stderr


@pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("gcov")), reason="needs gcc and gcov")
def test_functions_that_ran_and_that_did_not(tmp_path):
    folder = tmp_path / "src" / "_cachesim.cpython-311.so.p"
    folder.mkdir(parents=True)
    source, made = folder / "_cachesim.pyx.c", folder / "meson-generated__cachesim.pyx.c.o"
    binary = folder / "program"
    source.write_text(PROGRAM)
    for command in (["-c", source, "-o", made], [made, "-o", binary]):
        subprocess.run(["gcc", "--coverage", *command], check=True, timeout=60)
    subprocess.run([binary], check=True, timeout=60)
    done = told(tmp_path)
    assert done.returncode == 1
    assert "_cachesim         2 functions ran; not: Caches_run\n" in done.stdout
    assert "_cachesim," not in done.stderr
    assert "_mountain," in done.stderr

    assert told(tmp_path, "--clear").returncode == 0
    assert list(tmp_path.rglob("*.gcda")) == []
