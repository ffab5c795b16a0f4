"""The programs in examples/ that need no photograph run, as a reader would start them."""

import pathlib
import re
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
