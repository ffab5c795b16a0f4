"""The programs in examples/ that need no photograph run, as a reader would start them."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_a_cluster_has_the_bits_of_one_process(tmp_path):
    pytest.importorskip("distributed")
    command = [sys.executable, str(EXAMPLES / "dask_cluster.py"), "--rows", "60e3"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^Dashboard: http://\S+/status$", done.stdout, re.MULTILINE)
    assert "60,000 rows of 16 columns in 3 partitions." in done.stdout
    assert re.search(r"passes over 60,000 rows in 2 parts took", done.stdout)
    assert "The same bits as in one process: yes." in done.stdout


@pytest.mark.parametrize("flags", [[], ["-DSTATES_UPDATE"]])
def test_a_device_sees_the_states_of_its_model(flags, tmp_path):
    compiler = shutil.which("cc") or pytest.skip("no C compiler here")
    subprocess.run(
        [sys.executable, str(EXAMPLES / "device.py")], cwd=tmp_path, check=True, timeout=120
    )
    subprocess.run(
        [compiler, "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-I.", *flags,
         str(EXAMPLES / "device.c"), "-o", "device"], cwd=tmp_path, check=True,
    )  # fmt: skip
    said = subprocess.run(
        [str(tmp_path / "device")], cwd=tmp_path, text=True, capture_output=True, check=True,
        input="0.1 0.1 20 0.1\n3 2.5 70 7.5\n0.1 0.2 21 0.2\n9 9 95 9\nnan 0 0 0\n",
    ).stdout.splitlines()  # fmt: skip
    assert [line.split()[2:] for line in said[:4]] == [[], [], [], ["unusual"]]
    states = [line.split()[0] for line in said[:4]]
    assert states[0] == states[2] != states[1] == states[3]
    assert all(0 <= float(line.split()[1]) < 3 for line in said[:3])
    assert said[4] == "a sensor is broken"
