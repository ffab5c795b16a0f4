"""The page on GPUs: its code runs, and its numbers are those of the plan."""

import pathlib
import re

import pytest
from device_cases import PLACE

from tilewise.cuda import _neighbor_plan, _plan
from tilewise.cuda._facts import LEAST_CAPABILITY, device_facts

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "gpu.md"


@pytest.fixture(scope="module")
def text():
    if not PAGE.exists():
        pytest.skip("only a checkout has the pages")
    return PAGE.read_text(encoding="utf-8")


def test_the_code_runs(text, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 7
    namespace = {}
    for block in blocks:
        exec(block.replace('.to("cuda")', f'.to("{PLACE}")'), namespace)
    shown = capsys.readouterr().out
    assert f"<class 'torch.Tensor'> {PLACE}" in shown
    assert "First look: " in shown
    assert repr(namespace["model"].chunk_plan_.facts).splitlines()[1] in shown


def test_the_numbers_are_those_of_the_plan(text):
    plan = _plan.plan_device(10**6, 64, 100, "float32", device_facts(PLACE))
    assert f"own centre: {plan.row_bytes('fit')} bytes per row |" in text
    assert f"up to {_plan.COPIES} copies, {_plan.COPIES_BYTES // 2**20} MiB together" in text
    assert "compute capability " + ".".join(map(str, LEAST_CAPABILITY)) in text
    rows = 10**8
    moved = _plan.Moved(256)
    kept = [
        _plan.kept_bytes(_plan.plan_device(n, 64, 100, "float32", device_facts(PLACE), moved=moved))
        for n in (rows, 2 * rows)
    ]
    assert f"up to {(kept[1] - kept[0]) // rows} bytes per row" in text
    assert f"up to {_plan._STAGED_BYTES // 2**20} MiB in" in text
    assert _plan.STAGED == 2
    assert _neighbor_plan._WHOLE_SHARE == 3 / 4
    assert _plan.CANDIDATES == 8
    assert "up to eight for each row" in text
